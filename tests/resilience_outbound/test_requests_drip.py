"""Peers that let their answer drip hold no thread of requests or urllib3 past the attempt."""

import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests
import urllib3
from urllib3.connection import HTTPConnection

from handrail.resilience import outbound
from handrail.resilience.call import deadline
from handrail.resilience.registry import Registry
from handrail.resilience.settings import ResilienceSettings
from tests.certificates import authority, certified

BOUND = 60.0
"""Seconds after which a call that should have ended counts as one that hangs."""

Guard = Callable[..., None]


@pytest.fixture
def guard() -> Iterator[Guard]:
    undos: list[Callable[[], None]] = []

    def install(**settings: Any) -> None:
        chosen = {"backoff_base": 0.0, "attempts": 1, **settings}
        undos.append(outbound.install(requests, Registry(ResilienceSettings(**chosen))))

    yield install
    for undo in undos:
        undo()


def _dripping(begin: bytes, piece: bytes, pause: float) -> Callable[[Any, Any], bool]:
    def drips(server: Any, connection: Any) -> bool:
        connection.sendall(begin)
        while not server.gone.wait(pause):
            connection.sendall(piece)
        return False

    return drips


OK = b"HTTP/1.1 200 OK\r\n"
DRIPS = {
    "a body": (OK + b"content-length: 100000000\r\n\r\n", b"x", 0.02),
    "chunks": (OK + b"transfer-encoding: chunked\r\n\r\n", b"1\r\nx\r\n", 0.02),
    "a body without length": (OK + b"\r\n", b"x", 0.02),
    "headers": (OK, b"x-a: b\r\n", 0.02),
    "a status line": (b"HTTP/1.1 200 ", b"O", 0.02),
    "a body that never pauses": (OK + b"\r\n", b"x", 0.0),
}
dripping = pytest.mark.parametrize("what", DRIPS)


def _by_requests(url: str, **options: Any) -> object:
    return requests.get(url, **options)


def _by_urllib3(url: str, **options: Any) -> object:
    with urllib3.PoolManager() as pool:
        return pool.request("GET", url, **options)


each = pytest.mark.parametrize("get", [_by_requests, _by_urllib3], ids=["requests", "urllib3"])


def _error_of(call: Callable[[], object]) -> Exception:
    """What the call raised; the thread that makes it must come back."""
    raised: list[Exception] = []

    def made() -> None:
        try:
            call()
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=made, daemon=True)
    thread.start()
    thread.join(BOUND)
    assert not thread.is_alive(), "it hangs"
    (error,) = raised
    return error


@each
@dripping
def test_what_drips_ends_with_the_attempt(server: Any, guard: Guard, get: Callable[..., object], what: str) -> None:
    """Each byte begins the read timeout anew; the attempt has its end nevertheless."""
    guard(attempt_timeout=0.3, total_timeout=30.0)
    server.script(otherwise=_dripping(*DRIPS[what]))
    error = _error_of(lambda: get(server.url + "/"))
    server.gone.set()
    assert isinstance(error, requests.RequestException | urllib3.exceptions.HTTPError), repr(error)


@each
def test_the_deadline_of_a_caller_ends_it_too(server: Any, guard: Guard, get: Callable[..., object]) -> None:
    """Though nobody has set any timeout."""
    guard()
    server.script(otherwise=_dripping(*DRIPS["a body"]))

    def call() -> None:
        with deadline(0.3):
            get(server.url + "/")

    error = _error_of(call)
    server.gone.set()
    assert isinstance(error, requests.RequestException | urllib3.exceptions.HTTPError)


def test_a_stream_that_drips_goes_on(server: Any, guard: Guard) -> None:
    """Its body is the reader's: only its headers belong to the attempt."""
    guard(attempt_timeout=1.0, total_timeout=60.0, attempts=3)
    body = b"x" * 40
    begin = OK + b"content-length: 40\r\n\r\n"

    def drips(server: Any, connection: Any) -> bool:
        connection.sendall(begin)
        for _ in body:
            server.gone.wait(0.04)
            connection.sendall(b"x")
        return True

    server.script(otherwise=drips)
    with requests.get(server.url, stream=True) as response:
        assert b"".join(response.iter_content(7)) == body
    with urllib3.PoolManager() as pool:
        found = pool.request("GET", server.url + "/", preload_content=False)
        assert found.read() == body
        found.release_conn()


def test_headers_drip_over_tls_too(server: Any, guard: Guard, tmp_path: Path) -> None:
    """The bound is above the encryption."""
    guard(attempt_timeout=2.0, total_timeout=30.0)
    good = authority(tmp_path, "good")
    own = certified(tmp_path, "peer", good)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own.cert, own.key)

    def serve() -> None:
        plain, _ = listener.accept()
        with suppress(OSError), context.wrap_socket(plain, server_side=True) as connection:  # the client goes
            connection.recv(4096)
            connection.sendall(OK)
            while not server.gone.wait(0.02):
                connection.sendall(b"x-a: b\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/"
        _error_of(lambda: requests.get(url, verify=str(good.cert)))
        server.gone.set()
        thread.join(BOUND)


def test_undo_gives_the_connections_back(guard: Guard) -> None:
    """And a response class that somebody has put there is left alone."""
    before = vars(HTTPConnection).copy()
    undo = outbound.install(urllib3, Registry())
    assert HTTPConnection.response_class is not http.client.HTTPResponse
    undo()
    assert vars(HTTPConnection).copy() == before


def test_somebodys_response_class_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is his way to read an answer."""

    class Mine(http.client.HTTPResponse):
        pass

    monkeypatch.setattr(HTTPConnection, "response_class", Mine, raising=False)
    undo = outbound.install(urllib3, Registry())
    assert HTTPConnection.response_class is Mine
    undo()
    assert HTTPConnection.response_class is Mine
