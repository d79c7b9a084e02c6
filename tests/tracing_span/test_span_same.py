"""A light span is not to be told from the SDK's, whatever is done to it and in which order."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.context import Context
from opentelemetry.sdk.trace import SpanLimits
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from tests.tracing_span.twins import Twin, clock, hearing, shown, twins


class Named:
    """Has a text, so it is kept as that."""

    def __str__(self) -> str:
        return "named"


class Silent:
    """Has no text of its own, so it is refused."""


class Text(str):
    """A subclass of a plain type."""

    __slots__ = ()


plain = st.one_of(st.text(max_size=6), st.integers(-3, 3), st.booleans(), st.floats(allow_nan=False), st.none())
odd = st.sampled_from([b"raw", Text("sub"), Named(), Silent(), {1, 2}])
values = st.recursive(
    st.one_of(plain, plain, odd),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=2).map(tuple),
        st.dictionaries(st.one_of(st.text(max_size=3), st.integers(0, 2)), inner, max_size=2),
    ),
    max_leaves=4,
)
keys: Any = st.one_of(st.sampled_from("abcdef"), st.sampled_from("abcdef"), st.sampled_from(["", 7, None, Text("a")]))
attributes = st.one_of(st.none(), st.dictionaries(keys, values, max_size=4))
moments = st.one_of(st.none(), st.integers(1, 10**6))
contexts = st.builds(
    SpanContext,
    st.integers(0, 3),
    st.integers(0, 3),
    is_remote=st.booleans(),
    trace_flags=st.integers(0, 5).map(TraceFlags),
    trace_state=st.sampled_from([TraceState(), TraceState([("a", "b")])]),
)
statuses = st.one_of(
    st.tuples(st.sampled_from(StatusCode), st.one_of(st.none(), st.just("why"))),
    st.tuples(st.builds(Status, st.sampled_from(StatusCode)), st.one_of(st.none(), st.just("why"))),
)
errors = st.sampled_from([ValueError("wrong"), KeyError("k"), KeyboardInterrupt()])
calls = st.one_of(
    st.tuples(st.just("set_attribute"), st.tuples(keys, values)),
    st.tuples(st.just("set_attributes"), st.tuples(attributes.map(lambda found: found or {}))),
    st.tuples(st.just("add_event"), st.tuples(st.text(max_size=3), attributes, moments)),
    st.tuples(st.just("add_link"), st.tuples(contexts, attributes)),
    st.tuples(st.just("record_exception"), st.tuples(errors, attributes, moments, st.booleans())),
    st.tuples(st.just("set_status"), statuses),
    st.tuples(st.just("update_name"), st.tuples(st.text(max_size=3))),
    st.tuples(st.just("look"), st.just(())),
    st.tuples(st.just("leave"), st.tuples(errors)),
    st.tuples(st.just("end"), st.tuples(moments)),
)
counts = st.one_of(st.just(SpanLimits.UNSET), st.none(), st.integers(0, 3))
lengths = st.one_of(st.just(SpanLimits.UNSET), st.just(SpanLimits.UNSET), st.integers(0, 4))
limits = st.builds(
    SpanLimits,
    max_span_attributes=counts,
    max_event_attributes=counts,
    max_link_attributes=counts,
    max_events=counts,
    max_links=counts,
    max_attribute_length=lengths,
    max_span_attribute_length=lengths,
)
links = st.lists(st.tuples(contexts, attributes), max_size=3)
starts = st.tuples(attributes, links, moments, st.booleans(), st.booleans(), st.one_of(st.none(), contexts))


def live(twin: Twin, start: Any, script: Any) -> list[object]:
    """One span from its start through the script; what was shown, raised and logged on the way."""
    given_attributes, given_links, start_time, record, status, parent = start
    now = [1_000]
    report: list[object] = []
    with clock(lambda: now[0]), hearing(twin.heard):
        context = None if parent is None else set_span_in_context(NonRecordingSpan(parent), Context())
        span: Any = twin.tracer.start_span(
            "first",
            context,
            SpanKind.CLIENT,
            given_attributes,
            [Link(found, more) for found, more in given_links],
            start_time,
            record,
            status,
        )
        report.append(span.get_span_context())
        for name, arguments in script:
            now[0] += 10
            try:
                if name == "look":
                    report.append((span.is_recording(), shown(span)))
                elif name == "leave":
                    span.__exit__(type(arguments[0]), arguments[0], None)
                else:
                    getattr(span, name)(*arguments)
            except Exception as error:
                report.append((name, type(error), str(error)))
        span.end(9_999)
        report.append((span.is_recording(), shown(span)))
    return [*report, *twin.seen.calls, *twin.heard]


@settings(max_examples=400, deadline=None)
@given(limits, starts, st.lists(calls, max_size=12))
def test_a_light_span_shows_what_the_sdks_shows(limit: SpanLimits, start: Any, script: Any) -> None:
    """The same calls on both spans show, raise and log the same, before and after the end, under any limits."""
    theirs, ours = twins(limits=limit, sampler=lambda: ALWAYS_ON)
    expected = live(theirs, start, script)
    assert live(ours, start, script) == expected
