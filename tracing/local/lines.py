"""Spans as OTLP JSON, the way Jaeger's upload and the collector's file receiver take it.

Rules from the OTLP specification ("JSON Protobuf Encoding"): ids in hex, enums as numbers, 64-bit
integers as strings, bytes in base64. One document for each trace of a batch, without a line break.
"""

import json
import math
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import INVALID_SPAN_CONTEXT, Link, SpanContext

__all__ = ["Json", "document", "lines"]

Json = dict[str, object]

_DOCUMENTS = 4
"""Between two pauses: about 0.2 ms of work."""
_HAS_IS_REMOTE = 0x100
_IS_REMOTE = 0x200


def lines(spans: Iterable[ReadableSpan], pause: Callable[[], None] = lambda: None) -> list[str]:
    """One JSON document for each trace among `spans`, in order of first appearance.

    `pause` is called every few documents: the place to let other threads run.
    """
    traces: dict[int, list[ReadableSpan]] = {}
    for span in spans:
        traces.setdefault(_context(span).trace_id, []).append(span)
    out: list[str] = []
    for number, members in enumerate(traces.values()):
        if number % _DOCUMENTS == _DOCUMENTS - 1:
            pause()
        out.append(json.dumps(document(members), separators=(",", ":"), allow_nan=False))
    return out


def document(spans: Iterable[ReadableSpan]) -> Json:
    """`{"resourceSpans": [...]}`, grouped by resource and scope."""
    grouped: dict[int, tuple[Resource, dict[InstrumentationScope | None, list[Json]]]] = {}
    for span in spans:
        # By identity: a resource hashes itself through JSON each time.
        _, scopes = grouped.setdefault(id(span.resource), (span.resource, {}))
        scopes.setdefault(span.instrumentation_scope, []).append(_span(span))
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": _attributes(resource.attributes)},
                "scopeSpans": [{"scope": _scope(scope), "spans": members} for scope, members in scopes.items()],
            }
            for resource, scopes in grouped.values()
        ]
    }


def _span(span: ReadableSpan) -> Json:
    context = _context(span)
    found: Json = {
        "traceId": f"{context.trace_id:032x}",
        "spanId": f"{context.span_id:016x}",
        "name": span.name,
        "kind": span.kind.value + 1,  # the SDK counts from 0, OTLP keeps 0 for "unspecified"
        "startTimeUnixNano": str(span.start_time or 0),
        "endTimeUnixNano": str(span.end_time or 0),
        "flags": _flags(context, span.parent),
        "attributes": _attributes(span.attributes),
        "status": _status(span),
    }
    if span.parent is not None:
        found["parentSpanId"] = f"{span.parent.span_id:016x}"
    if context.trace_state:
        found["traceState"] = context.trace_state.to_header()
    if span.events:
        found["events"] = [
            {"timeUnixNano": str(event.timestamp), "name": event.name, "attributes": _attributes(event.attributes)}
            for event in span.events
        ]
    if span.links:
        found["links"] = [_link(link) for link in span.links]
    for name, count in (
        ("droppedAttributesCount", span.dropped_attributes),
        ("droppedEventsCount", span.dropped_events),
        ("droppedLinksCount", span.dropped_links),
    ):
        if count:
            found[name] = count
    return found


def _context(span: ReadableSpan) -> SpanContext:
    return span.context or INVALID_SPAN_CONTEXT


def _flags(context: SpanContext, parent: SpanContext | None) -> int:
    remote = _IS_REMOTE if parent is not None and parent.is_remote else 0
    return int(context.trace_flags) | _HAS_IS_REMOTE | remote


def _status(span: ReadableSpan) -> Json:
    status: Json = {}
    if span.status.status_code.value:
        status["code"] = span.status.status_code.value
    if span.status.description:
        status["message"] = span.status.description
    return status


def _link(link: Link) -> Json:
    return {
        "traceId": f"{link.context.trace_id:032x}",
        "spanId": f"{link.context.span_id:016x}",
        "attributes": _attributes(link.attributes),
    }


def _scope(scope: InstrumentationScope | None) -> Json:
    if scope is None:
        return {}
    return {"name": scope.name, **({"version": scope.version} if scope.version else {})}


def _attributes(attributes: Mapping[str, object] | None) -> list[Json]:
    return [{"key": key, "value": _value(value)} for key, value in (attributes or {}).items()]


def _value(value: object) -> Json:
    # bool before int: True is an int.
    if isinstance(value, str):
        return {"stringValue": value}
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": _double(value)}
    if isinstance(value, bytes):
        return {"bytesValue": b64encode(value).decode("ascii")}
    if isinstance(value, Mapping):
        return {"kvlistValue": {"values": _attributes(value)}}
    if isinstance(value, Sequence):
        return {"arrayValue": {"values": [_value(item) for item in value]}}
    return {} if value is None else {"stringValue": str(value)}


def _double(value: float) -> float | str:
    """JSON has no NaN and no infinities; protobuf's JSON spells them."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
