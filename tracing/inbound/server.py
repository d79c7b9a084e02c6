"""The SERVER span around an ASGI application, by the stable HTTP conventions.

Pure ASGI and unbuffered. One span per request, whoever else traces: under a SERVER span that somebody else
started for this request we make none, and the tracing built into FastAPI and Starlette is told to make none.
"""

import os
from collections.abc import Callable
from time import time_ns
from typing import Any

from opentelemetry import propagate
from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    NoOpTracer,
    Span,
    SpanKind,
    Tracer,
    get_current_span,
    set_span_in_context,
)

from .. import others as _others
from .. import semconv
from .._asgi import SEEN
from .._quietly import told
from ..measure import ServerMeasure
from ..others._server import complete
from ..propagation import W3CPropagator
from ..provider import Tracing
from ..redact._capture import capturing
from ..settings import Telling
from ..spans.tracer import LightTracer, light
from . import _background, _request
from ._background import EXCHANGE
from ._connection import Connection
from ._exchange import App, Exchange, Receive, Scope, Send
from ._exclude import excluding, untold
from ._sampling import RouteRatios
from ._trust import FORWARDED, Proxies, link_to
from .routes import Routes

__all__ = ["HEADERS", "ServerSpans"]

HEADERS = "handrail.headers"
"""Where in the scope the headers are that were looked for."""
_SPAN = next(iter(set_span_in_context(INVALID_SPAN, Context())))  # the key of the current span
_HTTP_1 = ("1.0", "1.1")
_DEFAULT = Telling()


class ServerSpans:
    """Wraps `app`. `tracing` is asked at each request, so that it may be made at the first one; `routes` is the
    object that holds the routes: the application, whatever is wrapped around it.

    `measure`, or what it returns when the tracing is known, is told of every HTTP request that is not excluded;
    `open_exchanges` holds an object with a `span` for each request and websocket whose SERVER span is open. `also` are
    headers that a layer further in wants to know: they are looked for in the same pass and left in the scope.
    """

    def __init__(
        self,
        app: App,
        *,
        tracing: Callable[[], Tracing],
        routes: object,
        telling: Telling = _DEFAULT,
        measure: ServerMeasure | Callable[[], ServerMeasure | None] | None = None,
        open_exchanges: set[object] | None = None,
        also: frozenset[bytes] = frozenset(),
    ) -> None:
        self._app = capturing(app, os.environ)
        self._tracing = tracing
        self._routes = Routes(routes)
        named = os.environ.get("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS", "")
        self._methods = frozenset(word.strip() for word in named.split(",") if word.strip()) or semconv.KNOWN_METHODS
        self._given_measure = measure
        self._measure: ServerMeasure | None = None
        self._opened = open_exchanges
        self._excluded = excluding(telling.exclude_routes)
        self._linking = telling.inbound_trace == "link"
        self._proxies = Proxies(telling.trusted_proxies) if telling.trusted_proxies else None
        self.look_for(also)
        self._ratios = RouteRatios(telling.route_sampling) if telling.route_sampling else None
        self._given: Tracer | None = None
        self._tracer = light(NoOpTracer())
        _background.install()
        _others.install()

    def look_for(self, also: frozenset[bytes]) -> None:
        """Have the headers `also` found for a layer further in, from the next request on."""
        self._wanted = also | (_request.WANTED | FORWARDED if self._proxies is not None else _request.WANTED)
        self._sharing = bool(also)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Trace http and websocket scopes; others pass."""
        kind = scope["type"]
        if (kind != "http" and kind != "websocket") or SEEN in scope:
            await self._app(scope, receive, send)
            return
        scope[SEEN] = True
        scope["starlette.opentelemetry"] = True  # what starlette's OpenTelemetryMiddleware looks for
        scope.setdefault("fastapi.telemetry", None)  # what FastAPI's own tracing looks for
        base = _base(scope)
        if base is None:
            tracer = self._tracing().tracer
            await complete(get_current_span(), tracer, self._routes, self._app, scope, receive, send)
            return
        found = _request.headers(scope, self._wanted)
        if self._sharing:
            scope[HEADERS] = found
        links: tuple[Link, ...] = ()
        if not self._linking:
            parent = _extract(base, found, scope)
        elif get_current_span(base) is INVALID_SPAN:
            parent, links = link_to(base, found)
        else:  # a call within the process
            parent = base
        if self._excluded is not None and self._excluded(scope):
            await self._pass(untold(parent), scope, receive, send)
            return
        tracer = self._tracing().tracer
        if tracer is not self._given:
            self._adopt(tracer)
        light_tracer = self._tracer
        if self._ratios is not None and not get_current_span(parent).get_span_context().is_valid:
            light_tracer = self._ratios.tracer(scope["path"], light_tracer)
        exchange: Exchange | Connection
        carried = parent.copy()
        carried[EXCHANGE] = exchange = (self._http if kind == "http" else self._websocket)(
            light_tracer, parent, links, scope, found, receive, send
        )
        carried[_SPAN] = exchange if kind == "http" else exchange.span
        # Attached here and detached here: a token must not be held across a yield of somebody else.
        token = attach(Context(carried))
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except GeneratorExit:
            exchange.finish(None)  # thrown away with its event loop, in a context that is not ours to restore
            raise
        except BaseException as error:
            exchange.finish(error)
            detach(token)
            raise
        exchange.finish(None)
        detach(token)

    def _adopt(self, tracer: Tracer) -> None:
        self._given, self._tracer = tracer, light(tracer)
        measure: Any = self._given_measure
        self._measure = measure if measure is None or hasattr(measure, "begin") else measure()

    async def _pass(self, context: Context, scope: Scope, receive: Receive, send: Send) -> None:
        token = attach(context)
        try:
            await self._app(scope, receive, send)
        except GeneratorExit:
            raise  # see above
        except BaseException:
            detach(token)
            raise
        detach(token)

    def _http(
        self,
        tracer: LightTracer,
        parent: Context,
        links: tuple[Link, ...],
        scope: Scope,
        found: dict[bytes, bytes],
        receive: Receive,
        send: Send,
    ) -> Exchange:
        method = name = original = scope["method"]
        if method not in self._methods:
            method = name = original.upper()
            if method not in self._methods:
                method, name = semconv.OTHER_METHOD, "HTTP"
        seen = None
        scheme = scope.get("scheme") or "http"
        if self._proxies is not None:
            seen = self._proxies.seen(scope, found)
            scheme = _request.scheme_of(scope, seen)
        measure = self._measure
        started = None
        if measure is not None:
            try:
                measure.begin(method, scheme)
                started = time_ns()
            except Exception as error:  # of the service's own MeterProvider
                told("a request cannot be counted", error)
        span = tracer.begin(
            name,
            parent,
            SpanKind.SERVER,
            _request.attributes,
            scope,
            method,
            original,
            scheme,
            found,
            seen,
            links=links,
            start_time=started,
        )
        opened = self._opened
        exchange = Exchange(span, tracer, name, self._routes, scope, receive, send, opened)
        if started is not None:
            exchange.measure, exchange.started = measure, started
            exchange.method, exchange.scheme = method, scheme
        if opened is not None:
            opened.add(exchange)
        return exchange

    def _websocket(
        self,
        tracer: LightTracer,
        parent: Context,
        links: tuple[Link, ...],
        scope: Scope,
        found: dict[bytes, bytes],
        receive: Receive,
        send: Send,
    ) -> Connection:
        seen = None if self._proxies is None else self._proxies.seen(scope, found)
        first = (scope.get("http_version") or "1.1") in _HTTP_1
        span = tracer.begin(
            semconv.WEBSOCKET,
            parent,
            SpanKind.SERVER,
            _request.websocket,
            scope,
            "GET" if first else "CONNECT",
            _request.scheme_of(scope, seen),
            found,
            seen,
            links=links,
        )
        opened = self._opened
        connection = Connection(
            span, tracer, self._routes, scope, receive, send, accepted=101 if first else 200, opened=opened
        )
        if opened is not None:
            opened.add(connection)
        return connection


def _extract(base: Context, found: dict[bytes, bytes], scope: Scope) -> Context:
    propagator = propagate.get_global_textmap()
    if type(propagator) is W3CPropagator:
        return propagator.read(base, found.get(b"traceparent"), found.get(b"tracestate"), found.get(b"baggage"))
    carrier: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        carrier.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    try:
        return propagator.extract(carrier, base)
    except Exception as error:
        told(f"{type(propagator).__name__}.extract failed", error)
        return base


def _base(scope: Scope) -> Context | None:
    """The context that the request starts from; None where it has its SERVER span already."""
    base = get_current()
    current = get_current_span(base)
    if current is INVALID_SPAN:
        return base
    exchange: Any = base.get(EXCHANGE)
    if exchange is not None and (current is exchange or current is exchange.span):
        # A call within the process belongs to the request that makes it. A request that a server started from
        # within the last send of the one before, for the same client (pipelining), does not.
        return Context() if exchange.over and exchange.client == scope.get("client") else base
    return None if _is_server_span_of(current, scope) else base


def _is_server_span_of(span: Span, scope: Scope) -> bool:
    """Whether somebody else's SERVER span is for this very request, and not for one that calls it in process."""
    if getattr(span, "kind", None) is not SpanKind.SERVER or not span.is_recording():
        return False
    attributes = getattr(span, "attributes", None) or {}
    path = attributes.get(semconv.URL_PATH) or attributes.get("http.target")
    return not isinstance(path, str) or path.partition("?")[0] == scope["path"]
