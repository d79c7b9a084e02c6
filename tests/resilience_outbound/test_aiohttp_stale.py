"""Stale-on-error through aiohttp: an answer is kept when the service has read it, and given as aiohttp's own."""

import asyncio
import gc
import gzip
import ssl
import weakref
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import ClientResponse

from handrail.resilience import outbound
from handrail.resilience.events import Event, FallbackUsed, Listeners
from handrail.resilience.policy import Tools
from handrail.resilience.registry import Registry
from handrail.resilience.settings import ResilienceSettings
from tests.certificates import authority

Guard = Callable[..., list[Event]]
Read = Callable[[ClientResponse], Awaitable[object]]


@pytest.fixture
def guard() -> Iterator[Guard]:
    """Guards aiohttp, with stale-on-error; returns the events."""
    undos: list[Callable[[], None]] = []

    def install(**settings: Any) -> list[Event]:
        events: list[Event] = []
        chosen = {"backoff_base": 0.0, "stale_on_error": 60.0, "attempts": 1, "breaker_failure_rate": 1.0, **settings}
        registry = Registry(ResilienceSettings(**chosen), Tools(emit=Listeners(events.append)))
        undos.append(outbound.install(aiohttp, registry))
        return events

    yield install
    for undo in undos:
        undo()


async def _get(url: str, read: Read = ClientResponse.read, session: Any = None, **options: Any) -> tuple[int, object]:
    async with aiohttp.ClientSession(**session or {}) as client, client.get(url, **options) as response:
        return response.status, await read(response)


def get(url: str, read: Read = lambda response: response.read(), **options: Any) -> tuple[int, object]:
    """Status and body of one request, by a session and a loop of its own."""
    return asyncio.run(_get(url, read, **options))


@pytest.mark.parametrize("failure", ["answer", "reset", "close"])
def test_the_last_good_answer_stands_in(server: Any, steps: Any, guard: Guard, failure: str) -> None:
    """For a bad status and for a broken connection; also where the loop that it was read on is gone."""
    events = guard(attempts=2)
    failed = steps.answer(503, b"down") if failure == "answer" else getattr(steps, failure)
    server.script(steps.answer(200, b"good"), otherwise=failed)
    assert [get(f"{server.url}/items") for _ in range(3)] == [(200, b"good")] * 3
    assert len(server.received) == 5
    assert [event.kind for event in events if isinstance(event, FallbackUsed)] == ["stale"] * 2


def test_an_open_circuit_is_stood_in_for(server: Any, steps: Any, guard: Guard) -> None:
    """What is refused without an attempt is answered from what is kept."""
    guard(breaker_minimum_calls=2, breaker_failure_rate=0.3)
    server.script(steps.answer(), otherwise=steps.reset)
    assert [get(server.url)[0] for _ in range(6)] == [200] * 6
    assert len(server.received) < 6


def _text(response: ClientResponse) -> Awaitable[object]:
    return response.text()


def _json(response: ClientResponse) -> Awaitable[object]:
    return response.json(content_type=None)


async def _chunks(response: ClientResponse) -> object:
    return b"".join([chunk async for chunk in response.content.iter_chunked(2)])


async def _lines(response: ClientResponse) -> object:
    return [line async for line in response.content]


READS = [ClientResponse.read, _text, _json, _chunks, _lines]


@pytest.mark.parametrize("read", READS)
def test_a_kept_answer_can_be_read_in_every_way(server: Any, steps: Any, guard: Guard, read: Read) -> None:
    """At once, as text, as JSON, as a stream, by lines: the same as of the peer's own answer."""
    guard()
    server.script(steps.answer(200, b"[1,\n2]"), steps.answer(200, b"[1,\n2]"), otherwise=steps.answer(503))
    first = get(server.url, read)
    get(server.url)
    assert get(server.url, read) == first


async def _half(response: ClientResponse) -> object:
    await response.content.readexactly(2)
    return await response.read()


async def _none(response: ClientResponse) -> object:
    return None


@pytest.mark.parametrize("read", [_chunks, _lines, _half, _none])
def test_what_was_not_read_at_once_is_not_kept(server: Any, steps: Any, guard: Guard, read: Read) -> None:
    """Only what was in memory anyway, and whole: the rest of a body that was begun is no body."""
    guard()
    server.script(steps.answer(), otherwise=steps.answer(503))
    assert get(server.url, read)[0] == 200
    assert get(server.url)[0] == 503


def test_a_body_that_breaks_off_is_not_kept(server: Any, steps: Any, guard: Guard) -> None:
    """And what was kept before it stays: it is the last answer that is known whole."""
    guard()
    server.script(steps.answer(200, b"good"), steps.end_in_body, otherwise=steps.answer(503))
    assert get(server.url) == (200, b"good")
    with pytest.raises(aiohttp.ClientPayloadError):
        get(server.url)
    assert get(server.url) == (200, b"good")


@pytest.mark.parametrize(
    "headers",
    [{"Authorization": "Bearer x"}, {"Cookie": "session=x"}, {"Range": "bytes=0-1"}, {"Cache-Control": "no-store"}],
    ids=str,
)
def test_what_may_not_be_kept_is_not(server: Any, steps: Any, guard: Guard, headers: dict[str, str]) -> None:
    """One user's answer is never another's."""
    guard()
    server.script(steps.answer(), otherwise=steps.answer(503))
    get(server.url, headers=headers)
    assert get(server.url, headers=headers)[0] == 503
    assert get(server.url)[0] == 503


@pytest.mark.parametrize("said", ["no-store", "private"])
def test_what_the_peer_forbids_is_not_kept(server: Any, steps: Any, guard: Guard, said: str) -> None:
    """RFC 9111; and what was kept before is no longer its last word."""
    guard()
    server.script(steps.answer(), steps.answer(200, cache_control=said), otherwise=steps.answer(503))
    assert [get(server.url)[0] for _ in range(3)] == [200, 200, 503]


def test_a_session_with_cookies_keeps_nothing(server: Any, steps: Any, guard: Guard) -> None:
    """Those of its jar are in the request as if they had been written."""
    guard()
    server.script(steps.answer(), otherwise=steps.answer(503))

    async def main() -> list[int]:
        async with aiohttp.ClientSession(cookies={"c": "d"}) as client:
            found = []
            for _ in range(2):
                async with client.get(server.url) as response:
                    await response.read()
                    found.append(response.status)
            return found

    assert asyncio.run(main()) == [200, 503]


def test_a_long_body_is_not_kept(server: Any, steps: Any, guard: Guard) -> None:
    """64 KiB each, and it reaches the caller whole."""
    guard()
    long = b"x" * (64 * 1024 + 1)
    server.script(steps.answer(200, long), otherwise=steps.answer(503))
    assert get(server.url) == (200, long)
    assert get(server.url)[0] == 503


def test_a_change_forgets_the_answer(server: Any, steps: Any, guard: Guard) -> None:
    """RFC 9111, 4.4: a POST to the URL that went well."""
    guard()
    server.script(steps.answer(), steps.answer(), otherwise=steps.answer(503))
    get(server.url)

    async def post() -> None:
        async with aiohttp.ClientSession() as client, client.post(server.url, data=b"x"):
            pass

    asyncio.run(post())
    assert get(server.url)[0] == 503


def test_a_kept_response_is_like_the_one_that_was_kept(server: Any, steps: Any, guard: Guard) -> None:
    """All that code asks of it: unpacked body, headers as written, encoding, URL, request, history, cookies."""
    guard()
    kind = "application/json; charset=utf-8"
    body = gzip.compress('{"büch": [1]}'.encode())
    good = steps.answer(200, body, Content_Encoding="gzip", Content_Type=kind, X_Two="1", x_two="2", ETag='"a"')
    server.script(good, otherwise=steps.answer(503))

    async def main() -> None:
        async with aiohttp.ClientSession(raise_for_status=True) as client:
            async with client.get(f"{server.url}/items?a=1#b") as first:
                assert await first.json() == {"büch": [1]}
                read = await first.read()
            async with client.get(f"{server.url}/items?a=1#b") as second:
                assert await second.json() == {"büch": [1]}
                assert await second.read() == read
            told = list(second.headers.items())
            assert told[-2:] == [("age", "0"), ("cache-status", "handrail; hit; detail=stale-on-error")]
            assert told[:-2] == list(first.headers.items())
            assert second.raw_headers[:-2] == first.raw_headers
            names = ("status", "reason", "version", "url", "real_url", "host", "method", "content_type", "charset")
            for name in (*names, "ok", "closed", "connection", "cookies", "history", "links", "content_disposition"):
                assert getattr(second, name) == getattr(first, name), name
            assert second.request_info.url == first.request_info.url
            assert second.request_info.method == first.request_info.method
            assert second.content.at_eof()
            assert second.get_encoding() == "utf-8"
            assert type(second) is type(first)
            second.release()
            second.close()

    asyncio.run(main(), debug=True)
    gc.collect()


def test_a_response_class_of_the_code_is_what_it_gets(server: Any, steps: Any, guard: Guard) -> None:
    """Also for what is kept."""

    class Mine(ClientResponse):
        pass

    guard()
    server.script(steps.answer(), otherwise=steps.answer(503))

    async def main() -> list[type]:
        found = []
        async with aiohttp.ClientSession(response_class=Mine) as client:
            for _ in range(2):
                async with client.get(server.url) as response:
                    await response.read()
                    found.append(type(response))
        return found

    assert asyncio.run(main()) == [Mine, Mine]


def test_the_connection_of_the_failed_answer_is_used_again(server: Any, steps: Any, guard: Guard) -> None:
    """What stands in leaves no response open behind it."""
    guard()
    server.script(steps.answer(), otherwise=steps.answer(503))

    async def main() -> list[int]:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as client:
            found = []
            for _ in range(4):
                async with client.get(server.url) as response:
                    await response.read()
                    found.append(response.status)
            return found

    assert asyncio.run(main()) == [200] * 4
    assert server.connections == 1


@pytest.mark.parametrize("seconds", [0.0, 60.0])
def test_a_response_that_nobody_reads_goes_with_its_last_reference(
    server: Any, steps: Any, guard: Guard, seconds: float
) -> None:
    """As without handrail: its connection is given back when it is let go, and no connection holds a body."""
    guard(stale_on_error=seconds)
    server.script(otherwise=steps.answer(200, b"x" * 100))

    async def main() -> bool:
        async with aiohttp.ClientSession() as client:
            response = await client.get(server.url)
            seen = weakref.ref(response)
            gc.disable()
            try:
                del response
                return seen() is None
            finally:
                gc.enable()

    assert asyncio.run(main())


@pytest.mark.parametrize("on", [True, False])
def test_nothing_of_aiohttp_is_changed_unasked(server: Any, steps: Any, guard: Guard, on: bool) -> None:
    """Where no answer may be kept, `read` is aiohttp's own; and after the undo it is again."""
    before = ClientResponse.read
    server.script(otherwise=steps.answer())
    registry = Registry(ResilienceSettings(stale_on_error=60.0 if on else 0.0))
    undo = outbound.install(aiohttp, registry)
    try:
        get(server.url)
        assert (ClientResponse.read is before) is not on
        assert asyncio.iscoroutinefunction(ClientResponse.read)
    finally:
        undo()
    assert ClientResponse.read is before


def _context(folder: Path) -> ssl.SSLContext:
    made = authority(folder, f"me{len(list(folder.iterdir()))}")
    context = ssl.create_default_context()
    context.load_cert_chain(made.cert, made.key)
    return context


Make = Callable[[Path, str], dict[str, Any]]
WAYS: dict[str, Make] = {
    "a client certificate": lambda folder, _url: {"ssl": _context(folder)},
    "no trust needed": lambda _folder, _url: {"ssl": False},
    "a fingerprint": lambda _folder, _url: {"ssl": aiohttp.Fingerprint(b"x" * 32)},
    "another name to be shown": lambda _folder, _url: {"server_hostname": "somebody.test"},
    "a proxy": lambda _folder, url: {"proxy": url},
    "a packed body as it is": lambda _folder, _url: {"auto_decompress": False},
}


@pytest.mark.parametrize("way", WAYS)
def test_requests_that_reach_the_peer_otherwise_share_nothing(
    server: Any, steps: Any, guard: Guard, tmp_path: Path, way: str
) -> None:
    """Other certificates, trust or proxies: another client; the same of them is the same client."""
    guard()
    other = WAYS[way](tmp_path, server.url)
    options: list[tuple[dict[str, Any], dict[str, Any]]] = [({}, other), (other, {})]
    for number, (first, second) in enumerate(options):
        url = f"{server.url}/{number}"
        server.script(steps.answer(), otherwise=steps.answer(503))
        assert [get(url, **one)[0] for one in (first, second, first)] == [200, 503, 200]


def test_sessions_whose_connectors_trust_another_share_nothing(server: Any, steps: Any, guard: Guard) -> None:
    """What the connector was given counts as if the call had been; a connector class of the code is itself alone."""

    class Mine(aiohttp.TCPConnector):
        pass

    guard()
    makers: list[Callable[[], aiohttp.TCPConnector]] = [
        aiohttp.TCPConnector,
        lambda: aiohttp.TCPConnector(ssl=False),
        lambda: aiohttp.TCPConnector(ssl=ssl.create_default_context()),
        Mine,
    ]

    async def ask(make: Callable[[], aiohttp.TCPConnector]) -> int:
        async with aiohttp.ClientSession(connector=make()) as client, client.get(server.url) as response:
            await response.read()
            return response.status

    server.script(steps.answer(), otherwise=steps.answer(503))
    assert [asyncio.run(ask(make)) for make in makers] == [200, 503, 503, 503]
    assert asyncio.run(ask(makers[0])) == 200
