"""The encoder: byte for byte the message of the stock `encode_spans`, for every span that the API can make."""

import logging
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
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

from handrail.tracing.export._encode import encode
from handrail.tracing.export._encode_request import join
from handrail.tracing.export._encode_value import number_of, text_of
from handrail.tracing.spans.tracer import light


def ours(spans: list[ReadableSpan]) -> bytes:
    return join([(encode(span), span.resource, span.instrumentation_scope) for span in spans])


def check(spans: list[ReadableSpan]) -> None:
    expected = encode_spans(spans)
    found = ours(spans)
    assert ExportTraceServiceRequest.FromString(found) == expected
    assert found == expected.SerializeToString()


def u64(least: int = 0) -> st.SearchStrategy[int]:
    return st.integers(least, 2**64 - 1)


clean = st.text(max_size=30)
texts = st.text(st.characters(exclude_categories=()), max_size=30)  # lone surrogates among them
scalars: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    texts,
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(),
    st.floats(),
    st.binary(max_size=20),
    st.sampled_from([1, True, 1.0, 0, False, 0.0, -0.0, "", b"", "GET", 200, "x" * 200, "y" * 17000]),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=8,
)
keys = st.one_of(st.sampled_from(["http.request.method", "http.route", "a"]), texts)
maps = st.dictionaries(keys, values, max_size=8)


@st.composite
def bounded(draw: st.DrawFn) -> BoundedAttributes:
    return BoundedAttributes(draw(st.sampled_from([None, 2, 100])), draw(maps), max_value_len=draw(st.just(None)))


trace_states = st.sampled_from([None, TraceState(), TraceState([("a", "1")]), TraceState([("a", "1"), ("b@c", "x y")])])
contexts = st.builds(
    SpanContext,
    st.integers(0, 2**128 - 1),
    u64(),
    st.booleans(),
    st.sampled_from([TraceFlags(0), TraceFlags(1), TraceFlags(3)]),
    trace_states,
)
attribute_maps = st.one_of(st.none(), maps, bounded())
events = st.builds(Event, clean, attribute_maps, u64())
links = st.builds(Link, contexts, attribute_maps)


@st.composite
def lists(draw: st.DrawFn, items: st.SearchStrategy[Any]) -> Any:
    found = draw(st.lists(items, max_size=4))
    return BoundedList.from_seq(draw(st.sampled_from([None, 2])), found) if draw(st.booleans()) else tuple(found)


resources = st.sampled_from(
    [
        Resource({"service.name": "order", "n": 1, "list": ["a", "b"]}),
        Resource({"service.name": "order", "n": 1, "list": ["a", "b"]}),
        Resource({}, "https://example.test/schema"),
    ]
)
scopes = st.sampled_from(
    [
        None,
        InstrumentationScope("handrail", "1", "https://opentelemetry.io/schemas/1.40.0"),
        InstrumentationScope("handrail", "1", "https://opentelemetry.io/schemas/1.40.0"),
        InstrumentationScope("x", None, None, {"a": 1}),
        InstrumentationScope("", "", ""),
    ]
)
statuses = st.one_of(
    st.builds(Status, st.sampled_from(StatusCode)), st.builds(Status, st.just(StatusCode.ERROR), clean)
)
spans = st.builds(
    ReadableSpan,
    clean,
    contexts,
    st.one_of(st.none(), contexts),
    resources,
    attribute_maps,
    lists(events),
    lists(links),
    st.sampled_from(SpanKind),
    status=statuses,
    start_time=st.one_of(st.none(), u64()),
    end_time=st.one_of(st.none(), u64()),
    instrumentation_scope=scopes,
)


@settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
@given(st.lists(spans, max_size=5))
def test_the_bytes_of_the_stock_encoder(found: list[ReadableSpan]) -> None:
    """Whatever a span holds: equal bytes, hence also an equal message. Grouping by resource and scope included."""
    logging.disable(logging.CRITICAL)  # the stock encoder logs a traceback for each attribute that it leaves out
    try:
        check(found)
    finally:
        logging.disable(logging.NOTSET)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(
    st.booleans(),
    clean,
    st.sampled_from(SpanKind),
    st.one_of(st.none(), st.dictionaries(st.sampled_from("abcdef"), values)),
    maps,
    st.lists(links, max_size=3),
    st.lists(st.tuples(clean, st.one_of(st.none(), maps)), max_size=4),
    st.one_of(st.none(), contexts),
    statuses,
)
def test_spans_of_both_tracers(
    ours_too: bool,
    name: str,
    kind: SpanKind,
    first: dict[str, Any] | None,
    later: dict[str, Any],
    linked: list[Link],
    happened: list[tuple[str, dict[str, Any] | None]],
    parent: SpanContext | None,
    status: Status,
) -> None:
    """Spans made through the API, the SDK's and the light ones, with limits that drop some of what they are given."""
    logging.disable(logging.CRITICAL)
    try:
        limits = SpanLimits(max_attributes=4, max_events=2, max_links=2)
        kept = _Kept()
        provider = TracerProvider(shutdown_on_exit=False, span_limits=limits)
        provider.add_span_processor(kept)
        made = provider.get_tracer("test", "1", "https://example.test/schema", {"scope": True})
        tracer = light(made) if ours_too else made
        context = set_span_in_context(NonRecordingSpan(parent)) if parent is not None else None
        span = tracer.start_span(name, context, kind, first, linked)
        span.set_attributes(later)
        for event, attributes in happened:
            span.add_event(event, attributes)
        span.set_status(status)
        span.end()
        check(kept.spans)
    finally:
        logging.disable(logging.NOTSET)


class _Kept(SpanProcessor):
    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


class _Foreign(ReadableSpan):
    """Somebody's own kind of span: what it stores is not what it shows."""

    @property
    def name(self) -> str:
        return "shown"

    @property
    def attributes(self) -> Mapping[str, Any]:
        return {"shown": 1}

    @property
    def dropped_events(self) -> int:
        return 3


CONTEXT = SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(1))


def test_a_span_class_that_shows_something_else() -> None:
    """What a subclass shows is encoded, not what it stores."""
    check([_Foreign("stored", CONTEXT, attributes={"stored": 1}, start_time=1, end_time=2)])


@pytest.mark.parametrize("value", ["\ud800", 2**63, -(2**63) - 1, object(), ["ok", "\udfff"], {"k": {1, 2}}])
def test_an_attribute_that_protobuf_cannot_hold(value: Any) -> None:
    """It is left out and the span stays, as with the stock encoder."""
    check([ReadableSpan("x", CONTEXT, attributes={"bad": value, "good": 1}, start_time=1, end_time=2)])


def test_a_name_that_is_no_text() -> None:
    """The stock encoder loses the whole batch over a lone surrogate in a name; here it becomes a question mark."""
    span = ReadableSpan("a\ud800b", CONTEXT, start_time=1, end_time=2)
    with pytest.raises(UnicodeEncodeError):
        encode_spans([span])
    sent = ExportTraceServiceRequest.FromString(ours([span]))
    assert sent.resource_spans[0].scope_spans[0].spans[0].name == "a?b"


def test_nesting_without_an_end() -> None:
    """A list in a list in a list: deeper than protobuf can carry, the attribute is left out and the span stays."""
    value: Any = "leaf"
    for _ in range(200):
        value = [value]
    span = ReadableSpan("x", CONTEXT, attributes={"deep": value, "good": 1}, start_time=1, end_time=2)
    sent = ExportTraceServiceRequest.FromString(ours([span]))
    assert [pair.key for pair in sent.resource_spans[0].scope_spans[0].spans[0].attributes] == ["good"]


def test_lengths_and_numbers_around_every_bound() -> None:
    """A length or a number that takes one more byte of base 128, in keys, texts, numbers and whole spans."""
    sizes = [*range(4), *range(100, 140), *range(240, 270), *range(490, 530), *range(1000, 1040), 16383, 16384]
    numbers = [(1 << bits) + n for bits in range(64) for n in (-1, 0, 1)]
    found: list[dict[str, Any]] = [{"k" * size: "v", "k": "v" * size, "n": 1} for size in sizes]
    found += [{"k" * size: "v" * size, "e" * size: "\u00e9" * size} for size in sizes]
    found += [{"k" * 127: number, "n": -number} for number in numbers]
    check([ReadableSpan("x", CONTEXT, attributes=BoundedAttributes(None, one)) for one in found])


def test_the_memory_of_pairs_is_bounded() -> None:
    """Keys and values without number: what is remembered stays small, and the bytes stay right."""
    found = [
        ReadableSpan("x", CONTEXT, attributes={f"key{n % 3000}": f"value{n}", "n": n}, start_time=1, end_time=2)
        for n in range(12_000)
    ]
    check(found)
    assert sum(1 + len(known) for keys in (text_of, number_of) for known in keys.values()) <= 4096 + 2


def test_one_attribute_does_not_push_out_the_others() -> None:
    """A key with ever new values remembers a few of them only."""
    ours([ReadableSpan("x", CONTEXT, attributes={"url.path": f"/{n}"}, start_time=1, end_time=2) for n in range(1000)])
    assert len(text_of["url.path"]) <= 64
