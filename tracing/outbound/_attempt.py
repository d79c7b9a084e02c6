"""One attempt: the tracer that contrib asks for a span, the block that the span is current in, and what sends.

The span lasts until the headers have come, and where the body is read at once (`handrail.buffered`, set by whoever
knows) until its last byte: a body that hangs or breaks is then the attempt's error, and its time is counted.
"""

from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, Self

from opentelemetry import propagate
from opentelemetry.context import attach, detach
from opentelemetry.instrumentation.utils import is_http_instrumentation_enabled
from opentelemetry.trace import Span, SpanKind, StatusCode, set_span_in_context
from opentelemetry.util.types import AnyValue

from .. import semconv
from .._quietly import told as say
from . import _mend

if TYPE_CHECKING:
    from ._contrib import Engine

__all__ = ["Attempt"]

Send = Callable[[Any, Any], Any]

_BUFFERED = "handrail.buffered"


class Attempt:
    """The state of one attempt. `span` is None where nobody wants one (suppressed, or excluded by its URL)."""

    span: Span | None = None
    _held = False
    _ended = False
    _plain = False
    _status = 0
    _version = ""
    _request: Any

    def __init__(self, engine: "Engine", original: Send, transport: object, tracer: Any) -> None:
        self._engine = engine
        self._original = original
        self._transport = transport
        self._tracer = engine.light(tracer)
        self._started = perf_counter()

    # What contrib calls.

    def start_as_current_span(
        self, name: str, kind: SpanKind = SpanKind.CLIENT, attributes: dict[str, AnyValue] | None = None
    ) -> Self:
        """Start the span; contrib's idea of the peer's address is a name, so it is left out until it is known."""
        told = attributes or {}
        told.pop(semconv.PEER_ADDRESS, None)
        told.pop(semconv.PEER_PORT, None)
        self.span = self._tracer.start_span(name, None, kind, told)
        return self

    def __enter__(self) -> Span:
        """Make the span the current one."""
        span = self.span
        assert span is not None
        self._token = attach(set_span_in_context(span))
        return span

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Give the context back; the span ends here unless a body is still to come."""
        detach(self._token)
        if error is not None or not self._held:
            self.end(error)

    # Without contrib: where nobody asked for its hooks, captured headers or excluded URLs.

    def send_plain(self, request: Any) -> Any:
        """The whole attempt, on a thread."""
        if not is_http_instrumentation_enabled():
            return self._original(self._transport, request)
        with self._begin(request):
            self._inject(request)
            return self.send(request)

    async def send_plain_async(self, request: Any) -> Any:
        """The whole attempt, on an event loop."""
        if not is_http_instrumentation_enabled():
            return await self._original(self._transport, request)
        with self._begin(request):
            self._inject(request)
            return await self.send_async(request)

    def _begin(self, request: Any) -> Self:
        self._plain = True
        self.span = self._tracer.begin(_mend.name(request.method), None, SpanKind.CLIENT, _mend.attributes, request)
        return self

    def _inject(self, request: Any) -> None:
        headers = self._engine.module.Headers(request.headers)  # those of the request may be the caller's own
        try:
            propagate.inject(headers)
        except Exception as error:  # of a propagator of the service's own
            say("the trace context cannot be put into a request", error)
        request.headers = headers

    # What both go through.

    def send(self, request: Any) -> Any:
        """Send on a thread, within the span."""
        if self.span is None:
            return self._original(self._transport, request)
        self._leaves(request)
        response = self._original(self._transport, request)
        self._answered(response, self._engine.watched)
        return response

    async def send_async(self, request: Any) -> Any:
        """Send on an event loop, within the span."""
        if self.span is None:
            return await self._original(self._transport, request)
        self._leaves(request)
        response = await self._original(self._transport, request)
        self._answered(response, self._engine.watched_async)
        return response

    def _leaves(self, request: Any) -> None:
        assert self.span is not None
        self._request = request
        _mend.before(self.span, request)

    def _answered(self, response: Any, watched: Callable[["Attempt", Any], Any]) -> None:
        self._status = status = response.status_code
        self._version = _mend.VERSIONS.get(response.extensions.get("http_version", b"HTTP/1.1"), "")
        span = self.span
        assert span is not None
        if span.is_recording():
            if self._plain:
                span.set_attribute(semconv.HTTP_STATUS, status)
                if self._version:
                    span.set_attribute(semconv.PROTOCOL_VERSION, self._version)
                if status >= 400:
                    span.set_attribute(semconv.ERROR_TYPE, str(status))
                    span.set_status(StatusCode.ERROR)
            _mend.answered(span, response)
        if _BUFFERED in self._request.extensions:
            self._held = True
            response.stream = watched(self, response.stream)

    def end(self, error: BaseException | None) -> None:
        """End the span and tell its duration, once; `error` is what broke the attempt off."""
        span = self.span
        if self._ended or span is None:
            return
        self._ended = True
        request = getattr(self, "_request", None)
        told = str(self._status) if self._status >= 400 else None
        if error is not None and request is not None:
            told = _mend.failure(span, request, error) or told
        try:
            span.end()
            self._measured(span, told)
        except Exception as failed:  # of the service's own processors or MeterProvider
            say("an attempt cannot be told", failed)

    def _measured(self, span: Span, told: str | None) -> None:
        request = getattr(self, "_request", None)
        measure = self._engine.measure() if self._engine.measure is not None and request is not None else None
        if measure is not None and request is not None:
            url = request.url
            port = url.port or _mend.DEFAULT_PORTS.get(url.scheme)
            seconds = perf_counter() - self._started
            version = self._version
            measure.end(request.method, url.scheme, url.host, port, self._status, told, version, seconds, span)


def through(wrapper: Any, attempt: Attempt, send: Callable[[Any], Any], request: Any, *, measured: bool) -> Any:
    """Contrib's wrapper around `send`, with the attempt in place of its tracer."""
    assert isinstance(wrapper, partial)
    if measured:  # else the same duration would be recorded twice
        return wrapper(send, attempt._transport, (request,), {}, tracer=attempt, duration_histogram_new=None)
    return wrapper(send, attempt._transport, (request,), {}, tracer=attempt)
