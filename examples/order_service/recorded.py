"""What the recorded traces tell of a run: how often calls were retried, breakers opened, and one trace to show."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from handrail.tracing.local.read import Event, Span, Trace

__all__ = ["Recorded", "showcase", "tally"]

SERVER, CLIENT = 2, 3


@dataclass(frozen=True, slots=True)
class Recorded:
    """Counted from the events of all spans."""

    retries: int = 0
    openings: int = 0


def tally(traces: Iterable[Trace]) -> Recorded:
    """Count retries and breaker openings."""
    events = [event for trace in traces for span in trace.spans for event in span.events]
    return Recorded(sum(map(_is_retry, events)), sum(map(_is_opening, events)))


def showcase(traces: Sequence[Trace]) -> Trace | None:
    """An order that was placed because its charge was sent again; of those one whose first charge was made and whose
    answer was given again, before all others; then the one with the most attempts.
    """
    attempts = {trace.trace_id: sum(map(_is_charge, trace.spans)) for trace in traces if _was_placed(trace)}
    retried = [trace for trace in traces if attempts.get(trace.trace_id, 0) > 1]
    return max(retried, key=lambda trace: (_was_replayed(trace), attempts[trace.trace_id]), default=None)


def _is_retry(event: Event) -> bool:
    return event.name == "handrail.retry.scheduled"


def _is_opening(event: Event) -> bool:
    changed = event.name == "handrail.circuit_breaker.changed"
    return changed and event.attributes.get("handrail.circuit_breaker.to") == "open"


def _is_charge(span: Span) -> bool:
    return span.kind == CLIENT and str(span.attributes.get("url.full", "")).endswith("/charges")


def _was_replayed(trace: Trace) -> bool:
    outcomes = (event.attributes.get("handrail.idempotency.outcome") for span in trace.spans for event in span.events)
    return "replayed" in outcomes


def _was_placed(trace: Trace) -> bool:
    return any(
        span.kind == SERVER and span.service == "order" and span.attributes.get("http.response.status_code") == 201
        for span in trace.spans
    )
