"""client.address, server.address and url.scheme behind proxies: believed only from those that are trusted."""

import asyncio
from typing import Any

import pytest

from handrail.tracing.inbound._exchange import Receive, Scope, Send
from handrail.tracing.inbound.server import ServerSpans
from handrail.tracing.settings import Telling
from handrail.tracing.testing import Spans
from tests.tracing.asgi_server import Server


async def ok(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body"})


def seen(trusted: tuple[str, ...], headers: dict[str, str], peer: str | None = "10.0.0.7", **more: Any) -> list[object]:
    """client.address, server.address, server.port and url.scheme of one request."""
    spans = Spans()
    app = ServerSpans(ok, tracing=spans.tracing, routes=ok, telling=Telling(trusted_proxies=trusted))
    client = None if peer is None else (peer, 50123)
    Server().get(app, "/", {"host": "inner:8000"} | headers, client=client, **more)
    attributes = spans.server.attributes or {}
    assert attributes.get("network.peer.address") == peer
    return [attributes.get(name) for name in ("client.address", "server.address", "server.port", "url.scheme")]


SAID = {
    "x-forwarded-for": "203.0.113.9",
    "x-forwarded-host": "shop.example",
    "x-forwarded-proto": "https",
    "x-forwarded-port": "8443",
    "forwarded": "for=203.0.113.9;host=shop.example;proto=https",
}
SOCKET = ["10.0.0.7", "inner", 8000, "http"]


@pytest.mark.parametrize("trusted", [(), ("10.0.0.8",), ("192.168.0.0/16", "::1")])
def test_nobody_is_believed_who_is_not_trusted(trusted: tuple[str, ...]) -> None:
    """The default: what the socket and the Host header say (A1-10: the Host header, host and port apart)."""
    assert seen(trusted, SAID) == SOCKET


@pytest.mark.parametrize("trusted", [("*",), ("10.0.0.7",), ("10.0.0.0/8",), ("::1", "10.0.0.0/29")])
def test_a_trusted_peer_is_believed(trusted: tuple[str, ...]) -> None:
    """By its address, by its network, or because all are."""
    assert seen(trusted, SAID) == ["203.0.113.9", "shop.example", 443, "https"]


def test_x_forwarded_alone() -> None:
    """X-Forwarded-Port counts where the forwarded host names no port."""
    headers = {name: value for name, value in SAID.items() if name != "forwarded"}
    assert seen(("*",), headers) == ["203.0.113.9", "shop.example", 8443, "https"]
    assert seen(("*",), headers | {"x-forwarded-host": "shop.example:81"}) == [
        "203.0.113.9",
        "shop.example",
        81,
        "https",
    ]
    assert seen(("*",), {"x-forwarded-port": "8443"}) == ["10.0.0.7", "inner", 8443, "http"]


@pytest.mark.parametrize(
    ("header", "client"),
    [
        ("203.0.113.9, 10.0.0.1", "203.0.113.9"),
        ("6.6.6.6, 203.0.113.9, 10.0.0.1, 10.0.0.2", "203.0.113.9"),
        ("10.0.0.3, 10.0.0.1", "10.0.0.3"),
        ("6.6.6.6, unknown, 10.0.0.1", "10.0.0.1"),
        ("6.6.6.6, _hidden", "10.0.0.7"),
        ("not an address", "10.0.0.7"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("203.0.113.9:4711", "203.0.113.9"),
        (", ,", "10.0.0.7"),
        ("<script>, 203.0.113.9", "203.0.113.9"),
    ],
)
def test_the_list_is_walked_from_the_right(header: str, client: str) -> None:
    """RFC 7239, 8.1: left of the first address that is not trusted anybody may have written anything."""
    assert seen(("10.0.0.0/8",), {"x-forwarded-for": header})[0] == client
    # 6: colons need quotes there
    elements = ", ".join(f'for="{node.strip()}"' for node in header.split(","))
    assert seen(("10.0.0.0/8",), {"forwarded": elements})[0] == client


def test_host_and_scheme_are_those_of_the_clients_hop() -> None:
    """What the outermost trusted proxy saw, not what the client made up, nor what the inner proxy saw."""
    forwarded = "for=6.6.6.6;host=evil.example, for=203.0.113.9;host=shop.example;proto=https, for=10.0.0.1;host=mid"
    assert seen(("10.0.0.0/8",), {"forwarded": forwarded}) == ["203.0.113.9", "shop.example", 443, "https"]
    lists = {
        "x-forwarded-for": "6.6.6.6, 203.0.113.9, 10.0.0.1",
        "x-forwarded-host": "evil.example, shop.example, mid",
        "x-forwarded-proto": "ftp, https, http",
    }
    assert seen(("10.0.0.0/8",), lists) == ["203.0.113.9", "shop.example", 443, "https"]


@pytest.mark.parametrize(
    "forwarded",
    ['for="203.0.113.9', "for=a b", "for=1;;host", "=", "for=203.0.113.9" + ", for=203.0.113.9" * 1000, "\x00\xff"],
)
def test_a_malformed_forwarded_header_is_nothing(forwarded: str) -> None:
    """RFC 7239, 4: no guess is made of it."""
    assert seen(("10.0.0.0/8",), {"forwarded": forwarded}) == SOCKET


def test_quoted_pairs_and_names_in_any_case() -> None:
    """RFC 7239, 4: names are case-insensitive, values may be quoted, with escapes."""
    assert seen(("*",), {"forwarded": r'For="203.0.113\.9";PROTO=HTTPS;Host="shop.example:444"'}) == [
        "203.0.113.9",
        "shop.example",
        444,
        "https",
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-forwarded-proto", "javascript"),
        ("x-forwarded-host", "a b/c"),
        ("x-forwarded-port", "99999"),
        ("x-forwarded-port", "²"),
    ],
)
def test_what_makes_no_sense_is_not_believed_of_anybody(name: str, value: str) -> None:
    """A scheme that is none of HTTP's, a host that is no authority, a port that is none."""
    assert seen(("*",), {name: value}) == SOCKET


def test_a_unix_socket_is_believed_where_everybody_is() -> None:
    """Its peer has no address that could be listed."""
    headers = {"x-forwarded-for": "203.0.113.9"}
    assert seen(("*",), headers, peer=None)[0] == "203.0.113.9"
    assert seen(("10.0.0.0/8",), headers, peer=None)[0] is None


def test_an_ipv4_peer_on_a_dual_stack_socket() -> None:
    """::ffff:10.0.0.7 is 10.0.0.7."""
    assert seen(("10.0.0.0/8",), {"x-forwarded-for": "203.0.113.9"}, peer="::ffff:10.0.0.7")[0] == "203.0.113.9"
    assert seen(("fd00::/8",), {"x-forwarded-for": "203.0.113.9"}, peer="fd00::7")[0] == "203.0.113.9"


@pytest.mark.parametrize(("said", "scheme"), [("https", "wss"), ("wss", "wss"), ("http", "ws")])
def test_a_websocket_that_came_by_https_is_wss(server: Server, spans: Spans, said: str, scheme: str) -> None:
    """Proxies name the scheme of the handshake."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.close"})

    wrapped = ServerSpans(app, tracing=spans.tracing, routes=app, telling=Telling(trusted_proxies=("*",)))
    scope = server.scope("/ws", {"x-forwarded-proto": said}, type="websocket", scheme="ws")
    asyncio.run(wrapped(scope, server.receive, server.send))
    assert (spans.server.attributes or {})["url.scheme"] == scheme
