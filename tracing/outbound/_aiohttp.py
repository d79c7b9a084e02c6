"""aiohttp: one CLIENT span for each attempt, by the innermost client middleware of all.

`ClientSession._request` gets the middleware behind those that are there, so that each attempt of whoever retries
above passes it, and each hop of a redirect. A span ends with the headers; the body is read by the service, later.
Contrib's trace configs would tell the whole request as one more span, with a traceparent of its own: while this is
installed, sessions run without them, and the hooks that a service gave them are called for each attempt.
"""

import inspect
import os
from collections.abc import Awaitable, Callable
from functools import wraps
from time import perf_counter
from types import ModuleType
from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.context import attach, detach
from opentelemetry.instrumentation.utils import is_http_instrumentation_enabled
from opentelemetry.trace import Span, SpanKind, set_span_in_context
from opentelemetry.util.http import get_excluded_urls

from .. import semconv
from .._quietly import told as say
from ..measure import ClientMeasure
from ..redact import captures
from ..spans.tracer import light
from . import _aiohttp_span as about
from ._aiohttp_contrib import Contrib

__all__ = ["install"]

Handler = Callable[[Any], Awaitable[Any]]
Measure = Callable[[], ClientMeasure | None]

_undo: dict[type, Callable[[], None]] = {}


class _Layer:
    """The middleware. `on` is false once it was undone."""

    def __init__(self, module: ModuleType, measure: Measure | None) -> None:
        self.on = True
        self.contrib = Contrib(module)
        self._tracer = light(trace.get_tracer(semconv.SCOPE, schema_url=semconv.SCHEMA_URL))
        self._measure = measure
        self._excluded = get_excluded_urls("AIOHTTP_CLIENT")
        self._sent = captures(os.environ, "CLIENT_REQUEST")
        self._came = captures(os.environ, "CLIENT_RESPONSE")

    async def __call__(self, request: Any, handler: Handler) -> Any:
        """Send one attempt inside its CLIENT span."""
        if not self.on or not is_http_instrumentation_enabled() or self._left_out(request):
            return await handler(request)
        started = perf_counter()
        span = self._tracer.begin(about.name(request), None, SpanKind.CLIENT, about.attributes, request)
        token = attach(set_span_in_context(span))
        response, error_type = None, None
        hooks = self.contrib.hooks(request.session)
        try:
            self._leaves(span, request)
            if hooks:
                hooks.before(span, request)
            response = await handler(request)
            error_type = about.answered(span, response)
            if self._came is not None:
                span.set_attributes(self._came.of(response.headers.items()))
            if hooks:
                hooks.after(span, request, response)
            return response
        except BaseException as error:
            error_type = about.failed(span, request, error) or error_type
            if hooks:
                hooks.broken(span, request, error)
            raise
        finally:
            detach(token)
            self._ends(span, request, response, error_type, perf_counter() - started)

    def _left_out(self, request: Any) -> bool:
        return bool(self._excluded._excluded_urls) and self._excluded.url_disabled(str(request.url))

    def _leaves(self, span: Span, request: Any) -> None:
        try:
            propagate.inject(request.headers)
        except Exception as error:  # of a propagator of the service's own
            say("the trace context cannot be put into a request", error)
        context = span.get_span_context()
        # A tracestate copied by hand belongs to another parent than the traceparent that we just wrote.
        if not context.trace_state and "tracestate" in request.headers and context.is_valid:
            del request.headers["tracestate"]
        if self._sent is not None:
            span.set_attributes(self._sent.of(request.headers.items()))

    def _ends(self, span: Span, request: Any, response: Any, error_type: str | None, seconds: float) -> None:
        try:
            span.end()
            measure = None if self._measure is None else self._measure()
            if measure is not None:
                url = request.url
                status = 0 if response is None else response.status
                version = about.version(response)
                measure.end(
                    request.method, about.scheme(url), url.host, url.port, status, error_type, version, seconds, span
                )
        except Exception as failed:  # of the service's own processors or MeterProvider
            say("an attempt cannot be told", failed)

    def around(self, original: Any) -> Any:
        """`ClientSession._request` with the layer behind the other middlewares."""

        # No coroutine function of ours: aiohttp's warnings name a line of the service by counting frames.
        @wraps(original)
        def _request(session: Any, method: str, str_or_url: Any, **options: Any) -> Any:
            if self.on:
                if session._trace_configs:
                    self.contrib.take(session)
                theirs = options.get("middlewares")
                options["middlewares"] = (*(session._middlewares if theirs is None else theirs), self)
            return original(session, method, str_or_url, **options)

        return _request


def install(module: ModuleType, measure: Measure | None = None) -> Callable[[], None]:
    """Patch the session class of `module`; see `outbound.install`. Before 3.12 aiohttp is left as it is."""
    session: Any = module.ClientSession
    known = _undo.get(session)
    if known is not None:
        return known
    original = vars(session)["_request"]
    if "middlewares" not in inspect.signature(original).parameters:
        return _nothing
    layer = _Layer(module, measure)
    ours = layer.around(original)
    session._request = ours

    def undo() -> None:
        if _undo.pop(session, None) is None:
            return
        layer.on = False  # also where a later wrapper still holds ours inside
        layer.contrib.give_back()
        if vars(session).get("_request") is ours:
            session._request = original

    _undo[session] = undo
    return undo


def _nothing() -> None:
    """Nothing was installed."""
