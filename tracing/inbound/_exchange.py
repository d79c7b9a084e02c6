"""One request under its SERVER span: what passes through is looked at, never held back."""

import sys
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from time import time_ns
from typing import Any

from opentelemetry.trace import NonRecordingSpan, Span, Tracer
from opentelemetry.util.types import AnyValue, Attributes

from .. import semconv
from .._failure import Error, mark
from .._quietly import told as say
from ..measure import ServerMeasure
from ..spans.current import CurrentSpan
from ..spans.tracer import finish
from . import _background, _outcome
from .routes import Routes

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_making = threading.Lock()


class Exchange(CurrentSpan):
    """One HTTP request, from its scope to the return of the application; within it, the current span.

    `span` is the SERVER span. It ends with the last byte of the response, and `over` turns true when that is under
    way: what starts in this context from then on is no part of the request. `left` says that the client went away.
    """

    # Defaults on the class: a request sets few of them.
    over = False
    left = False
    measure: ServerMeasure | None = None
    started = 0  # set where there is a measure; all times are in nanoseconds since the epoch
    method = scheme = ""
    _open = True
    _running = True
    _code = 0
    _trailers = False
    _named_work = False
    _out_at = 0
    _left_at = 0
    _raised_before: BaseException | None = None
    _recorded: BaseException | None = None
    _work: Span | None = None

    def __init__(
        self,
        span: Span,
        tracer: Tracer,
        title: str,
        routes: Routes,
        scope: Scope,
        receive: Receive,
        send: Send,
        opened: set[object] | None,
    ) -> None:
        self.span = span
        self.tracer = tracer
        self.told = span.is_recording()
        self._title = title
        self._routes = routes
        self._scope = scope
        self._receive = receive
        self._send = send
        self._opened = opened

    @property
    def client(self) -> object:
        """The peer of the request, as the server names it."""
        return self._scope.get("client")

    async def receive(self) -> Message:
        """The server's next message, unchanged."""
        message = await self._receive()
        if message.get("type") == "http.disconnect" and not self.over:
            self._leave()
        return message

    async def send(self, message: Message) -> None:
        """Pass the message on; the span ends when the last one of the response is out."""
        kind = message.get("type")
        if kind == "http.response.start":
            self._begin(message)
        elif kind == "http.response.body":
            if not (message.get("more_body", False) or self._trailers):
                self.over = True
        elif self._is_last(kind, message):
            self.over = True
        try:
            await self._send(message)
        except OSError:  # what a server may raise where the client has gone (ASGI, "disconnected client")
            self._leave()
            raise
        if self.over and self._open and not self._out_at:
            self._out_at = time_ns()
            if self._code < 500:  # else the exception behind it may still come up
                self._end(None)

    def _begin(self, message: Message) -> None:
        status = message.get("status")
        self._code = code = int(status) if isinstance(status, int) else 0
        self._trailers = message.get("trailers", False)
        if code >= 500:  # frameworks answer from within their except block
            self._raised_before = sys.exception()

    def _is_last(self, kind: object, message: Message) -> bool:
        if kind == "http.response.zerocopysend":
            return not (self._trailers or message.get("more_body", False))
        if kind == "http.response.trailers":
            return not message.get("more_trailers", False)
        return kind == "http.response.pathsend"

    def _leave(self) -> None:
        self.left = True
        if self._code and not self._left_at:  # in the middle of the response: that is where it ended
            self._left_at = time_ns()

    def _end(self, raised: BaseException | None) -> None:
        """End the SERVER span."""
        self._open = False
        complete = self.over
        self.over = True
        span, code = self.span, self._code
        ended = self._left_at or self._out_at or time_ns()
        error: Error = None
        if raised is not None or not complete or code >= 500:
            error = _outcome.of_http(code, raised or self._raised_before, complete=complete, left=self.left)
        route: str | None = None
        name: str | None = None
        told: dict[str, AnyValue] = {}
        if self.told:
            route = self._routes.template(self._scope)
            told, name = _outcome.answered(span, self._title, code, route, self._scope)
            if error is not None:
                # What comes up behind the last byte is told at the end of the span, not after it.
                mark(span, error, ended, recorded=error is self._recorded)
            if self._left_at or (self.left and not complete):
                span.add_event(semconv.EVENT_CLIENT_LEFT, None, ended)
        if self.measure is not None:
            self._count(route, error, ended)
        if self._opened is not None:
            self._opened.discard(self)  # before the end: a held event loop is told on what leaves
        finish(span, told, name=name, end_time=ended)
        if self._raised_before is not None or self._recorded is not None:
            self._raised_before = self._recorded = None  # their frames hold this: work for the collector

    def _count(self, route: str | None, error: Error, ended: int) -> None:
        assert self.measure is not None
        if not self.told:
            route = self._routes.template(self._scope)
        version = self._scope.get("http_version") or "1.1"
        seconds = max(ended - self.started, 0) / 1e9
        kind = _outcome.error_type(error)
        try:
            self.measure.end(self.method, self.scheme, route, self._code, kind, version, seconds, self.span)
        except Exception as failed:  # of the service's own MeterProvider
            say("a request cannot be counted", failed)

    def finish(self, raised: BaseException | None) -> None:
        """The application has returned, or `raised` came out of it."""
        told = self._open
        if told:
            self._end(raised)
        self._running = False
        if self.told and self._out_at:
            _background.settle(self, None if told else raised)

    # -- after the last byte

    def respond(self) -> None:
        """Background work begins: an answer of 5xx waits no longer for its exception."""
        if self._open and self._out_at:
            self._end(None)

    def worked(self) -> None:
        """Background work was told under its own name."""
        self._named_work = True

    def _behind(self) -> Span:
        if self._open:
            if not self._out_at or sys.exception() is not None:  # an exception is on its way up
                return self.span
            self._end(None)
        if self._running:
            return self.work() if self.told else self.span
        return NonRecordingSpan(self._shown().get_span_context())  # a parent still; to tell it something is too late

    def _shown(self) -> Span:
        return self._work or self.span

    def work(self) -> Span:
        """The span of what runs on after the response and has no name of its own."""
        if self._work is not None:
            return self._work
        with _making:
            if self._work is None:
                name = getattr(self.span, "name", self._title)
                self._work = _background.begun(self, name, start=self._out_at or None)
            return self._work

    def record_exception(
        self,
        exception: BaseException,
        attributes: Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """See the API. Where the same one ends the request, its event is there already."""
        self._recorded = exception
        super().record_exception(exception, attributes, timestamp, escaped)

    def is_recording(self) -> bool:
        """Whether anything is still told; asking begins no work."""
        return self.told and (self._running or self._open)
