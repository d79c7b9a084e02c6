"""The SERVER span under a real uvicorn on a real socket: what no miniature server shows."""

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import uvicorn
from opentelemetry.trace import StatusCode
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from handrail.tracing.inbound.server import ServerSpans
from handrail.tracing.testing import Spans


async def item(request: Request) -> Response:
    return PlainTextResponse("ok")


async def broken(request: Request) -> Response:
    raise ValueError("no stock")


async def endless(request: Request) -> Response:
    async def chunks() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 65536
            await asyncio.sleep(0)  # noqa: TID251  # no delay: only lets the server see that the client left

    return StreamingResponse(chunks())


async def room(websocket: WebSocket) -> None:
    """Repeats; says goodbye when told to."""
    if websocket.path_params["id"] == "full":
        await websocket.send_denial_response(PlainTextResponse("full", 429))
        return
    await websocket.accept()
    async for text in websocket.iter_text():
        if text == "bye":
            await websocket.close(4000, "goodbye")
            return
        await websocket.send_text(text)


@pytest.fixture
def port(spans: Spans) -> Iterator[int]:
    """A uvicorn in a thread; its port."""
    routes = [
        Route("/items/{id}", item),
        Route("/broken", broken),
        Route("/endless", endless),
        WebSocketRoute("/rooms/{id}", room),
    ]
    app = Starlette(routes=routes)
    wrapped = ServerSpans(app, tracing=spans.tracing, routes=app)
    server = uvicorn.Server(uvicorn.Config(wrapped, port=0, log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join(60)


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, at most ten seconds."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "waited a minute"
        threading.Event().wait(0.005)


def exchange(port: int, *requests: str) -> None:
    """Send these request heads in one piece, read until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall("".join(f"{head}\r\nHost: shop\r\n\r\n" for head in requests).encode())
        while connection.recv(65536):
            pass


def test_header_names_count_in_any_case(port: int, spans: Spans) -> None:
    """W3C 3.2.1 and 3.3: vendors must expect the header names in any case; servers give them in lower case."""
    parent = f"00-{'a' * 32}-{'b' * 16}-01"
    exchange(port, f"GET /items/1 HTTP/1.1\r\nConnection: close\r\nTraceParent: {parent}\r\nTRACESTATE: foo=1")
    span = spans.server
    assert span.parent is not None
    assert (span.parent.span_id, dict(span.parent.trace_state)) == (int("b" * 16, 16), {"foo": "1"})


def test_pipelined_requests_are_traces_of_their_own(port: int, spans: Spans) -> None:
    """The second request starts while the first one's last byte is being sent, in its context."""
    exchange(port, "GET /items/1 HTTP/1.1", "GET /items/2 HTTP/1.1\r\nConnection: close")
    first, second = spans.finished
    assert first.parent is second.parent is None
    assert (first.name, second.name) == ("GET /items/{id}", "GET /items/{id}")


def test_an_unhandled_exception_in_starlette_names_its_class(port: int, spans: Spans) -> None:
    """ServerErrorMiddleware answers 500 first and raises again after it."""
    exchange(port, "GET /broken HTTP/1.1\r\nConnection: close")
    attributes = spans.server.attributes or {}
    assert (attributes["error.type"], attributes["http.response.status_code"]) == ("ValueError", 500)
    assert spans.server.name == "GET /broken"


def test_a_client_that_hangs_up_in_a_stream_is_no_error(port: int, spans: Spans) -> None:
    """The span ends, UNSET, and says that the client left."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(b"GET /endless HTTP/1.1\r\nHost: shop\r\n\r\n")
        assert connection.recv(100)
    until(lambda: bool(spans.finished))
    assert spans.server.status.status_code is StatusCode.UNSET
    assert [event.name for event in spans.server.events] == ["handrail.client.disconnected"]


def leave(connection: ClientConnection) -> None:
    connection.close(4321, "enough")


def be_told_to_leave(connection: ClientConnection) -> None:
    connection.send("bye")
    with pytest.raises(ConnectionClosed):
        connection.recv(10)


def vanish(connection: ClientConnection) -> None:
    connection.socket.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    ("end", "by", "codes", "reason"),
    [
        (leave, {"client"}, {4321}, "enough"),
        (be_told_to_leave, {"server"}, {4000}, "goodbye"),
        (vanish, {"client", "connection"}, {1005, 1006}, None),  # uvicorn's two implementations differ here
    ],
)
def test_a_websocket_says_how_it_ended(
    port: int, spans: Spans, end: Callable[[ClientConnection], None], by: set[str], codes: set[int], reason: str | None
) -> None:
    """One SERVER span for the connection, of its length, with who closed it and why; no error."""
    with connect(f"ws://127.0.0.1:{port}/rooms/7") as connection:
        connection.send("hello")
        assert connection.recv(10) == "hello"
        end(connection)
    until(lambda: bool(spans.finished))
    found = dict(spans.server.attributes or {})
    assert (spans.server.name, len(spans.finished)) == ("WS /rooms/{id}", 1)
    assert found["handrail.websocket.closed_by"] in by
    assert found["handrail.websocket.close_code"] in codes
    assert found.get("handrail.websocket.close_reason") == reason
    assert spans.server.status.status_code is StatusCode.UNSET


def test_a_websocket_that_is_refused_with_an_answer(port: int, spans: Spans) -> None:
    """The denial response's status, told as a rejection."""
    with pytest.raises(InvalidStatus), connect(f"ws://127.0.0.1:{port}/rooms/full"):
        pass
    until(lambda: bool(spans.finished))
    assert (spans.server.attributes or {})["http.response.status_code"] == 429
    assert [event.name for event in spans.server.events] == ["handrail.websocket.rejected"]
