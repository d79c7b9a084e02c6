"""Spans as OTLP JSON: the same message as the stock encoder's, and made once, as they end."""

import importlib
import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
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

from handrail.tracing.export._batch import Batch
from handrail.tracing.export._guarded import BYTES
from handrail.tracing.export.build import build
from handrail.tracing.local.lines import lines
from handrail.tracing.local.read import read
from handrail.tracing.settings import TracingSettings
from handrail.tracing.spans.tracer import light

json_format: Any = importlib.import_module("google.protobuf.json_format")  # has no types
CONTEXT = SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(1))
text = st.text(max_size=20)
scalars: st.SearchStrategy[Any] = st.one_of(
    text,
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.sampled_from([1, 1.0, "1", 200]),
)
values = st.one_of(scalars, st.lists(text, max_size=3), st.binary(max_size=5))
maps = st.dictionaries(st.sampled_from(["http.route", "a", 'quo"ted\n', "\u00e9"]), values, max_size=4)
contexts = st.builds(
    SpanContext,
    st.integers(1, 2**128 - 1),
    st.integers(1, 2**64 - 1),
    st.booleans(),
    st.sampled_from([TraceFlags(1), TraceFlags(3)]),
    st.sampled_from([None, TraceState([("a", "1"), ("b", "x y")])]),
)


class _Kept(SpanProcessor):
    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


def message(line: bytes) -> ExportTraceServiceRequest:
    """The line as protobuf reads it, which has ids in base64 in JSON, unlike OTLP; W3C's flags are only in ours."""

    def fitted(raw: dict[str, Any]) -> dict[str, Any]:
        for name in ("traceId", "spanId", "parentSpanId"):
            if name in raw:
                raw[name] = b64encode(bytes.fromhex(raw[name])).decode()
        if "flags" in raw:
            raw["flags"] &= 0x300
        return raw

    found = ExportTraceServiceRequest()
    json_format.ParseDict(json.loads(line, object_hook=fitted), found)
    return found


def stock(spans: list[ReadableSpan]) -> ExportTraceServiceRequest:
    found = encode_spans(spans)
    for resource in found.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                for link in span.links:  # what the store leaves out
                    link.flags = link.dropped_attributes_count = 0
                    link.trace_state = ""
                for event in span.events:
                    event.dropped_attributes_count = 0
    return found


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.booleans(),
    text,
    st.sampled_from(SpanKind),
    maps,
    st.lists(st.builds(Link, contexts, maps), max_size=3),
    st.lists(st.tuples(text, maps), max_size=3),
    st.one_of(st.none(), contexts),
    st.sampled_from([Status(), Status(StatusCode.OK), Status(StatusCode.ERROR), Status(StatusCode.ERROR, 'b"d')]),
)
def test_the_message_of_the_stock_encoder(
    ours: bool,
    name: str,
    kind: SpanKind,
    attributes: dict[str, Any],
    linked: list[Link],
    happened: list[tuple[str, dict[str, Any]]],
    parent: SpanContext | None,
    status: Status,
) -> None:
    """Spans of the SDK and light ones, with limits that drop some of what they are given: read back, they are equal."""
    kept = _Kept()
    provider = TracerProvider(
        shutdown_on_exit=False, span_limits=SpanLimits(max_attributes=3, max_events=2, max_links=2)
    )
    provider.add_span_processor(kept)
    made = provider.get_tracer("test", "1")
    above = set_span_in_context(NonRecordingSpan(parent)) if parent is not None else None
    span = (light(made) if ours else made).start_span(name, above, kind, attributes, linked)
    for event, more in happened:
        span.add_event(event, more)
    span.set_status(status)
    span.end()
    (line,) = lines(kept.spans)
    assert message(line) == stock(kept.spans)


class _Foreign(ReadableSpan):
    @property
    def name(self) -> str:
        return "shown"


def test_a_span_class_that_shows_something_else() -> None:
    """What a subclass shows is written, not what it stores."""
    (line,) = lines([_Foreign("stored", CONTEXT, start_time=1, end_time=2)])
    assert b'"name":"shown"' in line


@pytest.mark.parametrize("exporters", [("local",), ("local", "console")])
def test_alone_the_store_keeps_no_spans(tmp_path: Path, exporters: tuple[str, ...], capsys: Any) -> None:
    """The default: a span becomes text as it ends, once, and the exporting thread only joins and writes."""
    made = build(TracingSettings(service_name="x", store=tmp_path, exporters=exporters))
    assert made is not None
    assert (made.wants == BYTES) == (exporters == ("local",))
    processor = Batch(made)
    processor.on_end(ReadableSpan("a", CONTEXT, start_time=1, end_time=2))
    assert processor._queue.items[0][0].startswith(b'{"traceId"') == (exporters == ("local",))
    assert processor.force_flush(60_000)
    processor.shutdown()
    (trace,) = read(tmp_path)
    assert [span.name for span in trace.spans] == ["a"]
    assert (made.exported, made.dropped) == (1, 0)


def test_the_exporting_thread_lets_others_run() -> None:
    """Also where it has to encode: it pauses every few spans and every few lines."""
    pauses: list[None] = []
    spans = [
        ReadableSpan("x", SpanContext(n + 1, 2, is_remote=False), start_time=1, end_time=2, resource=None)
        for n in range(512)
    ]
    lines(spans, lambda: pauses.append(None))
    assert len(pauses) == 512 // 16 + 512 // 64
