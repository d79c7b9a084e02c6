"""Resilience's facts, told to the trace: the one place where both vocabularies meet.

A decision is an event on the span that is current, which is the caller's: attempts are its
children. A call that was refused without an attempt leaves a short INTERNAL span of its own,
so that it can be searched for and seen in the waterfall.
"""

from collections.abc import Callable

from opentelemetry.trace import SpanKind, StatusCode, Tracer, get_current_span

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
    KeysHonoured,
    LoadSheddingChanged,
    NotRetried,
    RequestExpired,
    RequestRefused,
    RequestShared,
    RetriesExhausted,
    RetryScheduled,
    SecondRetry,
)
from .tracing import semconv

__all__ = ["Bridge"]

Value = str | int | float | bool


class Bridge:
    """A resilience listener that writes span events. `tracer` is asked for only on a rejection."""

    def __init__(self, tracer: Callable[[], Tracer]) -> None:
        self._tracer = tracer

    def __call__(self, event: Event) -> None:
        span = get_current_span()
        if span.is_recording():
            name, attributes = describe(event)
            span.add_event(name, attributes)
            if isinstance(event, FaultInjected):  # so that the span itself can be searched for
                span.set_attributes({semconv.CHAOS: True, semconv.CHAOS_INJECTED: event.fault})
        if isinstance(event, CallRejected):  # last, for it may raise where the service's own processors do
            self._rejected(event)

    def _rejected(self, event: CallRejected) -> None:
        _, attributes = describe(event)
        span = self._tracer().start_span(
            f"{event.operation} rejected by {event.policy}",
            kind=SpanKind.INTERNAL,
            attributes={**attributes, semconv.ERROR_TYPE: event.error},
        )
        span.set_status(StatusCode.ERROR, f"not sent: {event.policy} of {event.target}")
        span.end()


def describe(event: Event) -> tuple[str, dict[str, Value]]:
    """The event's name and attributes in the trace; every kind of event has one."""
    attributes: dict[str, Value] = {semconv.OPERATION: event.operation}
    if event.target:  # a request that came has none
        attributes[semconv.TARGET] = event.target
    match event:
        case RetryScheduled():
            attributes[semconv.RETRY_ATTEMPT] = event.attempt
            attributes[semconv.RETRY_DELAY] = round(event.delay, 6)
            attributes[semconv.RETRY_CAUSE] = event.cause
            attributes[semconv.RETRY_AFTER_HONOURED] = event.retry_after
            return semconv.EVENT_RETRY_SCHEDULED, attributes
        case NotRetried():
            attributes[semconv.RETRY_ATTEMPT] = event.attempt
            attributes[semconv.RETRY_CAUSE] = event.cause
            attributes[semconv.RETRY_REASON] = event.reason
            return semconv.EVENT_RETRY_REFUSED, attributes
        case RetriesExhausted():
            attributes[semconv.RETRY_ATTEMPT] = event.attempts
            attributes[semconv.RETRY_CAUSE] = event.cause
            attributes[semconv.TIMEOUT_ELAPSED] = round(event.elapsed, 6)
            return semconv.EVENT_RETRY_EXHAUSTED, attributes
        case CircuitChanged():
            attributes[semconv.CIRCUIT_BREAKER_FROM] = event.before
            attributes[semconv.CIRCUIT_BREAKER_TO] = event.after
            attributes[semconv.CIRCUIT_BREAKER_CAUSE] = event.cause
            attributes[semconv.CIRCUIT_BREAKER_FAILURE_RATE] = round(event.failure_rate, 4)
            attributes[semconv.CIRCUIT_BREAKER_CALLS] = event.calls
            attributes[semconv.CIRCUIT_BREAKER_OPEN_FOR] = round(event.open_for, 3)
            return semconv.EVENT_CIRCUIT_BREAKER_CHANGED, attributes
        case CallRejected():
            attributes[semconv.POLICY] = event.policy
            if event.retry_after is not None:
                attributes[semconv.RETRY_AFTER] = round(event.retry_after, 3)
            return semconv.EVENT_CALL_REJECTED, attributes
        case CallTimedOut():
            attributes[semconv.POLICY] = event.policy
            attributes[semconv.RETRY_ATTEMPT] = event.attempt
            attributes[semconv.TIMEOUT_LIMIT] = event.limit
            attributes[semconv.TIMEOUT_ELAPSED] = round(event.elapsed, 6)
            return semconv.EVENT_TIMEOUT, attributes
        case AttemptFailed():
            attributes[semconv.RETRY_ATTEMPT] = event.attempt
            attributes[semconv.RETRY_CAUSE] = event.cause
            return semconv.EVENT_ATTEMPT_FAILED, attributes
        case _:
            return _option(event, attributes)


def _option(event: Event, attributes: dict[str, Value]) -> tuple[str, dict[str, Value]]:
    """The same for what most services never see."""
    match event:
        case CallQueued():
            attributes[semconv.QUEUE_WAIT] = round(event.seconds, 6)
            attributes[semconv.QUEUE_LIMIT] = event.limit
            return semconv.EVENT_CALL_QUEUED, attributes
        case HedgeSent():
            attributes[semconv.HEDGE_DELAY] = round(event.delay, 6)
            return semconv.EVENT_HEDGE_SENT, attributes
        case HedgeWon():
            attributes[semconv.HEDGE_DELAY] = round(event.seconds, 6)
            return semconv.EVENT_HEDGE_WON, attributes
        case FallbackUsed():
            attributes[semconv.FALLBACK_KIND] = event.kind
            attributes[semconv.RETRY_CAUSE] = event.cause
            if event.age is not None:
                attributes[semconv.FALLBACK_AGE] = round(event.age, 3)
            return semconv.EVENT_FALLBACK, attributes
        case KeysHonoured():
            attributes[semconv.IDEMPOTENCY_HONOURED] = event.honoured
            return semconv.EVENT_KEYS_HONOURED, attributes
        case ConnectionUnguarded():
            attributes[semconv.PLACE] = event.place
            attributes[semconv.UNGUARDED_REFUSED] = event.refused
            return semconv.EVENT_UNGUARDED, attributes
        case SecondRetry():
            attributes[semconv.RETRY_LAYER] = event.layer
            attributes[semconv.PLACE] = event.place
            return semconv.EVENT_SECOND_RETRY, attributes
        case FaultInjected():
            attributes[semconv.CHAOS_INJECTED] = event.fault
            attributes[semconv.CHAOS_DIRECTION] = event.direction
            attributes[semconv.CHAOS_RULE] = event.rule
            return semconv.EVENT_CHAOS, attributes
        case _:
            return _inbound(event, attributes)


def _inbound(event: Event, attributes: dict[str, Value]) -> tuple[str, dict[str, Value]]:
    """The same for requests that came and were not simply carried out."""
    match event:
        case IdempotencyMet():
            attributes[semconv.IDEMPOTENCY_OUTCOME] = event.outcome
            attributes[semconv.IDEMPOTENCY_KEY] = event.key
            if event.trace:
                attributes[semconv.IDEMPOTENCY_FIRST_TRACE] = event.trace
            return semconv.EVENT_IDEMPOTENCY, attributes
        case RequestExpired():
            attributes[semconv.DEADLINE_LATE] = round(event.late, 6)
            attributes[semconv.DEADLINE_MODE] = event.mode
            return semconv.EVENT_REQUEST_EXPIRED, attributes
        case RequestRefused():
            attributes[semconv.POLICY] = event.policy
            if event.reason:
                attributes[semconv.REFUSED_REASON] = event.reason
            attributes[semconv.HTTP_STATUS] = event.status
            return semconv.EVENT_REQUEST_REFUSED, attributes
        case RequestShared():
            if event.trace:
                attributes[semconv.SHARED_TRACE] = event.trace
            return semconv.EVENT_REQUEST_SHARED, attributes
        case LoadSheddingChanged():
            if event.reason:
                attributes[semconv.REFUSED_REASON] = event.reason
            attributes[semconv.SHEDDING_BEGAN] = event.began
            attributes[semconv.SHEDDING_UNDER_WAY] = event.under_way
            attributes[semconv.SHEDDING_LIMIT] = event.limit
            attributes[semconv.SHEDDING_REFUSED] = event.refused
            attributes[semconv.SHEDDING_SECONDS] = round(event.seconds, 3)
            return semconv.EVENT_LOAD_SHEDDING, attributes
        case _:
            raise TypeError(f"no description for {event!r}")
