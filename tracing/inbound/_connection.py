"""One websocket under its SERVER span: how it began, how much was said, and who ended it."""

import sys
import time

from opentelemetry.trace import Span, Tracer

from .. import redact, semconv
from .._failure import mark
from ..spans.tracer import finish
from . import _outcome
from ._exchange import Message, Receive, Scope, Send
from .routes import Routes

__all__ = ["Connection"]

_MAX_REASON = 123  # bytes in a close frame (RFC 6455, 5.5)
_CLOSED_BY = {1006: "connection", 1012: "server"}  # lost without a close frame; the server restarts


class Connection:
    """The span of one websocket, from its handshake to its close; nothing is told of single messages.

    The handshake of HTTP/1.1 is a GET answered by 101, that of HTTP/2 and 3 a CONNECT answered by 2xx (RFC 8441).
    """

    over = False
    _open = True
    _accepted = False
    _status = 0
    _code: int | None = None
    _reason = ""
    _by = ""
    _ended_at = 0
    _received = 0
    _sent = 0
    _error: BaseException | None = None

    def __init__(
        self,
        span: Span,
        tracer: Tracer,
        routes: Routes,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        accepted: int,
        opened: set[object] | None,
    ) -> None:
        self.span = span
        self.tracer = tracer
        self.client = scope.get("client")
        self._routes = routes
        self._scope = scope
        self._receive = receive
        self._send = send
        self._when_accepted = accepted
        self._opened = opened

    async def receive(self) -> Message:
        """The server's next message, unchanged."""
        message = await self._receive()
        kind = message.get("type")
        if kind == "websocket.receive":
            self._received += 1
        elif kind == "websocket.disconnect":
            code = message.get("code", 1005)
            by = _CLOSED_BY.get(code, "client") if isinstance(code, int) else "client"
            self._close(by, code, message.get("reason"))
        return message

    async def send(self, message: Message) -> None:
        """Pass the message on, and remember how the handshake and the connection ended."""
        kind = message.get("type")
        if kind == "websocket.send":
            self._sent += 1
        elif kind == "websocket.accept":
            self._accept(message.get("subprotocol"))
        elif kind == "websocket.http.response.start":
            self._reject(message.get("status"))
        elif kind == "websocket.close":
            if self._accepted:
                self._close("server", message.get("code") or 1000, message.get("reason"))
            else:
                self._reject(403)  # what a server answers then (ASGI)
            self._error = sys.exception()
        await self._send(message)

    def _accept(self, subprotocol: object) -> None:
        self._accepted = True
        self._status = self._when_accepted
        named = {semconv.WEBSOCKET_SUBPROTOCOL: redact.protocol(subprotocol)} if isinstance(subprotocol, str) else None
        self.span.add_event(semconv.EVENT_WEBSOCKET_ACCEPTED, named)

    def _reject(self, status: object) -> None:
        if self._status:
            return
        self.over = True
        self._status = int(status) if isinstance(status, int) else 0
        self._error = sys.exception()
        self.span.add_event(semconv.EVENT_WEBSOCKET_REJECTED, {semconv.HTTP_STATUS: self._status})

    def _close(self, by: str, code: object, reason: object) -> None:
        """The first one counts: what comes behind a close is its echo."""
        if self.over:
            return
        self.over = True
        self._ended_at = time.time_ns()
        self._by = by
        self._code = int(code) if isinstance(code, int) else None
        self._reason = redact.text(reason[:_MAX_REASON]) if isinstance(reason, str) else ""

    def respond(self) -> None:
        """Background work of a refused handshake begins; the span ends with the connection all the same."""

    def worked(self) -> None:
        """See `respond`."""

    def finish(self, raised: BaseException | None) -> None:
        """End the span; `raised` is what came out of the application."""
        if not self._open:
            return
        self._open = False
        unanswered = raised is None and not self._status and not self.over
        if self._accepted and not self.over and (raised is None or not _outcome.is_no_error(raised, left=True)):
            self._by = "server"  # the application returned, or failed, without a close: the server makes one
        self.over = True
        if self.span.is_recording():
            self._tell(raised, unanswered=unanswered)
        if self._opened is not None:
            self._opened.discard(self)  # before the end, as in an exchange
        finish(self.span, {}, end_time=self._ended_at or None)

    def _tell(self, raised: BaseException | None, *, unanswered: bool) -> None:
        span = self.span
        if self._accepted:
            counts = {semconv.WEBSOCKET_RECEIVED: self._received, semconv.WEBSOCKET_SENT: self._sent}
            span.set_attributes({**counts, **self._end()})
        if self._by:
            span.add_event(semconv.EVENT_WEBSOCKET_CLOSED, self._end(), self._ended_at or None)
        route = self._routes.template(self._scope)
        told, name = _outcome.answered(span, semconv.WEBSOCKET, self._status, route, self._scope)
        span.set_attributes(told)
        if name is not None:
            span.update_name(name)
        code = self._code if self._by == "server" else None
        error = _outcome.of_websocket(self._status, code, raised or self._error)
        mark(span, _outcome.NO_RESPONSE if unanswered else error, self._ended_at or None)

    def _end(self) -> dict[str, str | int]:
        told: dict[str, str | int] = {semconv.WEBSOCKET_CLOSED_BY: self._by} if self._by else {}
        if self._code is not None:
            told[semconv.WEBSOCKET_CLOSE_CODE] = self._code
        if self._reason:
            told[semconv.WEBSOCKET_CLOSE_REASON] = self._reason
        return told
