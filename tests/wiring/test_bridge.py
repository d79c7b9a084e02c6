"""Every fact of resilience is told to the trace."""

from collections.abc import Callable
from dataclasses import fields
from typing import cast

import pytest
from opentelemetry.trace import SpanKind, StatusCode

from handrail._bridge import Bridge, describe
from handrail.resilience import events
from handrail.resilience.events import CallRejected, CircuitChanged, Event, NotRetried, RetryScheduled
from handrail.tracing.testing import Spans

KINDS = [kind for kind in vars(events).values() if isinstance(kind, type) and Event in kind.__mro__[1:]]
SAMPLES = {"float": 0.25, "int": 2, "str": "text", "bool": True, "float | None": 1.5}


def _sample(kind: Callable[..., Event]) -> Event:
    return kind(
        **{
            field.name: SAMPLES[getattr(field.type, "__name__", str(field.type))]
            for field in fields(cast("type[Event]", kind))
        }
    )


@pytest.mark.parametrize("kind", KINDS)
def test_every_event_has_a_name_and_all_its_facts(kind: type[Event]) -> None:
    """No event is without a name of ours, and each of its fields is in the attributes."""
    event = _sample(kind)
    name, attributes = describe(event)
    assert name.startswith("handrail.")
    told = len([field for field in fields(event) if field.name != "error"])
    assert len(attributes) == told


def test_an_unknown_event_is_refused() -> None:
    """A new kind of event cannot be forgotten here without a test failing."""
    with pytest.raises(TypeError, match="no description"):
        describe(Event("http://peer", "GET"))


def test_a_decision_is_an_event_on_the_current_span() -> None:
    """A backoff stands on the caller's span with its delay, attempt and cause."""
    spans = Spans()
    tracer = spans.tracing().tracer
    with tracer.start_as_current_span("caller"):
        Bridge(lambda: tracer)(RetryScheduled("http://peer", "GET", attempt=1, delay=0.12, cause="503"))
    (event,) = spans.finished[0].events
    assert event.name == "handrail.retry.scheduled"
    assert dict(event.attributes or {}) == {
        "handrail.target": "http://peer",
        "handrail.operation": "GET",
        "handrail.retry.attempt": 1,
        "handrail.retry.delay": 0.12,
        "handrail.retry.cause": "503",
        "handrail.retry.after_honoured": False,
    }


def test_a_rejected_call_leaves_a_span_of_its_own() -> None:
    """A call that was never sent is a short INTERNAL span with status ERROR, child of the caller."""
    spans = Spans()
    tracer = spans.tracing().tracer
    with tracer.start_as_current_span("caller"):
        Bridge(lambda: tracer)(
            CallRejected("http://peer", "POST", policy="circuit_breaker", error="handrail.CircuitOpen", retry_after=3.0)
        )
    rejected, caller = spans.finished
    assert caller.context is not None
    assert (rejected.name, rejected.kind) == ("POST rejected by circuit_breaker", SpanKind.INTERNAL)
    assert rejected.status.status_code is StatusCode.ERROR
    assert rejected.attributes is not None
    assert rejected.attributes["error.type"] == "handrail.CircuitOpen"
    assert rejected.parent is not None
    assert rejected.parent.span_id == caller.context.span_id


def test_without_a_span_nothing_is_recorded() -> None:
    """Outside of any trace a decision costs nothing and raises nothing."""
    spans = Spans()
    Bridge(lambda: spans.tracing().tracer)(NotRetried("http://peer", "POST", 1, "503", "unsafe_method"))
    Bridge(lambda: spans.tracing().tracer)(
        CircuitChanged("http://peer", "GET", before="closed", after="open", failure_rate=0.5, calls=10, open_for=15)
    )
    assert spans.finished == ()
