"""The encoder: byte for byte the message of the stock `encode_spans`, for every span that the API can make."""

import logging
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from handrail.tracing._encode import encode
from handrail.tracing._encode_request import join


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


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(spans, max_size=5))
def test_the_bytes_of_the_stock_encoder(found: list[ReadableSpan]) -> None:
    """Whatever a span holds: equal bytes, hence also an equal message. Grouping by resource and scope included."""
    logging.disable(logging.CRITICAL)  # the stock encoder logs a traceback for each attribute that it leaves out
    try:
        check(found)
    finally:
        logging.disable(logging.NOTSET)
