"""The span of a websocket: one for the connection, from handshake to close."""

import asyncio
from typing import Any

import pytest
from opentelemetry.trace import StatusCode

from handrail.tracing._exchange import App, Receive, Scope, Send
from handrail.tracing.inbound import ServerSpans
from handrail.tracing.testing import Spans
from tests.tracing.asgi_server import Server


def connect(app: App, server: Server, spans: Spans) -> dict[str, Any]:
    """The attributes of the span of one connection."""

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.disconnect", "code": 1005} if server.sent else {"type": "websocket.connect"}

    wrapped = ServerSpans(app, tracing=spans.tracing, routes=app)
    try:
        asyncio.run(wrapped(server.scope("/ws/7", type="websocket", scheme="ws"), receive, server.send))
    finally:
        found = dict(spans.server.attributes or {})
    return found


def test_a_connection_that_was_accepted_and_closed(server: Server, spans: Spans) -> None:
    """The handshake's status is 101, no error."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close"})

    found = connect(app, server, spans)
    assert spans.server.name == "WS"
    assert (found["http.response.status_code"], found["network.protocol.name"]) == (101, "websocket")
    assert spans.server.status.status_code is StatusCode.UNSET


def test_a_rejected_handshake_is_a_403(server: Server, spans: Spans) -> None:
    """ASGI: a close before accept is answered 403, no error of the server."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.close"})

    assert connect(app, server, spans)["http.response.status_code"] == 403
    assert spans.server.status.status_code is StatusCode.UNSET


def test_a_denied_handshake_has_its_status(server: Server, spans: Spans) -> None:
    """ASGI websocket denial response: its own status, and 5xx is an error."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.http.response.start", "status": 503, "headers": []})
        await send({"type": "websocket.http.response.body", "body": b""})

    found = connect(app, server, spans)
    assert (found["http.response.status_code"], found["error.type"]) == (503, "503")


def test_the_client_leaving_is_no_error(server: Server, spans: Spans) -> None:
    """Frameworks raise WebSocketDisconnect for it."""

    class WebSocketDisconnect(Exception):
        pass

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        await receive()
        raise WebSocketDisconnect

    with pytest.raises(WebSocketDisconnect):
        connect(app, server, spans)
    assert spans.server.status.status_code is StatusCode.UNSET


def test_an_exception_is_an_error(server: Server, spans: Spans) -> None:
    """It passes on, with its class in error.type."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        raise ValueError("bad frame")

    with pytest.raises(ValueError, match="bad frame"):
        connect(app, server, spans)
    assert (spans.server.attributes or {})["error.type"] == "ValueError"


def test_a_close_by_1011_is_an_error(server: Server, spans: Spans) -> None:
    """RFC 6455, 7.4.1: 1011 is an unexpected condition of the server."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 1011})

    assert connect(app, server, spans)["error.type"] == "1011"
    assert spans.server.status.status_code is StatusCode.ERROR
