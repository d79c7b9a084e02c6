"""W3C Trace Context level 2, sections 3.4 and 3.5, and 4: what goes out again."""

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import INVALID_SPAN, NonRecordingSpan, SpanContext, TraceState, set_span_in_context

from handrail.tracing.propagation import W3CPropagator, _w3c
from handrail.tracing.testing import Spans

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


def through(headers: dict[str, list[str]], spans: Spans) -> dict[str, str]:
    """The headers of a call made under a span whose parent came in `headers`."""
    propagator = W3CPropagator()
    incoming = propagator.extract(headers, Context())
    span = spans.provider.get_tracer("test").start_span("work", incoming)
    out: dict[str, str] = {}
    propagator.inject(out, set_span_in_context(span, incoming))
    return out


def test_3_4_the_parent_id_is_updated_and_the_trace_id_kept() -> None:
    """3.4: update of parent-id is the default mutation."""
    out = through({"traceparent": [f"00-{TRACE}-{PARENT}-01"]}, Spans())["traceparent"]
    version, trace, parent, flags = out.split("-")
    assert (version, trace, flags) == ("00", TRACE, "01")
    assert parent != PARENT


@pytest.mark.parametrize(("flags", "expected"), [("00", "00"), ("01", "01"), ("02", "02"), ("03", "03"), ("ff", "03")])
def test_3_2_2_5_sampled_and_random_flags_travel_on(flags: str, expected: str) -> None:
    """3.2.2.5.2: the random flag of the trace is passed on as it came; unknown flags are zero."""
    out = through({"traceparent": [f"00-{TRACE}-{PARENT}-{flags}"]}, Spans())["traceparent"]
    assert out.endswith(f"-{expected}")


def test_3_2_2_5_2_a_new_trace_says_that_its_id_is_random() -> None:
    """3.2.2.5.2: whoever makes a random trace-id sets the flag."""
    assert through({}, Spans())["traceparent"].endswith("-03")


def test_3_4_a_changed_sampling_decision_comes_with_a_new_parent_id() -> None:
    """3.4: the sampled flag may be changed together with parent-id."""
    out = through({"traceparent": [f"00-{TRACE}-{PARENT}-01"]}, Spans(ALWAYS_OFF))["traceparent"]
    assert out.endswith("-00")
    assert PARENT not in out


def test_3_4_a_higher_version_is_downgraded() -> None:
    """3.4: what goes out has the highest version that we know, 00, and nothing of the unknown fields."""
    out = through({"traceparent": [f"cc-{TRACE}-{PARENT}-01-what-the-future-will-be-like"]}, Spans())["traceparent"]
    assert out.startswith(f"00-{TRACE}-")
    assert len(out) == 55


def test_3_4_a_restarted_trace_drops_the_tracestate() -> None:
    """3.4: tracestate is cleaned up where the trace restarts."""
    out = through({"traceparent": [f"00-{'0' * 32}-{PARENT}-01"], "tracestate": ["foo=1"]}, Spans())
    assert TRACE not in out["traceparent"]
    assert "tracestate" not in out


def test_3_4_without_a_span_of_our_own_both_headers_pass_unchanged() -> None:
    """3.4: where traceparent was not changed, tracestate must not be either."""
    propagator = W3CPropagator()
    headers = {"traceparent": [f"00-{TRACE}-{PARENT}-01"], "tracestate": ["foo=1,bar=2"]}
    out: dict[str, str] = {}
    propagator.inject(out, propagator.extract(headers, Context()))
    assert out == {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "foo=1,bar=2"}


def test_3_4_nothing_is_written_without_a_valid_span() -> None:
    """Without a trace there is no header."""
    out: dict[str, str] = {}
    W3CPropagator().inject(out, Context())
    W3CPropagator().inject(out, set_span_in_context(INVALID_SPAN, Context()))
    W3CPropagator().inject(out, set_span_in_context(NonRecordingSpan(SpanContext(0, 1, True)), Context()))
    assert out == {}


def test_3_5_the_tracestate_travels_on_in_its_order() -> None:
    """3.5: the order of unmodified members is kept, over several headers."""
    out = through({"traceparent": [f"00-{TRACE}-{PARENT}-01"], "tracestate": ["foo=1,bar=2", "rojo=1"]}, Spans())
    assert out["tracestate"] == "foo=1,bar=2,rojo=1"


@pytest.mark.parametrize("value", ["", " ", ",", "=", "foo", ",".join(f"k{n}=1" for n in range(33))])
def test_3_5_no_empty_tracestate_is_sent(value: str) -> None:
    """3.3.1: empty headers must be accepted but should not be sent."""
    out = through({"traceparent": [f"00-{TRACE}-{PARENT}-01"], "tracestate": [value]}, Spans())
    assert TRACE in out["traceparent"]
    assert "tracestate" not in out


def state(header: str) -> TraceState:
    return _w3c.parse_state(header.encode())


def test_3_5_an_updated_member_moves_to_the_front() -> None:
    """3.5: modified keys are moved to the left."""
    assert state("a=1,b=2,c=3").update("c", "4").to_header() == "c=4,a=1,b=2"


def test_3_5_a_new_member_is_added_at_the_front() -> None:
    """3.5: a new pair is added to the beginning, also with a key of level 2."""
    assert state("a=1,1@x=2").add("2b@c@d", "3").to_header() == "2b@c@d=3,a=1,1@x=2"


def test_3_5_a_member_can_be_deleted() -> None:
    """3.5: any pair may be deleted; a key that is not there changes nothing."""
    assert state("a=1,9=2,c=3").delete("a").to_header() == "9=2,c=3"
    assert state("a=1").delete("z").to_header() == "a=1"


@pytest.mark.parametrize(("key", "value"), [("A", "1"), ("b", "x=y"), ("b", ""), ("", "1"), ("b", "1 "), ("a", "2")])
def test_3_5_what_would_break_a_rule_is_not_added(key: str, value: str) -> None:
    """3.3.1: an invalid pair, or a second one of a key, leaves the state as it was."""
    assert state("a=1").add(key, value).to_header() == "a=1"


def test_3_5_a_33rd_member_is_not_added_but_one_of_32_can_change() -> None:
    """3.3.1.1: 32 members at most."""
    full = state(",".join(f"k{n}=1" for n in range(32)))
    assert full.add("new", "1") is full
    assert full.update("new", "1") is full
    changed = full.update("k31", "2")
    assert (len(changed), next(iter(changed.items()))) == (32, ("k31", "2"))
