"""Resilience's facts as metrics. A call that goes well at once reports nothing, and costs nothing here.

The events are rare, so ordinary instruments of the global provider serve. Targets are bounded: from the limit on,
what concerns a new one is counted without its name.
"""

from collections.abc import Callable, Iterable
from itertools import islice

from opentelemetry.metrics import CallbackOptions, Counter, Meter, Observation
from opentelemetry.util.types import AttributeValue

from .resilience.events import (
    AttemptFailed,
    CallQueued,
    CallRejected,
    CallTimedOut,
    CircuitChanged,
    ConnectionUnguarded,
    Event,
    FallbackUsed,
    FaultInjected,
    HedgeSent,
    HedgeWon,
    IdempotencyMet,
    LoadSheddingChanged,
    NotRetried,
    RequestExpired,
    RequestRefused,
    RequestShared,
    RetriesExhausted,
    RetryScheduled,
    SecondRetry,
)
from .resilience.registry import Entry, Registry
from .tracing import semconv

__all__ = ["MetricsBridge", "observe"]

_LIMIT = 500
"""Targets told apart; times causes, policies and operations that stays within what a metrics store bears."""

_Reading = tuple[str, int]


class MetricsBridge:
    """A resilience listener that counts. `meter` is asked for at the first event; None: nobody wants metrics."""

    def __init__(self, meter: Callable[[], Meter | None], limit: int = _LIMIT) -> None:
        self._meter = meter
        self._limit = limit
        self._targets: set[str] = set()
        self._counters: dict[tuple[str, str, str], Counter] = {}

    def __call__(self, event: Event) -> None:
        found = _counted(event)
        if found is None:
            return
        named, attributes = found
        counter = self._counters.get(named)
        if counter is None:
            meter = self._meter()
            if meter is None:
                return
            counter = self._counters[named] = meter.create_counter(*named)
        if not event.target:  # it is about a request that came
            counter.add(1, attributes)
        elif event.target in self._targets or len(self._targets) < self._limit:
            self._targets.add(event.target)
            counter.add(1, {semconv.TARGET: event.target, **attributes})
        else:
            counter.add(1, {"otel.metric.overflow": True})


def _counted(event: Event) -> tuple[tuple[str, str, str], dict[str, AttributeValue]] | None:
    match event:
        case RetryScheduled():
            return semconv.METRIC_RETRIES, {semconv.RETRY_CAUSE: event.cause}
        case NotRetried():
            return semconv.METRIC_RETRIES_REFUSED, {
                semconv.RETRY_CAUSE: event.cause,
                semconv.RETRY_REASON: event.reason,
            }
        case RetriesExhausted():
            return semconv.METRIC_RETRIES_EXHAUSTED, {semconv.RETRY_CAUSE: event.cause}
        case CircuitChanged():
            return semconv.METRIC_BREAKER_TRANSITIONS, {
                semconv.CIRCUIT_BREAKER_FROM: event.before,
                semconv.CIRCUIT_BREAKER_TO: event.after,
                semconv.CIRCUIT_BREAKER_CAUSE: event.cause,
            }
        case CallRejected():
            return semconv.METRIC_CALLS_REJECTED, {semconv.POLICY: event.policy}
        case CallTimedOut():
            return semconv.METRIC_TIMEOUTS, {semconv.POLICY: event.policy}
        case AttemptFailed():
            return semconv.METRIC_BODY_FAILURES, {semconv.RETRY_CAUSE: event.cause}
        case _:
            return _option(event)


def _option(event: Event) -> tuple[tuple[str, str, str], dict[str, AttributeValue]] | None:
    """The same for what most services never see."""
    match event:
        case CallQueued():
            return semconv.METRIC_CALLS_QUEUED, {}
        case HedgeSent():
            return semconv.METRIC_HEDGES, {}
        case HedgeWon():
            return semconv.METRIC_HEDGES_WON, {}
        case FallbackUsed():
            return semconv.METRIC_FALLBACKS, {semconv.FALLBACK_KIND: event.kind}
        case ConnectionUnguarded():
            return semconv.METRIC_UNGUARDED, {semconv.UNGUARDED_REFUSED: event.refused}
        case SecondRetry():
            return semconv.METRIC_SECOND_RETRIES, {semconv.RETRY_LAYER: event.layer}
        case FaultInjected():
            return semconv.METRIC_CHAOS, {
                semconv.CHAOS_INJECTED: event.fault,
                semconv.CHAOS_DIRECTION: event.direction,
            }
        case _:
            return _inbound(event)


def _inbound(event: Event) -> tuple[tuple[str, str, str], dict[str, AttributeValue]] | None:
    """The same for requests that came and were not simply carried out."""
    match event:
        case IdempotencyMet():
            return semconv.METRIC_IDEMPOTENCY, {semconv.IDEMPOTENCY_OUTCOME: event.outcome}
        case RequestExpired():
            return semconv.METRIC_EXPIRED, {semconv.DEADLINE_MODE: event.mode}
        case RequestRefused():
            return semconv.METRIC_REQUESTS_REFUSED, {
                semconv.POLICY: event.policy,
                semconv.REFUSED_REASON: event.reason,
            }
        case RequestShared():
            return semconv.METRIC_REQUESTS_SHARED, {}
        case LoadSheddingChanged():
            return semconv.METRIC_SHEDDING_CHANGED, {semconv.SHEDDING_BEGAN: event.began}
        case _:  # what is new there and not yet named here
            return None


def observe(meter: Meter, registry: Callable[[], Registry | None]) -> None:
    """Show what `registry` holds at the moment of asking: breakers, calls under way and waiting, adaptive limits."""

    def gauge(named: tuple[str, str, str], read: Callable[[Entry], Iterable[_Reading]]) -> None:
        def told(_options: CallbackOptions) -> Iterable[Observation]:
            held = registry()
            readings = () if held is None else (one for entry in held.entries() for one in read(entry))
            for target, value in islice(readings, _LIMIT):
                yield Observation(value, {semconv.TARGET: target})

        name, unit, about = named
        meter.create_observable_gauge(name, [told], unit, about)

    gauge(semconv.METRIC_BREAKER_STATE, _breakers)
    gauge(semconv.METRIC_CALLS_ACTIVE, lambda entry: [(entry.target, len(entry.state.permits.held))])
    gauge(semconv.METRIC_CALLS_WAITING, lambda entry: [(entry.target, len(entry.state.permits.waiting))])
    gauge(semconv.METRIC_CALLS_LIMIT, _adaptive)


def _breakers(entry: Entry) -> Iterable[_Reading]:
    for breaker in entry.breakers():
        # Open and due for a probe admits the next call: nobody should be called for it at night.
        due = breaker.state == "open" and breaker.retry_after() == 0
        state = "half_open" if due else breaker.state
        yield breaker.target, semconv.CIRCUIT_BREAKER_STATES.index(state)


def _adaptive(entry: Entry) -> Iterable[_Reading]:
    found = entry.state.adaptive
    if found is not None and entry.settings.adaptive_concurrency:
        yield entry.target, min(found.limit, entry.settings.bulkhead_limit)
