"""The layers that `protect` and `handrail.auto` put around an application: one of each, both halves in their order."""

import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from ._lifespan import Lifespan
from ._shapes import MARK, ASGIApp, Receive, Scope, Send
from ._wire import Process, current, live

if TYPE_CHECKING:
    from ._inbound_health import Readiness
    from .resilience.inbound.deadline import Deadlines
    from .resilience.service import ServiceSettings

__all__ = ["follow", "layers"]

_deadlines: "weakref.WeakSet[Deadlines]" = weakref.WeakSet()
_lock = threading.Lock()


def follow(service: "ServiceSettings") -> None:
    """Let other settings hold for the next requests of all applications that are protected."""
    with _lock:
        known = list(_deadlines)
    for one in known:
        one.follow(service)


def layers(app: ASGIApp, outermost: object) -> ASGIApp:
    """The inbound layers around an app, outermost first: lifespan > SERVER span > health and drain > limits > load
    shedding > deadline > problem details > faults on purpose > single flight > idempotency replay > app. `outermost` is
    the object that holds the routes.
    """
    process = current()
    if process is None or not process.settings.enabled:
        return app
    from . import _chaos_layer, _inbound_health
    from ._inbound_limits import limits, single_flight
    from ._inbound_load import shedding
    from ._replay import Replaying
    from .resilience.inbound.problem import ProblemDetails
    from .resilience.second import remembered
    from .tracing import redact
    from .tracing.inbound.routes import Routes

    routes = Routes(outermost)
    path_of = routes.shown_path
    link = process.settings.inbound.trace_link
    inner: ASGIApp = Replaying(app, lambda: live(process), trace_id=_trace_id, path_of=path_of, link=link)
    below = inner = single_flight(inner, process, _trace_id)
    if process.settings.problem_details:
        inner = ProblemDetails(inner, trace_id=_trace_id, clean=redact.text, path_of=path_of, link=link)
    inner = deadlines = _bounded(inner, process, path_of)
    _chaos_layer.place(deadlines, below, process, _trace_id, path_of)
    inner = shedding(inner, process, deadlines, _trace_id, path_of)
    inner, more = limits(inner, process, _trace_id, path_of)
    inner, readiness = _inbound_health.around(inner, app, routes, process, _trace_id)
    if not process.settings.tracing.disabled:
        inner = _traced(inner, process, outermost, deadlines, more)
    if process.settings.tracing.telling.prometheus_path and process.measuring:
        from ._scrape import Scrape

        path = process.settings.tracing.telling.prometheus_path
        inner = Scrape(inner, path, lambda: live(process).metrics().scraped)
    lifespan = Lifespan(
        app,
        started=lambda: _ready(live(process), readiness),
        stopping=lambda: live(process).flush(),
        ending=readiness.ending,
    )

    async def handrail(scope: Scope, receive: Receive, send: Send) -> None:
        scope[MARK] = True
        if scope["type"] == "lifespan":
            await readiness.during(lifespan, scope, receive, send)
        else:
            if remembered.get() is not None:
                remembered.set(None)  # an ASGI client in tests makes the next request in the context of the last
            await inner(scope, receive, send)

    return handrail


def _bounded(app: ASGIApp, process: Process, path_of: Callable[[Scope], str]) -> "Deadlines":
    """The caller's deadline, which follows the settings."""
    from .resilience.inbound.deadline import Deadlines
    from .tracing.inbound.server import HEADERS

    deadlines = Deadlines(
        app,
        emit=lambda event: live(process).listeners(event),
        trace_id=_trace_id,
        service=process.settings.service,
        path_of=path_of,
        link=process.settings.inbound.trace_link,
        cancel=process.settings.inbound.deadline_cancel,
        found_in=HEADERS,
    )
    with _lock:
        _deadlines.add(deadlines)
    return deadlines


def _traced(
    app: ASGIApp, process: Process, outermost: object, deadlines: "Deadlines", more: frozenset[bytes]
) -> ASGIApp:
    """The SERVER span; the headers that deadlines and others (`more`) want are found in its pass."""
    from . import _inbound_health, _loops
    from .tracing.inbound.server import ServerSpans

    spans = ServerSpans(
        app,
        tracing=lambda: live(process).tracing(),
        routes=outermost,
        telling=_inbound_health.telling(process),
        measure=(lambda: live(process).metrics().server) if process.measuring else None,
        open_exchanges=_loops.watched(process, lambda: live(process).metrics().meter),
        also=deadlines.names | more,
    )
    deadlines.on_names = lambda names: spans.look_for(names | more)
    return spans


def _ready(process: Process, readiness: "Readiness") -> None:
    readiness.starting = False
    if process.follower is not None:
        process.follower.begin()
    if not process.settings.tracing.disabled:
        process.tracing()
        process.metrics()


def _trace_id() -> str | None:
    from opentelemetry.trace import format_trace_id, get_current_span

    context = get_current_span().get_span_context()
    return format_trace_id(context.trace_id) if context.is_valid else None
