"""Connections that go round the policies are noticed, named and, under `strict`, refused; those of clients are not."""

import asyncio
import contextlib
import errno
import logging
import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import httpx
import httpx2
import pytest
import requests
import urllib3

import handrail
from handrail.resilience import outbound
from handrail.resilience.events import ConnectionUnguarded, Event
from handrail.resilience.outbound import _round
from handrail.resilience.outbound._round import Round
from handrail.resilience.registry import Registry
from handrail.resilience.service import ServiceSettings

ABROAD = ("192.0.2.1", 443)
"""RFC 5737: nobody's; refused before anything is sent there."""


class Watch:
    """What was noticed, and the rules, which a test may change."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.said: list[tuple[str, str, bool]] = []
        self.rules = ServiceSettings()
        self.exporting = False
        self.round = Round(
            lambda: self.rules,
            self.events.append,
            left_alone=lambda: self.exporting,
            own=lambda: ("collector.test:4318",),
            said=lambda target, place, known: self.said.append((target, place, known)),
        )

    @property
    def seen(self) -> list[tuple[str, bool]]:
        """Destination and whether it was refused, of each event."""
        return [(event.target, event.refused) for event in self.events if isinstance(event, ConnectionUnguarded)]


@pytest.fixture
def watch() -> Iterator[Watch]:
    found = Watch()
    undo = found.round.install()
    yield found
    undo()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Names of the test's own, each with an address; installed before the watch where it is asked for first."""
    known: dict[str, str] = {}
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, *more: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host  # anyio asks in bytes
        return real(known.get(name, name), *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return known


@pytest.fixture
def abroad(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if loopback were another machine."""
    monkeypatch.setattr(_round, "_is_local", lambda _host: False)


def _blocking(host: str, port: int) -> None:
    socket.create_connection((host, port)).close()


def _ex(host: str, port: int) -> None:
    with socket.socket() as sock:
        sock.connect_ex((host, port))


def _on_a_loop(host: str, port: int) -> None:
    async def main() -> None:
        _, writer = await asyncio.open_connection(host, port)
        writer.close()
        await writer.wait_closed()

    asyncio.run(main())


def _urllib(host: str, port: int) -> None:
    urllib.request.urlopen(f"http://{host}:{port}/").read()


WAYS = pytest.mark.parametrize("connect", [_blocking, _ex, _on_a_loop, _urllib])


@WAYS
def test_connection_of_nobody_is_told_with_its_line(
    server: Any, watch: Watch, caplog: pytest.LogCaptureFixture, connect: Callable[[str, int], None]
) -> None:
    """Each one is an event; the log and doctor are told once, with the line of the code that asked for it."""
    host, port = server.listener.getsockname()
    for _ in range(2):
        connect(host, port)
    assert watch.seen == [(f"{host}:{port}", False)] * 2
    place = f"{__file__}:"
    assert [(target, known) for target, _, known in watch.said] == [(f"{host}:{port}", False)]
    assert watch.said[0][1].startswith(place)
    (line,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert line.getMessage().startswith(place)
    assert f'destinations = ["{host}:{port}"]' in line.getMessage()


def test_destination_has_the_name_that_was_looked_up(server: Any, names: dict[str, str], watch: Watch) -> None:
    """What stands in the message is the name in the code, not the address behind it."""
    names["payments.test"] = "127.0.0.1"
    port = server.listener.getsockname()[1]
    _blocking("payments.test", port)
    _on_a_loop("payments.test", port)
    assert watch.seen == [(f"payments.test:{port}", False)] * 2


CLIENTS = ["httpx", "httpx2", "requests", "urllib3", "aiohttp", "async httpx", "async httpx2", "many addresses"]


@pytest.mark.parametrize("client", CLIENTS)
def test_guarded_clients_raise_no_alarm(server: Any, names: dict[str, str], watch: Watch, client: str) -> None:
    """Also where they look names up on threads and race addresses in tasks of their own."""
    names["localhost.test"] = "localhost"  # ::1, which refuses, and 127.0.0.1
    port = server.listener.getsockname()[1]
    url = f"http://localhost.test:{port}/"

    async def of_httpx(module: Any) -> None:
        async with module.AsyncClient() as session:
            await session.get(url)

    async def of_aiohttp() -> None:
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            await response.read()

    calls: dict[str, Callable[[], object]] = {
        "httpx": lambda: httpx.get(url),
        "httpx2": lambda: httpx2.get(url),
        "requests": lambda: requests.get(url, timeout=5),
        "urllib3": lambda: urllib3.PoolManager().request("GET", url),
        "aiohttp": lambda: asyncio.run(of_aiohttp()),
        "async httpx": lambda: asyncio.run(of_httpx(httpx)),
        "async httpx2": lambda: asyncio.run(of_httpx(httpx2)),
        "many addresses": lambda: asyncio.run(asyncio.wait_for(of_aiohttp(), 5)),
    }
    modules = (httpx, httpx2, urllib3, requests, aiohttp)
    undos = [outbound.install(module, Registry()) for module in modules]
    watch.rules = ServiceSettings(strict=True)
    try:
        calls[client]()
    finally:
        for undo in reversed(undos):
            undo()
    assert len(server.received) == 1
    assert watch.events == []


def test_client_that_is_not_guarded_is_noticed(server: Any, watch: Watch) -> None:
    """The same call without handrail under the library is one past the policies."""
    httpx.get(server.url)
    assert len(watch.events) == 1


def test_known_ports_are_not_warned_of(watch: Watch, caplog: pytest.LogCaptureFixture) -> None:
    """A database's client has timeouts of its own: trace and doctor show it, the log does not."""
    with contextlib.suppress(ConnectionRefusedError):
        _blocking("127.0.0.1", 11211)
    assert watch.seen == [("127.0.0.1:11211", False)]
    assert [known for _, _, known in watch.said] == [True]
    assert caplog.records == []


def test_what_is_no_tcp_connection_is_not_looked_at(watch: Watch, tmp_path: Any) -> None:
    """Datagrams, Unix sockets, pairs, listening."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.connect(("127.0.0.1", 53))
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as local:
        listening.bind(str(tmp_path / "s"))
        listening.listen()
        local.connect(str(tmp_path / "s"))
    for one in socket.socketpair():
        one.close()
    asyncio.run(asyncio.to_thread(int))
    assert watch.events == []


def test_exporters_are_left_alone(server: Any, watch: Watch) -> None:
    """Telemetry on its way out is nobody's dependency."""
    watch.exporting = True
    _blocking(*server.listener.getsockname())
    assert watch.events == []


@pytest.mark.parametrize("pattern", ["payments.test", "*.test", "payments.test:{port}", "PAYMENTS.test", "127.0.0.1"])
def test_declared_destination_is_let_pass_in_silence(
    server: Any, names: dict[str, str], watch: Watch, abroad: None, pattern: str
) -> None:
    """By host, by host and port, by pattern, by address; strict or not."""
    names["payments.test"] = "127.0.0.1"
    port = server.listener.getsockname()[1]
    watch.rules = ServiceSettings(strict=True, destinations=(pattern.format(port=port),))
    _blocking("payments.test", port)
    assert watch.events == []


@pytest.mark.parametrize("pattern", ["payments.test:1", "*.other", "payments"])
def test_other_patterns_do_not_declare_it(
    server: Any, names: dict[str, str], watch: Watch, abroad: None, pattern: str
) -> None:
    """A pattern is the whole host, or host and port."""
    names["payments.test"] = "127.0.0.1"
    watch.rules = ServiceSettings(strict=True, destinations=(pattern,))
    with pytest.raises(handrail.Undeclared):
        _blocking("payments.test", server.listener.getsockname()[1])


def test_one_name_of_an_address_is_enough(server: Any, names: dict[str, str], watch: Watch, abroad: None) -> None:
    """Behind one ingress stand many names: a declared one is not refused because another was looked up since."""
    names |= {"declared.test": "127.0.0.1", "other.test": "127.0.0.1"}
    port = server.listener.getsockname()[1]
    watch.rules = ServiceSettings(strict=True, destinations=("declared.test",))
    found = socket.getaddrinfo("declared.test", port, socket.AF_INET, socket.SOCK_STREAM)[0][4]
    socket.getaddrinfo("other.test", port)
    _blocking(str(found[0]), port)
    assert watch.events == []


@pytest.mark.parametrize("connect", [_blocking, _on_a_loop])
def test_strict_refuses_before_anything_is_sent(watch: Watch, connect: Callable[[str, int], None]) -> None:
    """Undeclared is a ConnectionError, that says which setting allows it; the place is in its note alone."""
    watch.rules = ServiceSettings(strict=True)
    with pytest.raises(ConnectionError) as caught:
        connect(*ABROAD)
    error = caught.value
    assert isinstance(error, handrail.Undeclared)
    assert error.target == "192.0.2.1:443"
    assert 'destinations = ["192.0.2.1:443"]' in str(error)
    assert __file__ not in str(error)  # a problem answer hands the text on to strangers
    assert f"{__file__}:" in error.__notes__[0]
    assert watch.seen == [("192.0.2.1:443", True)]


def test_strict_answers_connect_ex_by_a_number(watch: Watch, caplog: pytest.LogCaptureFixture) -> None:
    """It raises nothing of what a connection comes to: ECONNREFUSED, as from a firewall; the log says why, once."""
    watch.rules = ServiceSettings(strict=True)
    with socket.socket() as sock:
        assert [sock.connect_ex(ABROAD) for _ in range(2)] == [errno.ECONNREFUSED] * 2
        assert sock.connect_ex(("192.0.2.2", 5432)) == errno.ECONNREFUSED
        with pytest.raises(OSError, match="not connected"):
            sock.getpeername()
    assert watch.seen == [("192.0.2.1:443", True)] * 2 + [("192.0.2.2:5432", True)]
    first, second = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert first.startswith("refused, strict: a connection to 192.0.2.1:443 past all policies.")
    assert f"(from {__file__}:" in first
    assert 'destinations = ["192.0.2.2:5432"]' in second


def test_strict_lets_this_machine_pass(server: Any, watch: Watch) -> None:
    """Loopback is told, never refused."""
    watch.rules = ServiceSettings(strict=True)
    host, port = server.listener.getsockname()
    _blocking(host, port)
    assert watch.seen == [(f"{host}:{port}", False)]


def test_strict_refuses_known_ports_too(watch: Watch) -> None:
    """A database is a destination like any."""
    watch.rules = ServiceSettings(strict=True)
    with pytest.raises(handrail.Undeclared):
        _blocking("192.0.2.1", 5432)


def test_own_destinations_are_declared(names: dict[str, str], watch: Watch, abroad: None) -> None:
    """The collector that the settings name needs no second mention."""
    names["collector.test"] = "127.0.0.1"
    watch.rules = ServiceSettings(strict=True)
    with contextlib.suppress(ConnectionRefusedError):
        _blocking("collector.test", 4318)
    assert watch.events == []


def test_rules_are_read_anew(watch: Watch) -> None:
    """Settings that were reloaded count from the next connection on."""
    watch.rules = ServiceSettings(strict=True)
    with pytest.raises(handrail.Undeclared):
        _blocking(*ABROAD)
    watch.rules = ServiceSettings(strict=True, destinations=("*",))
    with socket.socket() as sock:
        sock.setblocking(False)
        sock.connect_ex(("127.0.0.1", 9))
    assert len(watch.events) == 1


def test_names_are_bounded(names: dict[str, str], watch: Watch) -> None:
    """A crawler's names do not fill the memory: the oldest are forgotten."""
    for number in range(3000):
        socket.getaddrinfo(f"127.0.{number // 250}.{number % 250}", 80)
    assert len(watch.round._names) <= 1024


def test_destinations_that_are_said_are_bounded(watch: Watch, caplog: pytest.LogCaptureFixture) -> None:
    """A scan of ports is not a log line each, for ever."""
    caplog.set_level(logging.CRITICAL)
    for port in range(20000, 20400):
        with socket.socket() as sock:
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", port))
    assert len(watch.said) == 256
    assert len(watch.events) == 400


def test_wrong_address_is_the_sockets_own_error(watch: Watch) -> None:
    """What is no address is left to Python to refuse."""
    with socket.socket() as sock, pytest.raises(TypeError):
        sock.connect("nowhere")  # type: ignore[call-overload,unused-ignore] # that is what is tried


def test_threads_are_seen(server: Any, watch: Watch) -> None:
    """A thread has no call under way, whoever started it."""
    thread = threading.Thread(target=_blocking, args=server.listener.getsockname())
    thread.start()
    thread.join()
    assert len(watch.events) == 1


def test_undo_gives_the_sockets_back(server: Any) -> None:
    """Nothing of ours stays on the class or in the module, also after two undos."""
    before = dict(vars(socket.socket)), socket.getaddrinfo
    watch = Watch()
    undo = watch.round.install()
    undo()
    undo()
    assert (dict(vars(socket.socket)), socket.getaddrinfo) == before
    _blocking(*server.listener.getsockname())
    assert watch.events == []


def test_undo_under_a_later_wrapper_is_quiet(server: Any) -> None:
    """Where somebody wrapped ours since, it stays and only passes on."""
    watch = Watch()
    undo = watch.round.install()
    ours = socket.getaddrinfo

    def theirs(*args: Any, **options: Any) -> Any:
        return ours(*args, **options)

    socket.getaddrinfo = theirs
    try:
        undo()
        _blocking(*server.listener.getsockname())
        assert watch.events == []
        assert watch.round._names == {}
    finally:
        socket.getaddrinfo = ours.__wrapped__  # type: ignore[attr-defined] # by functools.wraps


@pytest.mark.parametrize(
    ("host", "local"),
    [
        *[
            (host, True)
            for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost", "0.0.0.0", "::", "::ffff:127.0.0.1", "")
        ],
        *[(host, False) for host in ("10.0.0.1", "::ffff:10.0.0.1", "fe80::1%eth0", "example.test")],
    ],
)
def test_what_this_machine_is_called(host: str, local: bool) -> None:
    """Loopback under all its names, the address that is none included; `strict` is about other machines."""
    assert _round._is_local(host) is local


@pytest.mark.parametrize("address", [("h",), ()])
def test_an_address_that_is_none_is_the_sockets_own_matter(watch: Watch, address: tuple[str, ...]) -> None:
    """The error is the one that Python gives without us."""
    with socket.socket() as plain, pytest.raises(TypeError):
        plain.connect(address)
    assert watch.seen == []
