"""Faults in calls that go out: each looks like the real one to the code that called."""

import importlib
from collections.abc import Iterator

import aiohttp
import httpx
import httpx2
import pytest
import requests
import urllib3

from handrail.resilience.chaos.book import Book
from handrail.resilience.chaos.text import parsed
from handrail.resilience.events import FaultInjected
from handrail.resilience.outbound._chaos import install
from handrail.resilience.testing import FakeClock, RecordingListener
from tests.chaos.chaos_peer import BODY, CALLS, Peer, serve

CLIENTS = list(CALLS)
LIBRARIES = ("httpx", "httpx2", "aiohttp", "urllib3")

REFUSED = {
    "httpx": httpx.ConnectError,
    "httpx2": httpx2.ConnectError,
    "requests": requests.ConnectionError,
    "urllib3": urllib3.exceptions.NewConnectionError,
    "aiohttp": aiohttp.ClientConnectorError,
}
SILENT = {
    "httpx": httpx.ReadTimeout,
    "httpx2": httpx2.ReadTimeout,
    "requests": requests.ReadTimeout,
    "urllib3": urllib3.exceptions.ReadTimeoutError,
    "aiohttp": aiohttp.ServerTimeoutError,
}
TORN = {
    "httpx": httpx.ReadError,
    "httpx2": httpx2.ReadError,
    "requests": requests.exceptions.ChunkedEncodingError,
    "urllib3": urllib3.exceptions.ProtocolError,
    "aiohttp": aiohttp.ClientOSError,
}
UNANSWERED = {
    "httpx": httpx.RemoteProtocolError,
    "httpx2": httpx2.RemoteProtocolError,
    "requests": requests.ConnectionError,
    "urllib3": urllib3.exceptions.ProtocolError,
    "aiohttp": aiohttp.ServerDisconnectedError,
}


@pytest.fixture
def peer() -> Iterator[Peer]:
    with serve() as running:
        yield running


@pytest.fixture
def told() -> RecordingListener:
    return RecordingListener()


@pytest.fixture
def book(told: RecordingListener) -> Iterator[Book]:
    """A book of which all client libraries know, with a clock that needs no time."""
    made = Book(FakeClock())
    made.emit = told
    made.service = "order"
    undos = [install(importlib.import_module(name), made) for name in LIBRARIES]
    yield made
    for undo in undos:
        undo()


def _of(table: dict[str, type[Exception]], client: str) -> type[Exception]:
    return table[client.removesuffix("-async")]


@pytest.mark.parametrize("client", CLIENTS)
def test_refused(client: str, book: Book, peer: Peer) -> None:
    """The library's own error of a refused connection, and nothing reaches the peer."""
    book.add([parsed("out refuse")], 0)
    with pytest.raises(_of(REFUSED, client)) as caught:
        CALLS[client]("GET", peer.url, {})
    assert "refused" in str(caught.value).lower()
    assert peer.carried == []


@pytest.mark.parametrize("client", CLIENTS)
def test_partition(client: str, book: Book, peer: Peer) -> None:
    """There is no way to the peer: the same kind of error, for its origin alone."""
    book.add([parsed(f"partition payment@{peer.url}")], 0)
    with serve() as other:
        assert CALLS[client]("GET", other.url, {})[0] == 200
    with pytest.raises(_of(REFUSED, client)) as caught:
        CALLS[client]("GET", peer.url, {})
    assert "no route" in str(caught.value).lower()


@pytest.mark.parametrize("client", CLIENTS)
def test_hang(client: str, book: Book, peer: Peer) -> None:
    """No answer comes: the read timeout that the code chose ends it, by its own error."""
    book.add([parsed("out hang")], 0)
    with pytest.raises(_of(SILENT, client)):
        CALLS[client]("GET", peer.url, {})
    assert isinstance(book.clock, FakeClock)
    assert book.clock.slept[-1] == 5
    assert peer.carried == []


@pytest.mark.parametrize("client", CLIENTS)
def test_hang_that_ends(client: str, book: Book, peer: Peer) -> None:
    """A hang of some seconds, shorter than the timeout, ends as a connection that closes without an answer."""
    book.add([parsed("out hang=2")], 0)
    with pytest.raises(_of(UNANSWERED, client)):
        CALLS[client]("POST", peer.url, {})
    assert isinstance(book.clock, FakeClock)
    assert book.clock.slept[-1] == 2


@pytest.mark.parametrize("client", CLIENTS)
def test_latency(client: str, book: Book, peer: Peer) -> None:
    """It takes so much longer, and goes well; more than the read timeout is a timeout."""
    rules = book.add([parsed("out latency=0.5")], 0)
    assert CALLS[client]("GET", peer.url, {})[:2] == (200, BODY)
    assert isinstance(book.clock, FakeClock)
    assert 0.5 in book.clock.slept
    book.remove(rules)
    book.add([parsed("out latency=7")], 0)
    with pytest.raises(_of(SILENT, client)):
        CALLS[client]("GET", peer.url, {})


@pytest.mark.parametrize("client", CLIENTS)
def test_error(client: str, book: Book, peer: Peer, told: RecordingListener) -> None:
    """A status with Retry-After, and nothing is carried out; the event names the fault as it was written."""
    book.add([parsed("out error=429 GET retry_after=3")], 0)
    status, body, headers = CALLS[client]("GET", peer.url, {})
    assert (status, headers["retry-after"]) == (429, "3")
    assert body == b"a fault on purpose (chaos): error=429\n"
    assert peer.carried == []
    assert told.of(FaultInjected) == [FaultInjected(peer.url, "GET", "error", "out", "out error=429 GET retry_after=3")]
    assert CALLS[client]("POST", peer.url, {})[0] == 200  # another method


@pytest.mark.parametrize("client", CLIENTS)
def test_reset(client: str, book: Book, peer: Peer) -> None:
    """The connection breaks off in the middle of the body: it was carried out, and its client has an error."""
    book.add([parsed("out reset times=1")], 0)
    with pytest.raises(_of(TORN, client)):
        CALLS[client]("GET", peer.url, {})
    assert len(peer.carried) == 1
    assert CALLS[client]("GET", peer.url, {})[:2] == (200, BODY)


@pytest.mark.parametrize("client", CLIENTS)
def test_lost(client: str, book: Book, peer: Peer) -> None:
    """Done, but the answer never comes."""
    book.add([parsed("out lost")], 0)
    with pytest.raises(_of(UNANSWERED, client)):
        CALLS[client]("POST", peer.url, {})
    assert [one[0] for one in peer.carried] == ["POST"]


@pytest.mark.parametrize("client", CLIENTS)
def test_duplicate(client: str, book: Book, peer: Peer) -> None:
    """The same request is sent twice, with its body, and the caller sees the first answer."""
    book.add([parsed("out duplicate")], 0)
    status, body, headers = CALLS[client]("POST", f"{peer.url}/charge", {})
    assert (status, body, headers["x-count"]) == (200, BODY, "1")
    assert peer.carried == [("POST", "/charge", b"x")] * 2


@pytest.mark.parametrize("client", CLIENTS)
def test_what_the_peer_is_told(client: str, book: Book, peer: Peer) -> None:
    """Each call says which service it comes from, and takes the header of the request along that it belongs to."""
    token = book.carry("abc.def")
    try:
        CALLS[client]("GET", peer.url, {"handrail-chaos-from": "somebody"})
    finally:
        book.end(token)
    assert peer.headers["handrail-chaos-from"] == "order"
    assert peer.headers["handrail-chaos"] == "abc.def"
    CALLS[client]("GET", peer.url, {})
    assert "handrail-chaos" not in peer.headers


def test_undone(peer: Peer) -> None:
    """Nothing stands at the client libraries before and after."""
    import httpcore
    from urllib3.connectionpool import HTTPConnectionPool

    seams = [
        (httpcore.ConnectionPool, "handle_request"),
        (httpcore.AsyncConnectionPool, "handle_async_request"),
        (HTTPConnectionPool, "_make_request"),
        (aiohttp.ClientSession, "_request"),
        (aiohttp.client, "build_client_middlewares"),
    ]
    before = [getattr(owner, name) for owner, name in seams]
    undos = [install(importlib.import_module(name), Book()) for name in LIBRARIES]
    assert all(getattr(owner, name) is not old for (owner, name), old in zip(seams, before, strict=True))
    for undo in undos:
        undo()
    assert [getattr(owner, name) for owner, name in seams] == before
