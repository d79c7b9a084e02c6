"""The SERVER span around an ASGI application, by the stable HTTP conventions.

Pure ASGI and unbuffered. One span per request, whoever else traces: under a SERVER span that somebody else
started for this request we make none, and the tracing built into FastAPI and Starlette is told to make none.
"""

import os
from collections.abc import Callable

from opentelemetry import propagate
from opentelemetry.context import Context, attach, create_key, detach, get_current, set_value
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, get_current_span, set_span_in_context

from . import _request, semconv
from ._exchange import App, Connection, Exchange, Receive, Scope, Send
from .propagation import W3CPropagator
from .provider import Tracing
from .routes import Routes

__all__ = ["ServerSpans"]

_EXCHANGE = create_key("handrail-exchange")
_SEEN = "handrail.tracing"


class ServerSpans:
    """Wraps `app`. `tracing` is asked at each request, so that it may be made at the first one; `routes` is the
    object that holds the routes: the application, whatever is wrapped around it.
    """

    def __init__(self, app: App, *, tracing: Callable[[], Tracing], routes: object) -> None:
        self._app = app
        self._tracing = tracing
        self._routes = Routes(routes)
        named = os.environ.get("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS", "")
        self._methods = frozenset(word.strip() for word in named.split(",") if word.strip()) or semconv.KNOWN_METHODS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Trace http and websocket scopes; others pass."""
        kind = scope["type"]
        if (kind != "http" and kind != "websocket") or _SEEN in scope:
            await self._app(scope, receive, send)
            return
        scope[_SEEN] = True
        scope["starlette.opentelemetry"] = True  # what starlette's OpenTelemetryMiddleware looks for
        scope.setdefault("fastapi.telemetry", None)  # what FastAPI's own tracing looks for
        base = _base(scope)
        if base is None:
            await self._app(scope, receive, send)
            return
        found = _request.headers(scope)
        parent = _extract(base, found, scope)
        exchange = (self._http if kind == "http" else self._websocket)(scope, receive, send, parent, found)
        # Attached here and detached here: a token must not be held across a yield of somebody else.
        token = attach(set_value(_EXCHANGE, exchange, set_span_in_context(exchange.span, parent)))
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except GeneratorExit:
            exchange.end(None)  # thrown away with its event loop, in a context that is not ours to restore
            raise
        except BaseException as error:
            exchange.end(error)
            detach(token)
            raise
        exchange.end(None)
        detach(token)

    def _http(self, scope: Scope, receive: Receive, send: Send, parent: Context, found: dict[bytes, bytes]) -> Exchange:
        method = name = original = scope["method"]
        if method not in self._methods:
            method = name = original.upper()
            if method not in self._methods:
                method, name = semconv.OTHER_METHOD, "HTTP"
        attributes = _request.attributes(scope, method, found)
        if method is not original:
            attributes[semconv.HTTP_METHOD_ORIGINAL] = original
        span = self._tracing().tracer.start_span(name, parent, SpanKind.SERVER, attributes)
        return Exchange(span, name, self._routes, scope, receive, send)

    def _websocket(
        self, scope: Scope, receive: Receive, send: Send, parent: Context, found: dict[bytes, bytes]
    ) -> Connection:
        attributes = _request.attributes(scope, "GET", found)
        attributes[semconv.PROTOCOL_NAME] = "websocket"
        span = self._tracing().tracer.start_span(semconv.WEBSOCKET, parent, SpanKind.SERVER, attributes)
        return Connection(span, self._routes, scope, receive, send)


def _extract(base: Context, found: dict[bytes, bytes], scope: Scope) -> Context:
    propagator = propagate.get_global_textmap()
    if type(propagator) is W3CPropagator:
        return propagator.read(base, found.get(b"traceparent"), found.get(b"tracestate"), found.get(b"baggage"))
    carrier: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        carrier.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return propagator.extract(carrier, base)


def _base(scope: Scope) -> Context | None:
    """The context that the request starts from; None where it has its SERVER span already."""
    base = get_current()
    current = get_current_span(base)
    if current is INVALID_SPAN:
        return base
    exchange = base.get(_EXCHANGE)
    if isinstance(exchange, Exchange | Connection) and exchange.span is current:
        # A call within the process belongs to the request that makes it. A request that a server started from
        # within the last send of the one before (pipelining) does not.
        return Context() if exchange.over else base
    return None if _is_server_span_of(current, scope) else base


def _is_server_span_of(span: Span, scope: Scope) -> bool:
    """Whether somebody else's SERVER span is for this very request, and not for one that calls it in process."""
    if getattr(span, "kind", None) is not SpanKind.SERVER or not span.is_recording():
        return False
    attributes = getattr(span, "attributes", None) or {}
    path = attributes.get(semconv.URL_PATH) or attributes.get("http.target")
    return not isinstance(path, str) or path.partition("?")[0] == scope["path"]
