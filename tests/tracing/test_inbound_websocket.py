"""The span of a websocket: one for the connection, from handshake to close."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from handrail.tracing.inbound._exchange import App, Receive, Scope, Send
from handrail.tracing.inbound.server import ServerSpans
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


def told(messages: list[dict[str, Any]], *received: dict[str, Any], **scope: Any) -> ReadableSpan:
    """The span of a connection whose application sends these, and reads whatever there is after each."""
    spans, server, queue = Spans(), Server(), list(received)

    async def receive() -> dict[str, Any]:
        return queue.pop(0)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)
            if queue:
                await receive()
        while queue:
            await receive()

    wrapped = ServerSpans(app, tracing=spans.tracing, routes=app)
    asyncio.run(wrapped(server.scope("/ws/7", type="websocket", scheme="ws", **scope), receive, server.send))
    assert len(spans.finished) == 1
    return spans.server


ACCEPT = {"type": "websocket.accept"}


def ending(span: ReadableSpan) -> Sequence[object]:
    """Who closed, with which code and reason, on the span and on its last event alike."""
    names = [f"handrail.websocket.{name}" for name in ("closed_by", "close_code", "close_reason")]
    assert span.events[-1].name == "handrail.websocket.closed"
    found = [
        [holder.get(name) for name in names] for holder in (span.attributes or {}, span.events[-1].attributes or {})
    ]
    assert found[0] == found[1]
    assert span.status.status_code is StatusCode.UNSET or found[0][1] == 1011
    return found[0]


def close(code: int, reason: str | None = None) -> dict[str, Any]:
    return {"type": "websocket.close", "code": code, "reason": reason}


def gone(code: int, reason: str | None = None) -> dict[str, Any]:
    return {"type": "websocket.disconnect", "code": code, "reason": reason}


@pytest.mark.parametrize(
    ("messages", "received", "expected"),
    [
        ([ACCEPT, close(1000)], [], ["server", 1000, None]),
        ([ACCEPT, {"type": "websocket.close"}], [], ["server", 1000, None]),
        ([ACCEPT, close(4000, "no seat")], [gone(4000, "no seat")], ["client", 4000, "no seat"]),
        ([ACCEPT, close(4000, "no seat")], [{"type": "websocket.connect"}, gone(1005)], ["server", 4000, "no seat"]),
        ([ACCEPT], [gone(1001, "leaving")], ["client", 1001, "leaving"]),
        ([ACCEPT], [gone(1005)], ["client", 1005, None]),
        ([ACCEPT], [gone(1006)], ["connection", 1006, None]),
        ([ACCEPT], [gone(1012)], ["server", 1012, None]),
        ([ACCEPT], [], ["server", None, None]),
        ([ACCEPT, close(1011)], [], ["server", 1011, None]),
    ],
)
def test_ends_are_told_apart(messages: list[Any], received: list[Any], expected: list[object]) -> None:
    """A1-11: by us, by the client, without a code (1005), cut off (1006), by a server that restarts (1012)."""
    assert ending(told(messages, *received)) == expected


def test_a_reason_is_bounded_and_clean() -> None:
    """RFC 6455, 5.5: 123 bytes; what looks like a secret in it is hidden."""
    assert ending(told([ACCEPT, close(4000, "x" * 5000)]))[2] == "x" * 123
    assert "s3cret" not in str(ending(told([ACCEPT], gone(4001, "password=s3cret")))[2])


def test_the_span_is_as_long_as_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends with the close, not with what the application does after it."""
    now = iter(range(10**18, 10**18 + 10**10, 10**9))
    monkeypatch.setattr("time.time_ns", lambda: next(now))
    span = told([ACCEPT], gone(1000))
    assert span.end_time == span.events[-1].timestamp


def test_messages_are_counted_and_make_no_spans() -> None:
    """A1-11: no span for a message."""
    message = {"type": "websocket.receive", "text": "x"}
    found = told([ACCEPT, *[{"type": "websocket.send", "text": "y"}] * 5], *[message] * 3, gone(1000)).attributes or {}
    counts = [found[f"handrail.websocket.messages_{way}"] for way in ("received", "sent")]
    assert counts == [3, 5]


def test_events_of_a_handshake() -> None:
    """Accepted with its subprotocol, or rejected with the status; A1-11: no status is invented."""
    accepted = told([ACCEPT | {"subprotocol": "chat"}, close(1000)])
    assert accepted.events[0].name == "handrail.websocket.accepted"
    assert dict(accepted.events[0].attributes or {}) == {"handrail.websocket.subprotocol": "chat"}
    for messages, status in (([close(1000)], 403), ([{"type": "websocket.http.response.start", "status": 401}], 401)):
        rejected = told(messages)
        assert [event.name for event in rejected.events] == ["handrail.websocket.rejected"]
        assert dict(rejected.events[0].attributes or {}) == {"http.response.status_code": status}
        found = rejected.attributes or {}
        assert found["http.response.status_code"] == status
        assert not [name for name in found if name.startswith("handrail.websocket.")]


def test_a_handshake_without_an_answer_is_an_error() -> None:
    """The server then answers 500; a client that left before is none."""
    assert (told([]).attributes or {})["error.type"] == "no_response"
    assert "error.type" not in (told([], gone(1006)).attributes or {})


@pytest.mark.parametrize(
    ("version", "method", "status"), [("1.1", "GET", 101), ("2", "CONNECT", 200), ("3", "CONNECT", 200)]
)
def test_the_handshake_of_each_version(version: str, method: str, status: int) -> None:
    """RFC 8441 and 9220: from HTTP/2 on it is a CONNECT, answered by 200."""
    found = told([ACCEPT, close(1000)], http_version=version).attributes or {}
    assert (found["http.request.method"], found["http.response.status_code"]) == (method, status)
    assert found["network.protocol.version"] == version
