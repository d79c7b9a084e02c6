"""Load shedding and the count of streams, as the settings of this process want them, and what metrics show of them."""

import threading
import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from ._shapes import ASGIApp, Scope

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Meter, Observation

    from ._wire import Process
    from .resilience.inbound._shedding_load import Load
    from .resilience.inbound.deadline import Deadlines
    from .resilience.inbound.shedding import LoadShedding
    from .resilience.inbound.streams import OpenStreams

__all__ = ["observe", "shedding"]

_layers: "weakref.WeakSet[LoadShedding]" = weakref.WeakSet()
_streams: "weakref.WeakSet[OpenStreams]" = weakref.WeakSet()
_lock = threading.Lock()


def shedding(
    inner: ASGIApp,
    process: "Process",
    deadlines: "Deadlines",
    trace_id: Callable[[], str | None],
    path_of: Callable[[Scope], str],
) -> ASGIApp:
    """The layers around `inner`: streams, and load shedding where it is on."""
    from ._wire import live
    from .resilience.events import Event
    from .resilience.inbound._reply import Replies
    from .resilience.inbound._shedding_levels import Levels
    from .resilience.inbound.shedding import LoadShedding
    from .resilience.inbound.streams import OpenStreams, StreamLimit
    from .tracing.inbound._patterns import matcher
    from .tracing.settings import EXCLUDED

    def emit(event: Event) -> None:
        live(process).listeners(event)

    settings = process.settings.inbound
    streams = OpenStreams(settings.streams_max)
    replies = Replies(trace_id=trace_id, path_of=path_of, link=settings.trace_link)
    with _lock:
        _streams.add(streams)
    if settings.load_shedding:
        routes = [(matcher([pattern]), level) for pattern, level in settings.priority_routes]
        own = [path for path in (settings.live_path, settings.ready_path) if path != "off"]
        routes.append((matcher([*EXCLUDED, *own]), "critical_plus"))
        layer = LoadShedding(
            inner,
            settings=settings,
            streams=streams,
            replies=replies,
            emit=emit,
            levels=Levels(routes, settings.priority_header),
            left=deadlines.left,
            other=StreamLimit(inner, streams=streams, replies=replies, emit=emit),
        )
        with _lock:
            _layers.add(layer)
        return layer
    return StreamLimit(inner, streams=streams, replies=replies, emit=emit, events=settings.streams_max > 0)


def observe(meter: "Meter") -> None:
    """Show what is under way and what waits, in all event loops of the process, at the moment of asking."""
    from .tracing import semconv

    def loads() -> "list[Load]":
        with _lock:
            known = list(_layers)
        return [load for layer in known for load in layer.loads()]

    def opened() -> int:
        with _lock:
            return sum(streams.count for streams in _streams)

    def gauge(named: tuple[str, str, str], read: "Callable[[Load], int]") -> None:
        shown(named, lambda: [sum(map(read, held))] if (held := loads()) else [])

    def shown(named: tuple[str, str, str], read: Callable[[], Iterable[int]]) -> None:
        from opentelemetry.metrics import Observation

        def told(_options: "CallbackOptions") -> "Iterable[Observation]":
            return [Observation(value) for value in read()]

        name, unit, about = named
        meter.create_observable_gauge(name, [told], unit, about)

    gauge(semconv.METRIC_REQUESTS_UNDER_WAY, lambda load: load.under_way + load.parked)
    gauge(semconv.METRIC_REQUESTS_WAITING, lambda load: load.queue.count)
    gauge(semconv.METRIC_REQUESTS_LIMIT, lambda load: load.found.limit)
    shown(semconv.METRIC_STREAMS_OPEN, lambda: [opened()])
