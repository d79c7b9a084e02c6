"""A span as OTLP JSON, text put together by hand: it is made at the end of each span, and has to be quick there.

Rules from the OTLP specification ("JSON Protobuf Encoding"): ids in hex, enums as numbers, 64-bit
integers as strings, bytes in base64. All of it is ASCII.
"""

import json
import math
from base64 import b64encode
from collections.abc import Mapping, Sequence
from json.encoder import encode_basestring_ascii as quoted
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import INVALID_SPAN_CONTEXT, Link
from opentelemetry.trace.span import DEFAULT_TRACE_STATE

from ..export._encode import stored
from ..export._memory import LONGEST, VALUES_OF_A_KEY, Keys, Memory, Values
from ..spans._light import LightSpan

__all__ = ["Json", "attributes", "encode", "text", "trace_of"]

Json = dict[str, object]

_HAS_IS_REMOTE = 0x100
_IS_REMOTE = 0x200
_TRACE_ID = slice(12, 44)

text = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
"""What is rare, as JSON."""


def trace_of(body: bytes) -> bytes:
    """The trace id, in hex, of a span from `encode`."""
    return body[_TRACE_ID]


def encode(span: ReadableSpan) -> bytes:
    """One object of `spans` in `scopeSpans`; it begins with the trace id. Raises what the span's own objects raise."""
    found: Mapping[str, Any] | None
    source: Any = span
    cls: type = span.__class__
    if cls is not LightSpan:
        source = stored(span)
        found, more = span.attributes, _more(span)
    elif source._bounded is None and source._event_list is None and source._link_list is None:
        found, more = source._plain, ""
    else:
        found, more = span.attributes, _more(span)
    pairs: list[bytes] = []
    append = pairs.append
    if found:
        for key, value in found.items():
            kind = value.__class__
            if kind is str:
                append(_text_of[key][value])
            elif kind is int:
                append(_number_of[key][value])
            else:
                append(_other(key, value))
    trace_id, span_id, _, flags, state, _ = source._context or INVALID_SPAN_CONTEXT
    flags |= _HAS_IS_REMOTE
    parent = source._parent
    above = ""
    if parent is not None:
        above = f'"parentSpanId":"{parent[1]:016x}",'
        if parent[2]:
            flags |= _IS_REMOTE
    if state is not DEFAULT_TRACE_STATE and state:
        more += f',"traceState":{quoted(state.to_header())}'
    status = source._status
    told = "{}"
    if status._status_code._value_ or status._description:
        told = text(_status(status))
    head = (
        f'{{"traceId":"{trace_id:032x}","spanId":"{span_id:016x}",{above}"name":{quoted(str(source._name))},'
        f'"kind":{source._kind._value_ + 1},"startTimeUnixNano":"{source._start_time or 0}",'  # the SDK counts from 0
        f'"endTimeUnixNano":"{source._end_time or 0}","flags":{flags},"status":{told}{more},"attributes":['
    )
    return b"".join((head.encode("ascii"), b",".join(pairs), b"]}"))


def attributes(found: Mapping[str, object] | None) -> list[Json]:
    """`KeyValue` objects."""
    return [{"key": key, "value": _value(value)} for key, value in (found or {}).items()]


class _Pairs(Values):
    __slots__ = ("name",)

    def __init__(self, key: str, memory: Memory) -> None:
        super().__init__(key, memory)
        self.name = quoted(key)


class _Texts(_Pairs):
    __slots__ = ()

    def __missing__(self, value: str) -> bytes:
        found = f'{{"key":{self.name},"value":{{"stringValue":{quoted(value)}}}}}'.encode("ascii")
        return self.keep(value, found) if len(self) < VALUES_OF_A_KEY and len(value) <= LONGEST else found


class _Numbers(_Pairs):
    __slots__ = ()

    def __missing__(self, value: int) -> bytes:
        found = f'{{"key":{self.name},"value":{{"intValue":"{value}"}}}}'.encode("ascii")
        return self.keep(value, found) if len(self) < VALUES_OF_A_KEY else found


_memory = Memory()
_text_of = Keys(_memory, _Texts)
_number_of = Keys(_memory, _Numbers)


def _other(key: str, value: object) -> bytes:
    return text({"key": key, "value": _value(value)}).encode("ascii")


def _more(span: ReadableSpan) -> str:
    found: Json = {}
    if span.events:
        found["events"] = [
            {"timeUnixNano": str(event.timestamp), "name": event.name, "attributes": attributes(event.attributes)}
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
    return "," + text(found)[1:-1] if found else ""


def _status(status: Any) -> Json:
    found: Json = {}
    if status.status_code.value:
        found["code"] = status.status_code.value
    if status.description:
        found["message"] = status.description
    return found


def _link(link: Link) -> Json:
    return {
        "traceId": f"{link.context.trace_id:032x}",
        "spanId": f"{link.context.span_id:016x}",
        "attributes": attributes(link.attributes),
    }


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
        return {"kvlistValue": {"values": attributes(value)}}
    if isinstance(value, Sequence):
        return {"arrayValue": {"values": [_value(item) for item in value]}}
    return {} if value is None else {"stringValue": str(value)}


def _double(value: float) -> float | str:
    """JSON has no NaN and no infinities; protobuf's JSON spells them."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
