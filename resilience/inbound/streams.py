"""Websockets and event streams, counted apart from requests: they are open for hours and do little."""

import threading
from collections.abc import Awaitable
from typing import TYPE_CHECKING

from ..events import Listener, RequestRefused
from ._answer import Answer
from ._directly import directly
from ._reply import Replies

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["REFUSED", "OpenStreams", "StreamLimit", "TooManyStreams", "is_events", "refuse_events"]

TOO_MANY = Answer(503, "overloaded", "too many streams are open", "streams", None, 5.0, overloaded=True)
REFUSED = "the event stream was refused"
_TRY_AGAIN = 1013
"""The close code "Try Again Later" (IANA's registry)."""


class OpenStreams:
    """How many are open in this process; `most` is 0 for any number. Safe for threads."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.count = 0
        self._lock = threading.Lock()

    def enter(self, *, over: bool = False) -> bool:
        """Whether there is room for one more; `over`: it is open already, and counts whether there is or not."""
        with self._lock:
            if self.count >= self.most > 0 and not over:
                return False
            self.count += 1
            return True

    def leave(self) -> None:
        """One has ended."""
        with self._lock:
            self.count -= 1


class TooManyStreams(ConnectionError):
    """Ends an app whose event stream was refused: as if the client had gone."""


class StreamLimit:
    """ASGI middleware: refuses websockets above the limit, before they are accepted.

    `events`: event streams as well; not where load shedding counts them, which sees each answer anyway.
    """

    def __init__(
        self, app: "ASGIApp", *, streams: OpenStreams, replies: Replies, emit: Listener, events: bool = False
    ) -> None:
        self._app = directly(app)
        self._streams = streams
        self._replies = replies
        self._emit = emit
        self._events = events

    def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> Awaitable[None]:
        if scope["type"] == "websocket":
            return self._websocket(scope, receive, send)
        if self._events and scope["type"] == "http":
            return self._http(scope, receive, send)
        return self._app(scope, receive, send)

    async def _websocket(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if not self._streams.enter():
            self._emit(RequestRefused("", "GET", "streams", "limit", 503))
            await _refuse(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        finally:
            self._streams.leave()

    async def _http(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        stream = _Response(self._streams, send)
        try:
            await self._app(scope, receive, stream.send)
        except BaseException as error:
            if stream.counted:
                self._streams.leave()
            if not stream.refused or not isinstance(error, Exception):
                raise
        else:
            if stream.counted:
                self._streams.leave()
        if stream.refused:
            await refuse_events(scope, send, self._replies, self._emit)


class _Response:
    """Of one request."""

    __slots__ = ("_send", "_streams", "counted", "refused")

    def __init__(self, streams: OpenStreams, send: "Send") -> None:
        self._streams = streams
        self._send = send
        self.counted = self.refused = False

    def send(self, message: "Message") -> Awaitable[None]:
        """The app's."""
        if self.refused:
            raise TooManyStreams(REFUSED)
        if message["type"] == "http.response.start" and is_events(message):
            self.counted = self._streams.enter()
            if not self.counted:
                self.refused = True
                raise TooManyStreams(REFUSED)
        return self._send(message)


def is_events(start: "Message") -> bool:
    """Whether a response that begins is an event stream."""
    for name, value in start.get("headers", ()):
        if name == b"content-length":
            return False
        if name == b"content-type":
            return bool(value[:17].lower() == b"text/event-stream")
    return False


async def refuse_events(scope: "Scope", send: "Send", replies: Replies, emit: Listener) -> None:
    """Answer 503 in place of an event stream that had not begun."""
    emit(RequestRefused("", scope["method"], "streams", "limit", 503))
    await replies.send(TOO_MANY, scope, send, quietly=True)


async def _refuse(scope: "Scope", receive: "Receive", send: "Send") -> None:
    await receive()  # websocket.connect
    if "websocket.http.response" not in (scope.get("extensions") or ()):
        await send({"type": "websocket.close", "code": _TRY_AGAIN, "reason": ""})  # servers make it a 403
        return
    body = TOO_MANY.body(None)
    await send({"type": "websocket.http.response.start", "status": 503, "headers": TOO_MANY.headers(body)})
    await send({"type": "websocket.http.response.body", "body": body})
