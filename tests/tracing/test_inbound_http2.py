"""HTTP/2 and websockets over it, through a real hypercorn and a real HTTP/2 client on a socket."""

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, cast

import h2.config
import h2.connection
import h2.events
import pytest
from hypercorn.asyncio import serve
from hypercorn.config import Config
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from wsproto.connection import Connection as WsConnection
from wsproto.connection import ConnectionType
from wsproto.events import CloseConnection, TextMessage

from handrail.tracing.inbound.server import ServerSpans
from handrail.tracing.testing import Spans

Headers = list[tuple[str, str]]


async def item(request: Request) -> Response:
    return PlainTextResponse("ok")


async def stream(request: Request) -> Response:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"data: x\n\n"

    async def after() -> None:
        pass

    return StreamingResponse(chunks(), background=BackgroundTask(after))


async def echo(websocket: WebSocket) -> None:
    await websocket.accept(subprotocol="chat")
    while True:
        await websocket.send_text(await websocket.receive_text())


async def refuse(websocket: WebSocket) -> None:
    await websocket.close()


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "waited a minute"
        threading.Event().wait(0.005)


@pytest.fixture
def port(spans: Spans) -> Iterator[int]:
    """A hypercorn in a thread, HTTP/2 with prior knowledge; its port."""
    app = Starlette(
        routes=[
            Route("/items/{id}", item),
            Route("/stream", stream),
            WebSocketRoute("/rooms/{id}", echo),
            WebSocketRoute("/closed/{id}", refuse),
        ]
    )
    config = Config()
    listening = socket.create_server(("127.0.0.1", 0))
    config.bind = [f"fd://{listening.fileno()}"]
    config.loglevel = "CRITICAL"
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    def run() -> None:
        wrapped = cast("Any", ServerSpans(cast("Any", app), tracing=spans.tracing, routes=app))
        loop.run_until_complete(serve(wrapped, config, shutdown_trigger=cast("Any", stop.wait)))
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield listening.getsockname()[1]
    loop.call_soon_threadsafe(stop.set)
    thread.join(60)
    listening.detach()


class Client:
    """One HTTP/2 connection."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.flush()

    def flush(self) -> None:
        self.socket.sendall(self.h2.data_to_send())

    def ask(self, headers: Headers, *, end: bool = True) -> int:
        stream_id = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream_id, headers, end_stream=end)
        self.flush()
        return stream_id

    def read_until(self, wanted: Callable[[h2.events.Event], bool]) -> list[h2.events.Event]:
        """All events up to the wanted one."""
        seen: list[h2.events.Event] = []
        while True:
            data = self.socket.recv(65536)
            assert data, "the server hung up"
            events = self.h2.receive_data(data)
            self.flush()
            seen += events
            if any(wanted(event) for event in events):
                return seen


@pytest.fixture
def client(port: int) -> Iterator[Client]:
    made = Client(port)
    yield made
    made.socket.close()


def get(path: str, *more: tuple[str, str]) -> Headers:
    return [(":method", "GET"), (":scheme", "http"), (":authority", "shop.example:81"), (":path", path), *more]


def connect(path: str) -> Headers:
    """RFC 8441, 5.1."""
    return [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":authority", "shop.example:81"),
        (":path", path),
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", "chat"),
    ]


def is_answer(event: h2.events.Event) -> bool:
    return isinstance(event, h2.events.ResponseReceived)


def is_end(event: h2.events.Event) -> bool:
    return isinstance(event, h2.events.StreamEnded)


def test_a_request(client: Client, spans: Spans) -> None:
    """http-spans: network.protocol.version is "2", server.address is :authority, the route names the span."""
    client.ask(get("/items/7?a=1", ("traceparent", f"00-{'a' * 32}-{'b' * 16}-01"), ("user-agent", "h2")))
    client.read_until(is_end)
    until(lambda: spans.finished)
    found = dict(spans.server.attributes or {})
    assert spans.server.name == "GET /items/{id}"
    assert spans.server.parent is not None
    names = ("network.protocol.version", "server.address", "server.port", "http.response.status_code", "url.query")
    assert [found[name] for name in names] == ["2", "shop.example", 81, 200, "a=1"]


def test_streams_of_one_connection_do_not_mix(client: Client, spans: Spans) -> None:
    """Many requests at once over one socket: each is a trace of its own."""
    ids = [client.ask(get(f"/items/{number}")) for number in range(20)]
    ended: set[int] = set()
    while len(ended) < len(ids):
        events = client.read_until(is_end)
        ended |= {event.stream_id for event in events if isinstance(event, h2.events.StreamEnded) and event.stream_id}
    until(lambda: len(spans.finished) == len(ids))
    assert {span.name for span in spans.finished} == {"GET /items/{id}"}
    assert len({span.context.trace_id for span in spans.finished if span.context}) == len(ids)
    assert {str((span.attributes or {})["url.path"]) for span in spans.finished} == {f"/items/{n}" for n in range(20)}


def test_a_stream_and_what_runs_behind_it(client: Client, spans: Spans) -> None:
    """One SERVER span, one for the background task, none for the chunks (A1-1)."""
    client.ask(get("/stream"))
    client.read_until(is_end)
    until(lambda: len(spans.finished) == 2)
    assert spans.server.name == "GET /stream"
    (behind,) = [span for span in spans.finished if span is not spans.server]
    assert behind.parent == spans.server.context


def test_a_websocket_over_http2(client: Client, spans: Spans) -> None:
    """RFC 8441: a CONNECT answered by 200, not 101; one span for the life of the connection (A1-11)."""
    client.read_until(lambda event: isinstance(event, h2.events.RemoteSettingsChanged))
    stream_id = client.ask(connect("/rooms/7"), end=False)
    client.read_until(is_answer)
    frames = WsConnection(ConnectionType.CLIENT)
    for event in (TextMessage("hello"), CloseConnection(code=4001, reason="bye")):
        client.h2.send_data(stream_id, frames.send(event))
        client.flush()
    until(lambda: spans.finished)
    found = dict(spans.server.attributes or {})
    assert spans.server.name == "WS /rooms/{id}"
    assert (found["http.request.method"], found["http.response.status_code"]) == ("CONNECT", 200)
    assert (found["network.protocol.name"], found["network.protocol.version"]) == ("websocket", "2")
    counts = [found[f"handrail.websocket.messages_{way}"] for way in ("received", "sent")]
    assert counts == [1, 1]
    assert found["handrail.websocket.close_code"] == 1006  # what hypercorn says for every close of a client
    assert [event.name for event in spans.server.events] == [
        "handrail.websocket.accepted",
        "handrail.websocket.closed",
    ]
    assert dict(spans.server.events[0].attributes or {}) == {"handrail.websocket.subprotocol": "chat"}


def test_a_refused_websocket_over_http2(client: Client, spans: Spans) -> None:
    """The handshake is answered 403."""
    client.read_until(lambda event: isinstance(event, h2.events.RemoteSettingsChanged))
    client.ask(connect("/closed/7"), end=False)
    client.read_until(is_answer)
    until(lambda: spans.finished)
    assert (spans.server.attributes or {})["http.response.status_code"] == 403
    assert [event.name for event in spans.server.events] == ["handrail.websocket.rejected"]
