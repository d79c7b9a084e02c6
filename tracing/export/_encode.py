"""A span as OTLP protobuf, by hand: the bytes of the stock `encode_spans`, at a fraction of its time.

Message `Span` of opentelemetry/proto/trace/v1. Fields stand in the order of their numbers, as protobuf writes them.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from struct import Struct
from typing import Any

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util import BoundedList
from opentelemetry.trace import StatusCode
from opentelemetry.trace.span import DEFAULT_TRACE_STATE

from ..spans._light import LightSpan
from ._encode_value import attributes, number_of, other, sized, text_of, utf8, varint

__all__ = ["encode", "stored"]

_begin = Struct(">BB16sBBQ").pack
_parent = Struct(">BBQ").pack
_middle = Struct("<BBBQBQ").pack
_fixed64 = Struct("<BQ").pack

_LOCAL = b"\x85\x01\x00\x01\x00\x00"
"""Flags (field 16): whether the parent is remote is known (0x100), and it is (0x200). None of W3C's, as in stock."""
_REMOTE = b"\x85\x01\x00\x03\x00\x00"
_STATES = {code.value: b"\x7a\x02\x18" + bytes((code.value,)) if code.value else b"\x7a\x00" for code in StatusCode}
"""Status without a description. By its number: an Enum's hash is a function in Python."""
_LINK_LOCAL = b"\x35\x00\x01\x00\x00"
_LINK_REMOTE = b"\x35\x00\x03\x00\x00"
_SIZES = tuple(b"\x12" + varint(size) for size in range(1024))
"""Tag and length of a span."""


class _Names(dict[str, bytes]):
    """Encoded names; a name is a route or a constant, so there are few, and never more than this."""

    def __missing__(self, name: str) -> bytes:
        text = utf8(name)
        found = sized(b"\x2a", text) if text else b""
        if len(self) >= 1024:
            self.clear()
        if len(found) <= 256:
            self[name] = found
        return found


_names = _Names()


def encode(span: ReadableSpan) -> bytes:  # noqa: C901  (one pass: each call costs more than its lines)
    """`span` as the field `spans` of `ScopeSpans`, tag and length included.

    Raises ValueError, struct.error or whatever the span's own objects raise where protobuf cannot hold it.
    """
    source: Any = span
    cls: type = span.__class__
    if cls is LightSpan:
        found = source._plain if source._bounded is None else source._bounded
        events, links = source._event_list, source._link_list
    else:
        source = stored(span)
        found, events, links = source._attributes, source._events, source._links
    trace_id, span_id, _, _, state, _ = source._context
    parts = [_begin(0x0A, 16, trace_id.to_bytes(16, "big"), 0x12, 8, span_id)]
    append = parts.append
    if state is not DEFAULT_TRACE_STATE and state:
        append(_trace_state(state))
    parent, flags = source._parent, _LOCAL
    if parent is not None:
        append(_parent(0x22, 8, parent[1]))
        if parent[2]:
            flags = _REMOTE
    append(_names[source._name])
    start, end = source._start_time, source._end_time
    kind_number = source._kind._value_ + 1  # the SDK counts from 0, OTLP keeps 0 for "unspecified"
    if start and end:
        append(_middle(0x30, kind_number, 0x39, start, 0x41, end))
    else:
        append(bytes((0x30, kind_number)) + _time(0x39, start) + _time(0x41, end))
    dropped = 0
    if found.__class__ is BoundedAttributes:
        dropped, found = found.dropped, found._dict
    if found:
        for key, value in found.items():
            kind = value.__class__
            if kind is str:
                append(text_of[key][value])
            elif kind is int:
                append(number_of[key][value])
            else:
                append(other(key, value))
    if dropped:
        append(b"\x50" + varint(dropped))
    if events is not None:
        append(_events(events))
    if links is not None:
        append(_links(links))
    status = source._status
    if status._description:
        append(_status(status) + flags)
    else:
        append(_STATES[status._status_code._value_])
        append(flags)
    body = b"".join(parts)
    size = len(body)
    return (_SIZES[size] if size < 1024 else b"\x12" + varint(size)) + body


def _events(events: Any) -> bytes:
    parts: list[bytes] = []
    for event in events:
        body = [_time(0x09, event.timestamp)]
        name = utf8(event.name)
        if name:
            body.append(sized(b"\x12", name))
        body += attributes(b"\x1a", event.attributes)
        if event.dropped_attributes:
            body.append(b"\x20" + varint(event.dropped_attributes))
        parts.append(sized(b"\x5a", b"".join(body)))
    return b"".join(parts) + _dropped(b"\x60", events)


def _links(links: Any) -> bytes:
    parts: list[bytes] = []
    for link in links:
        context = link.context
        body = [_begin(0x0A, 16, context.trace_id.to_bytes(16, "big"), 0x12, 8, context.span_id)]
        body += attributes(b"\x22", link.attributes)
        if link.dropped_attributes:
            body.append(b"\x28" + varint(link.dropped_attributes))
        body.append(_LINK_REMOTE if context.is_remote else _LINK_LOCAL)
        parts.append(sized(b"\x6a", b"".join(body)))
    return b"".join(parts) + _dropped(b"\x70", links)


def _dropped(tag: bytes, found: Any) -> bytes:
    count: int = found.dropped if isinstance(found, BoundedList) else 0
    return tag + varint(count) if count else b""


def _status(status: Any) -> bytes:
    code = status._status_code.value
    return sized(b"\x7a", sized(b"\x12", utf8(status._description)) + (bytes((0x18, code)) if code else b""))


def _time(tag: int, nanoseconds: int | None) -> bytes:
    return _fixed64(tag, nanoseconds) if nanoseconds else b""


def _trace_state(state: Mapping[str, str]) -> bytes:
    return sized(b"\x1a", utf8(",".join([f"{key}={value}" for key, value in state.items()])))


def stored(span: ReadableSpan) -> Any:
    """`span`, or something else that holds what it shows, under the names by which the SDK's spans store it."""
    cls: type = span.__class__
    return span if cls is ReadableSpan or _as_stored(cls) else _Public(span)


@cache
def _as_stored(cls: type) -> bool:
    """Whether what a class shows is what the SDK's spans store under these names."""
    return issubclass(cls, ReadableSpan) and all(getattr(cls, name) is getattr(ReadableSpan, name) for name in _SHOWN)


_SHOWN = (
    *("context", "parent", "name", "kind", "start_time", "end_time", "attributes", "events", "links", "status"),
    *("dropped_attributes", "dropped_events", "dropped_links"),
)


class _Counted(BoundedList[Any]):
    """A list with the number of those that it lost."""

    def __init__(self, items: Sequence[Any], dropped: int) -> None:
        super().__init__(None)
        self.extend(items)
        self.dropped = dropped


class _Public:
    """A span of a class that we do not know, by what it shows."""

    def __init__(self, span: ReadableSpan) -> None:
        self._context = span.get_span_context()
        self._parent = span.parent
        self._name = span.name
        self._kind = span.kind
        self._start_time = span.start_time
        self._end_time = span.end_time
        self._status = span.status
        self._attributes = BoundedAttributes(attributes=span.attributes)
        self._attributes.dropped = span.dropped_attributes
        self._events = _Counted(span.events, span.dropped_events)
        self._links = _Counted(span.links, span.dropped_links)
