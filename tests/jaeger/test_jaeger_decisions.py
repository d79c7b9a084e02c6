"""The trace tells why an order went as it did: attempts, timeouts, breaker, rejected calls, in a real Jaeger."""

import pytest

from handrail.tracing.local.read import Span
from tests.jaeger.story import CLIENT, ERROR, INTERNAL, SERVER, UNSET, Story, calls, root

pytestmark = pytest.mark.jaeger

RESENDS = "http.request.resend_count"


def _decisions(span: Span) -> list[str]:
    times = [event.time for event in span.events]
    assert times == sorted(times)
    return [event.name for event in span.events if event.name.startswith("handrail.")]


def test_attempts_are_siblings_with_a_count(story: Story) -> None:
    """A charge that got a 503, then half an answer, then all of it: three siblings, each with its own SERVER span."""
    trace = story.trace(story.retried, 11)
    order = root(trace, story.retried)
    attempts = calls(trace, story.origins["payment"], "POST")
    assert [span.attributes.get(RESENDS) for span in attempts] == [None, 1, 2]
    assert {span.parent_id for span in attempts} == {order.span_id}
    assert [(span.status, span.attributes.get("error.type")) for span in (attempts[0], attempts[2])] == [
        (ERROR, "503"),
        (UNSET, None),
    ]
    assert [span.attributes["http.response.status_code"] for span in attempts] == [503, 201, 201]
    served = {span.parent_id: span for span in trace.spans if span.service == "payment"}
    outcomes = [served[attempt.span_id].attributes.get("error.type") for attempt in attempts]
    assert outcomes == ["503", None, None]  # the second was carried out, and its answer lost on the way
    replayed = served[attempts[2].span_id]
    (met,) = [event.attributes for event in replayed.events if event.name == "handrail.idempotency.met"]
    assert (met["handrail.idempotency.outcome"], met["handrail.idempotency.first_trace"]) == (
        "replayed",
        story.retried.trace_id,
    )
    ends = [attempt.end for attempt in attempts]
    assert all(end <= after.start for end, after in zip(ends, attempts[1:], strict=False))


def test_a_retried_order_tells_its_delays_and_is_no_error(story: Story) -> None:
    """The order's span has each decision with cause, attempt and delay, in order of time, and status UNSET."""
    trace = story.trace(story.retried, 11)
    order = root(trace, story.retried)
    assert _decisions(order) == ["handrail.retry.scheduled", "handrail.attempt.failed", "handrail.retry.scheduled"]
    told = [event.attributes for event in order.events if event.name == "handrail.retry.scheduled"]
    assert [(one["handrail.retry.attempt"], one["handrail.retry.cause"]) for one in told] == [
        (1, "503"),
        (2, "network"),
    ]
    attempts = calls(trace, story.origins["payment"], "POST")
    for one, before, after in zip(told, attempts, attempts[1:], strict=False):
        assert one["handrail.target"] == story.origins["payment"]
        delay = float(str(one["handrail.retry.delay"]))
        assert 0 <= delay <= 0.01 * 2 ** int(str(one["handrail.retry.attempt"]))
        assert delay <= (after.start - before.end) / 1e9 + 0.001
    assert order.status == UNSET


def test_a_timeout_is_told_on_attempt_and_order(story: Story) -> None:
    """The attempt that our timer ended is an ERROR of type timeout; a shipment is not asked for twice, and that says
    the order's span.
    """
    trace = story.trace(story.timed_out, 11)
    order = root(trace, story.timed_out)
    (attempt,) = calls(trace, story.origins["shipping"], "POST")
    assert (attempt.status, attempt.attributes["error.type"]) == (ERROR, "timeout")
    assert 2.5 <= (attempt.end - attempt.start) / 1e9 < 10  # the time runs from before the span begins
    assert _decisions(order) == ["handrail.timeout", "handrail.retry.refused"]
    timeout, refused = (event.attributes for event in order.events[:2])
    assert (timeout["handrail.policy"], timeout["handrail.timeout.limit"]) == ("attempt_timeout", 3)
    assert (refused["handrail.retry.cause"], refused["handrail.retry.reason"]) == ("timeout", "unsafe_method")
    assert (order.status, order.attributes["http.response.status_code"]) == (ERROR, 504)
    (hung,) = [span for span in trace.spans if span.service == "shipping"]
    assert hung.parent_id == attempt.span_id
    assert [event.name for event in hung.events] == ["handrail.client.disconnected"]


def test_a_refused_shipment_is_three_attempts(story: Story) -> None:
    """Nobody listens: three siblings that failed to connect, then the end of the retries, the undoing, and a 503."""
    trace = story.trace(story.dead, 12)
    order = root(trace, story.dead)
    attempts = calls(trace, story.origins["shipping"], "POST")
    assert [span.attributes.get(RESENDS) for span in attempts] == [None, 1, 2]
    assert [(span.status, span.attributes["error.type"]) for span in attempts] == [(ERROR, "httpx.ConnectError")] * 3
    assert _decisions(order) == ["handrail.retry.scheduled"] * 2 + ["handrail.retry.exhausted"]
    assert (order.status, order.attributes["http.response.status_code"]) == (ERROR, 503)
    undone = [span.name for span in trace.spans if span.kind == SERVER and span.name.startswith("DELETE ")]
    assert undone == ["DELETE /charges/{order_id}", "DELETE /reservations/{order_id}"]
    assert "shipping" not in trace.services


def test_the_breaker_opens_once_and_where(story: Story) -> None:
    """The order whose failure opened the breaker says so, with the numbers; it is not tried again after that."""
    trace = story.trace(story.opening, 10)
    order = root(trace, story.opening)
    assert _decisions(order) == ["handrail.circuit_breaker.changed", "handrail.retry.refused"]
    changed, refused = (event.attributes for event in order.events[:2])
    assert (changed["handrail.circuit_breaker.from"], changed["handrail.circuit_breaker.to"]) == ("closed", "open")
    assert (changed["handrail.circuit_breaker.failure_rate"], changed["handrail.circuit_breaker.calls"]) == (0.625, 8)
    assert changed["handrail.target"] == story.origins["shipping"]
    assert refused["handrail.retry.reason"] == "circuit_breaker"
    (attempt,) = calls(trace, story.origins["shipping"], "POST")
    assert attempt.end <= order.events[0].time + 1_000_000


def test_a_rejected_call_has_a_span_of_its_own(story: Story) -> None:
    """With the breaker open there is no attempt: a short INTERNAL span, status ERROR, names policy and target."""
    trace = story.trace(story.rejected, 10)
    order = root(trace, story.rejected)
    assert calls(trace, story.origins["shipping"], "POST") == []
    (rejected,) = [span for span in trace.spans if span.kind == INTERNAL]
    assert (rejected.service, rejected.parent_id, rejected.status) == ("order", order.span_id, ERROR)
    assert rejected.attributes["handrail.policy"] == "circuit_breaker"
    assert rejected.attributes["handrail.target"] == story.origins["shipping"]
    assert 0 < float(str(rejected.attributes["handrail.retry_after"])) <= 66
    assert _decisions(order) == ["handrail.call.rejected"]
    assert (order.status, order.attributes["http.response.status_code"]) == (ERROR, 503)
    assert [span.kind for span in trace.spans].count(CLIENT) == 4
