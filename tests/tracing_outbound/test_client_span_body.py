"""The CLIENT span and its duration metric over a body that comes slowly, breaks off, or is not waited for."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from opentelemetry.trace import Span, StatusCode

from handrail.tracing import outbound
from handrail.tracing.outbound import _body
from handrail.tracing.testing import Spans, as_global

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n"
BUFFERED = {"handrail.buffered": True}
WAYS = pytest.mark.parametrize("way", ["sync", "async"])


class Script:
    """A server for one connection: sends `HEAD`, says so, waits for leave, then does what it is told."""

    def __init__(self, finish: Callable[[socket.socket], None]) -> None:
        self._finish = finish
        self.headers_out = threading.Event()
        self.go_on = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            connection, _ = self._socket.accept()
            with connection:
                while b"\r\n\r\n" not in connection.recv(65536):
                    """The request is short."""
                connection.sendall(HEAD)
                self.headers_out.set()
                self.go_on.wait(60)
                self._finish(connection)

    def close(self) -> None:
        self.go_on.set()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # closing alone wakes nobody
        self._thread.join(60)
        self._socket.close()


class Told(list[dict[str, Any]]):
    """A `ClientMeasure` that keeps what it is told."""

    def end(
        self, method: str, scheme: str, host: str, port: int | None, status: int, error_type: str | None, version: str,
        seconds: float, span: Span,
    ) -> None:  # fmt: skip
        self.append(
            {"method": method, "port": port, "status": status, "error": error_type, "version": version, "s": seconds}
        )


@pytest.fixture
def told(library: ModuleType, spans: Spans) -> Iterator[Told]:
    found = Told()
    undo = outbound.install(library, lambda: found)
    yield found
    undo()


@pytest.fixture
def script() -> Iterator[Callable[[Callable[[socket.socket], None]], Script]]:
    made: list[Script] = []

    def make(finish: Callable[[socket.socket], None]) -> Script:
        made.append(Script(finish))
        return made[-1]

    yield make
    for one in made:
        one.close()


def _get(library: ModuleType, way: str, url: str, **options: Any) -> Any:
    if way == "sync":
        with library.Client() as client:
            return client.get(url, **options)

    async def main() -> Any:
        async with library.AsyncClient() as client:
            return await client.get(url, **options)

    return asyncio.run(main())


def _in_thread(work: Callable[[], Any]) -> threading.Thread:
    def run() -> None:
        with suppress(Exception):
            work()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@WAYS
def test_a_slow_body_is_in_the_span(library: ModuleType, spans: Spans, told: Told, script: Any, way: str) -> None:
    """A2: where the body is read at once, the span and the duration last to its last byte; they end together."""
    server = script(lambda connection: connection.sendall(b"0123456789"))
    thread = _in_thread(lambda: _get(library, way, server.url, extensions=BUFFERED))
    assert server.headers_out.wait(60)
    assert (spans.finished, told) == ((), [])
    server.go_on.set()
    thread.join(60)
    (span,) = spans.finished
    assert span.status.status_code is StatusCode.UNSET
    assert span.start_time is not None
    assert span.end_time is not None
    (about,) = told
    assert about["error"] is None
    assert abs((span.end_time - span.start_time) / 1e9 - about["s"]) < 2


@WAYS
def test_a_stream_is_told_at_its_headers(library: ModuleType, spans: Spans, told: Told, script: Any, way: str) -> None:
    """Who streams a body may take any time over it: the span ends with the headers, as the conventions allow."""
    server = script(lambda connection: connection.sendall(b"0123456789"))

    async def main() -> None:
        async with library.AsyncClient() as client, client.stream("GET", server.url) as response:
            assert len(spans.finished) == len(told) == 1
            server.go_on.set()
            assert await response.aread() == b"0123456789"

    if way == "async":
        asyncio.run(main())
    else:
        with library.Client() as client, client.stream("GET", server.url) as response:
            assert len(spans.finished) == len(told) == 1
            server.go_on.set()
            assert response.read() == b"0123456789"
    assert len(spans.finished) == len(told) == 1


@WAYS
def test_a_hanging_body_is_an_error(library: ModuleType, spans: Spans, told: Told, script: Any, way: str) -> None:
    """A2: ReadTimeout in the middle of a body marks the span, with its full name, and is in the metric."""
    server = script(lambda _connection: None)
    timeout = library.Timeout(5, read=0.05)
    with pytest.raises(library.ReadTimeout):
        _get(library, way, server.url, extensions=BUFFERED, timeout=timeout)
    (span,) = spans.finished
    name = f"{library.__name__}.ReadTimeout"
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes or {})["error.type"] == name
    assert (span.attributes or {})["http.response.status_code"] == 200
    assert [(one["status"], one["error"]) for one in told] == [(200, name)]


@WAYS
def test_a_body_that_breaks_off_is_an_error(
    library: ModuleType, spans: Spans, told: Told, script: Any, way: str
) -> None:
    """The peer closes in the middle: the same."""
    server = script(lambda connection: connection.sendall(b"012"))
    server.go_on.set()
    with pytest.raises(library.RemoteProtocolError):
        _get(library, way, server.url, extensions=BUFFERED)
    (span,) = spans.finished
    assert (span.attributes or {})["error.type"] == f"{library.__name__}.RemoteProtocolError"
    assert [one["error"] for one in told] == [f"{library.__name__}.RemoteProtocolError"]


@pytest.mark.parametrize("timed_out", [True, False])
def test_cancelled_in_the_body(
    library: ModuleType, spans: Spans, told: Told, script: Any, timed_out: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A2: the caller's cancellation leaves the status unset; only that of our timer is an error, `timeout`."""
    server = script(lambda _connection: None)
    call = SimpleNamespace(attempt=1, timed_out=timed_out)
    reading = asyncio.Event()
    chunk = _body._AsyncBody.__anext__

    async def noted(body: Any) -> bytes:
        reading.set()
        return await chunk(body)

    monkeypatch.setattr(_body._AsyncBody, "__anext__", noted)

    async def main() -> None:
        async with library.AsyncClient() as client:
            task = asyncio.create_task(client.get(server.url, extensions={**BUFFERED, "handrail.call": call}))
            await asyncio.wait_for(reading.wait(), 10)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())
    (span,) = spans.finished
    assert span.status.status_code is (StatusCode.ERROR if timed_out else StatusCode.UNSET)
    assert [(one["status"], one["error"]) for one in told] == [(200, "timeout" if timed_out else None)]


@WAYS
def test_failures_are_measured(library: ModuleType, spans: Spans, told: Told, script: Any, way: str) -> None:
    """A2: contrib records no duration for a request that raised; here a refused connection and a timeout are there."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(library.ConnectError):
        _get(library, way, f"http://127.0.0.1:{port}/")
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(library.ReadTimeout):
        _get(library, way, f"http://127.0.0.1:{silent.getsockname()[1]}/", timeout=library.Timeout(5, read=0.05))
    name = library.__name__
    assert [(one["status"], one["error"]) for one in told] == [(0, f"{name}.ConnectError"), (0, f"{name}.ReadTimeout")]
    assert told[0]["port"] == port
    assert 0.05 <= told[1]["s"] < 5


@WAYS
def test_unsampled_calls_are_measured_and_nothing_else(
    library: ModuleType, script: Any, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unsampled attempt computes no attribute, sends its traceparent, and counts."""
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

    from handrail.tracing.outbound import _mend

    found, spans = Told(), Spans(ALWAYS_OFF)
    for name in ("answered", "attributes"):
        monkeypatch.setattr(_mend, name, None)
    server = script(lambda connection: connection.sendall(b"0123456789"))
    server.go_on.set()
    with as_global(spans.provider):
        undo = outbound.install(library, lambda: found)
        try:
            response = _get(library, way, server.url, extensions=BUFFERED)
        finally:
            undo()
    assert int(response.request.headers["traceparent"][-2:], 16) & 1 == 0
    assert spans.finished == ()
    assert [(one["status"], one["version"]) for one in found] == [(200, "1.1")]
