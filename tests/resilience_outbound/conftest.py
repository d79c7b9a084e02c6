"""A server that does as it is told, and the two libraries with handrail under them."""

import asyncio
import importlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pytest

from handrail.resilience import outbound
from handrail.resilience.events import Event, Listeners
from handrail.resilience.policy import Tools
from handrail.resilience.registry import Registry
from handrail.resilience.settings import ResilienceSettings

Step = Callable[["Server", socket.socket], bool]
"""Answers one request; false: the connection is to be closed."""


@dataclass
class Received:
    """One request as it came over the wire."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        """Every value of a header."""
        return [value for key, value in self.headers if key.lower() == name]


@dataclass
class Server:
    """An HTTP/1.1 server on 127.0.0.1: one thread for each connection, one step of the script for each request."""

    listener: socket.socket
    received: list[Received] = field(default_factory=list)
    connections: int = 0
    hung: threading.Event = field(default_factory=threading.Event)
    gone: threading.Event = field(default_factory=threading.Event)
    _script: list[Step] = field(default_factory=list)
    _otherwise: Step | None = None
    _open: set[socket.socket] = field(default_factory=set)
    _threads: list[threading.Thread] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        host, port = self.listener.getsockname()
        return f"http://{host}:{port}"

    def script(self, *steps: Step, otherwise: Step | None = None) -> None:
        """The answers to come, then `otherwise` (200 "fine") for good."""
        self._script = list(steps)
        self._otherwise = otherwise

    def listen(self) -> None:
        """Until this is called, connections are refused."""
        self.listener.listen(64)
        self._run(self._accept)

    def close(self) -> None:
        """End all connections and threads: to close a socket alone wakes nobody who waits at it."""
        with suppress(OSError):  # nobody listens
            self.listener.shutdown(socket.SHUT_RDWR)
        self.gone.set()
        while self._threads:
            with self._lock:
                for connection in self._open:
                    with suppress(OSError):  # it ended by itself
                        connection.shutdown(socket.SHUT_RDWR)
            self._threads.pop(0).join(60)
        self.listener.close()

    def _run(self, work: Callable[..., None], *given: Any) -> None:
        thread = threading.Thread(target=work, args=given, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
                self._open.add(connection)
            self._run(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        reader = connection.makefile("rb")
        try:
            while (received := _read(reader)) is not None:
                with self._lock:
                    self.received.append(received)
                    step = self._script.pop(0) if self._script else self._otherwise or answer()
                if not step(self, connection):
                    break
        except (OSError, ValueError):
            pass
        finally:
            reader.close()
            connection.close()
            with self._lock:
                self._open.discard(connection)


def _read(reader: Any) -> Received | None:
    line = reader.readline()
    if not line.strip():
        return None
    method, path, _ = line.decode().split(" ", 2)
    headers: list[tuple[str, str]] = []
    while line := reader.readline().strip():
        name, _, value = line.decode().partition(":")
        headers.append((name, value.strip()))
    lower = {name.lower(): value for name, value in headers}
    body = b""
    if lower.get("transfer-encoding") == "chunked":
        while size := int(reader.readline(), 16):
            body += reader.read(size)
            reader.readline()
        reader.readline()
    else:
        body = reader.read(int(lower.get("content-length", "0")))
    return Received(method, path, headers, body)


def answer(status: int = 200, body: bytes = b"fine", **headers: str) -> Step:
    """A whole response; header names with _ for -."""
    lines = [f"HTTP/1.1 {status} Told", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    head = "\r\n".join(lines).encode() + b"\r\n\r\n"

    def step(server: Server, connection: socket.socket) -> bool:
        connection.sendall(head + body)
        return True

    return step


def raw(data: bytes) -> Step:
    """Exactly these bytes."""

    def step(server: Server, connection: socket.socket) -> bool:
        connection.sendall(data)
        return True

    return step


def slow(server: Server, connection: socket.socket) -> bool:
    """A whole response after 0.2 s."""
    server.gone.wait(0.2)
    return answer()(server, connection)


def _wait_for_hangup(server: Server, connection: socket.socket) -> bool:
    server.hung.set()
    try:
        connection.recv(1)
    finally:
        server.gone.set()
    return False


def hang(server: Server, connection: socket.socket) -> bool:
    """No answer, until the client goes away."""
    return _wait_for_hangup(server, connection)


_HALF = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf of it"


def hang_in_body(server: Server, connection: socket.socket) -> bool:
    """Headers, a part of the body, silence."""
    connection.sendall(_HALF)
    return _wait_for_hangup(server, connection)


def drip(server: Server, connection: socket.socket) -> bool:
    """A body that never ends, and never pauses long."""
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
    connection.settimeout(0.02)
    server.hung.set()
    while True:
        connection.sendall(b"x")
        try:
            if not connection.recv(1):
                break
        except TimeoutError:
            continue
    server.gone.set()
    return False


def _reset(connection: socket.socket) -> bool:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    return False


def reset_in_body(server: Server, connection: socket.socket) -> bool:
    """Headers, a part of the body, connection reset."""
    connection.sendall(_HALF)
    return _reset(connection)


def end_in_body(server: Server, connection: socket.socket) -> bool:
    """Headers, a part of the body, an orderly end."""
    connection.sendall(_HALF)
    return False


def reset(server: Server, connection: socket.socket) -> bool:
    """Connection reset after the request was read."""
    return _reset(connection)


def close(server: Server, connection: socket.socket) -> bool:
    """An orderly end without an answer."""
    return False


@dataclass(frozen=True)
class Steps:
    """All that the server knows, for tests to choose from."""

    answer = staticmethod(answer)
    raw = staticmethod(raw)
    slow = staticmethod(slow)
    hang = staticmethod(hang)
    hang_in_body = staticmethod(hang_in_body)
    drip = staticmethod(drip)
    reset_in_body = staticmethod(reset_in_body)
    end_in_body = staticmethod(end_in_body)
    reset = staticmethod(reset)
    close = staticmethod(close)


@pytest.fixture
def steps() -> Steps:
    return Steps()


@pytest.fixture
def silent() -> Iterator[Server]:
    """A server whose port is taken, but which does not listen yet."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = Server(listener)
    yield server
    server.close()


@pytest.fixture
def server(silent: Server) -> Server:
    silent.listen()
    return silent


@pytest.fixture(params=["httpx", "httpx2"])
def library(request: pytest.FixtureRequest) -> ModuleType:
    return importlib.import_module(request.param)


@dataclass
class Guarded:
    """A library with handrail under it."""

    module: ModuleType
    registry: Registry
    events: list[Event]
    undo: Callable[[], None]


Guard = Callable[..., Guarded]


@pytest.fixture
def guard(library: ModuleType) -> Iterator[Guard]:
    """Installs with the given settings; pauses between attempts have no length unless they are given."""
    installed: list[Guarded] = []

    def install(**settings: Any) -> Guarded:
        events: list[Event] = []
        numbers = ResilienceSettings(**{"backoff_base": 0.0, **settings})
        registry = Registry(numbers, Tools(emit=Listeners(events.append)))
        installed.append(Guarded(library, registry, events, outbound.install(library, registry)))
        return installed[-1]

    yield install
    for guarded in installed:
        guarded.undo()


@pytest.fixture(params=["async", "sync", "function"])
def send(request: pytest.FixtureRequest, library: ModuleType) -> Callable[..., Any]:
    """One request in one of the three ways to make it; returns the response."""

    def from_async(method: str, url: str, **options: Any) -> Any:
        async def main() -> Any:
            async with library.AsyncClient(timeout=options.pop("timeout", library.Timeout(5.0))) as client:
                return await client.request(method, url, **options)

        return asyncio.run(main())

    def from_sync(method: str, url: str, **options: Any) -> Any:
        with library.Client(timeout=options.pop("timeout", library.Timeout(5.0))) as client:
            return client.request(method, url, **options)

    ways: dict[str, Callable[..., Any]] = {"async": from_async, "sync": from_sync, "function": library.request}
    return ways[request.param]
