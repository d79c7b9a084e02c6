"""One request under its SERVER span: what passes through is looked at, never held back."""

import sys
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from opentelemetry.trace import Span

from . import _outcome, semconv
from .routes import Routes

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Exchange:
    """The span of one HTTP request, from its scope to its last byte.

    `over` turns true when the last byte is under way: what starts in this context from then on is no part of
    the request. `left` says that the client went away.
    """

    # Defaults on the class: a request sets few of them.
    over = False
    left = False
    _open = True
    _status = 0
    _trailers = False
    _ended_at = 0
    _error: BaseException | None = None

    def __init__(self, span: Span, method: str, routes: Routes, scope: Scope, receive: Receive, send: Send) -> None:
        self.span = span
        self._method = method
        self._routes = routes
        self._scope = scope
        self._receive = receive
        self._send = send

    async def receive(self) -> Message:
        """The server's next message, unchanged."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.left = True
        return message

    async def send(self, message: Message) -> None:
        """Pass the message on; the span ends when the last one of the response is out."""
        kind = message["type"]
        if kind == "http.response.start":
            self._begin(message)
        elif self._is_last(kind, message):
            self.over = True
        try:
            await self._send(message)
        except OSError:  # what a server may raise where the client has gone (ASGI, "disconnected client")
            self.left = True
            raise
        if self.over and self._open and not self._ended_at:
            if self._status < 500:
                self.end(None)
            else:  # the exception behind it may still come up; the time is taken now
                self._ended_at = time.time_ns()

    def _begin(self, message: Message) -> None:
        self._status = status = message["status"]
        self._trailers = message.get("trailers", False)
        if status >= 500:  # frameworks answer from within their except block
            self._error = sys.exception()

    def _is_last(self, kind: str, message: Message) -> bool:
        if kind in ("http.response.body", "http.response.zerocopysend"):
            return not (self._trailers or message.get("more_body", False))
        if kind == "http.response.trailers":
            return not message.get("more_trailers", False)
        return kind == "http.response.pathsend"

    def end(self, raised: BaseException | None) -> None:
        """End the span where that has not happened; `raised` is what came out of the application."""
        if not self._open:
            return
        self._open = False
        complete = self.over
        self.over = True
        span, status = self.span, self._status
        if status:
            span.set_attribute(semconv.HTTP_STATUS, status)
        route = self._routes.template(self._scope)
        if route is not None:
            _outcome.routed(span, self._method, route)
        if raised is not None or not complete or status >= 500:
            error = _outcome.of_http(status, raised or self._error, complete=complete, left=self.left)
            # What comes up behind the last byte is told at the end of the span, not after it.
            _outcome.mark(span, error, self._ended_at or None)
            if self.left and not complete:
                span.add_event(semconv.EVENT_CLIENT_LEFT)
        span.end(self._ended_at or None)


class Connection:
    """The span of one websocket, from its handshake to its close."""

    over = False
    _open = True
    _accepted = False
    _status = 0
    _code = 1000
    _error: BaseException | None = None

    def __init__(self, span: Span, routes: Routes, scope: Scope, receive: Receive, send: Send) -> None:
        self.span = span
        self._routes = routes
        self._scope = scope
        self._receive = receive
        self._send = send

    async def receive(self) -> Message:
        """The server's next message, unchanged."""
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            self.over = True
        return message

    async def send(self, message: Message) -> None:
        """Pass the message on, and remember how the handshake and the connection ended."""
        kind = message["type"]
        if kind == "websocket.accept":
            self._accepted = True
            self._status = 101
        elif kind == "websocket.http.response.start":
            self._status = message["status"]
            self._error = sys.exception()
        elif kind == "websocket.close":
            if self._accepted:
                self._code = message.get("code") or 1000
            else:
                self._status = 403
            self._error = sys.exception()
            self.over = True
        await self._send(message)

    def end(self, raised: BaseException | None) -> None:
        """End the span; `raised` is what came out of the application."""
        if not self._open:
            return
        self._open = False
        self.over = True
        if self._status:
            self.span.set_attribute(semconv.HTTP_STATUS, self._status)
        route = self._routes.template(self._scope)
        if route is not None:
            _outcome.routed(self.span, semconv.WEBSOCKET, route)
        if raised is not None or self._status >= 500 or self._code == _outcome.WEBSOCKET_INTERNAL_ERROR:
            _outcome.mark(self.span, _outcome.of_websocket(self._status, self._code, raised or self._error))
        self.span.end()
