"""The `traceparent` and `tracestate` headers of W3C Trace Context level 2, parsed and written.

Numbers in comments are sections of https://www.w3.org/TR/trace-context-2/.
"""

import re
from collections.abc import Iterable

from opentelemetry.trace import DEFAULT_TRACE_STATE, SpanContext, TraceFlags, TraceState

MAX_MEMBERS = 32  # 3.3.1.1
MAX_LENGTH = 8192  # ours; 3.3.1.5 asks for at least 512

# 3.2.2.2: lower-case hex only. What follows the flags is allowed from version 01 on, after a dash (3.2.4).
_TRACEPARENT = re.compile(
    rb"[ \t]*(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?[ \t]*"
)
_KEY = r"[a-z0-9][a-z0-9_\-*/@]{0,255}"  # 3.3.1.3.1
_VALUE = r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"  # 3.3.1.3.2
_IS_KEY = re.compile(_KEY).fullmatch
_IS_VALUE = re.compile(_VALUE).fullmatch
_KNOWN_FLAGS = TraceFlags.SAMPLED | TraceFlags.RANDOM_TRACE_ID  # 3.2.2.5.3: all others are sent as zero
_FLAGS = tuple(TraceFlags(bits) for bits in range(_KNOWN_FLAGS + 1))


def parse(traceparent: bytes, tracestate: bytes | None) -> SpanContext | None:
    """The remote parent, or None for a traceparent that must be ignored, its tracestate with it.

    An invalid tracestate is dropped alone. Doubled headers come in joined by a comma: a traceparent is then
    invalid, a tracestate is one list.
    """
    match = _TRACEPARENT.fullmatch(traceparent)
    if match is None:
        return None
    version, trace_id, parent_id, flags, rest = match.groups()
    if version == b"00" and rest is not None:
        return None
    state = DEFAULT_TRACE_STATE if tracestate is None else parse_state(tracestate)
    bits = _FLAGS[int(flags, 16) & _KNOWN_FLAGS]
    return SpanContext(int(trace_id, 16), int(parent_id, 16), True, bits, state)


def render(span: SpanContext) -> str:
    """The traceparent that names this span as parent."""
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags & _KNOWN_FLAGS:02x}"


def parse_state(header: bytes) -> TraceState:
    """The list of members, or an empty one where the header breaks a rule.

    Of a doubled key the first member counts: it is the more recent one (3.5). Empty members are skipped (3.3.1.1).
    """
    if len(header) > MAX_LENGTH:
        return DEFAULT_TRACE_STATE
    members: dict[str, str] = {}
    for padded in header.decode("latin-1").split(","):
        member = padded.strip(" \t")
        if not member:
            continue
        key, equals, value = member.partition("=")
        if not (equals and _IS_KEY(key) and _IS_VALUE(value)):
            return DEFAULT_TRACE_STATE
        members.setdefault(key, value)
    return State(members.items()) if 0 < len(members) <= MAX_MEMBERS else DEFAULT_TRACE_STATE


class State(TraceState):
    """A tracestate by the rules of level 2, which OpenTelemetry's own class would not hold.

    Changes follow 3.5: a new or changed member goes to the front, and the rest keeps its order. A change that
    would break a rule returns the same state, as the base class does.
    """

    def __init__(self, members: Iterable[tuple[str, str]] = ()) -> None:
        super().__init__()
        self._dict = dict(members)  # the base class's own, which it would fill by the rules of level 1

    def add(self, key: str, value: str) -> TraceState:
        """With a new member; the same state if the key is there already or 32 members are."""
        return self if key in self else self.update(key, value)

    def update(self, key: str, value: str) -> TraceState:
        """With this member, new or changed; the same state if it would be the 33rd."""
        if not (_IS_KEY(key) and _IS_VALUE(value)) or (key not in self and len(self) >= MAX_MEMBERS):
            return self
        return State([(key, value), *((name, other) for name, other in self.items() if name != key)])

    def delete(self, key: str) -> TraceState:
        """Without this member."""
        return State((name, value) for name, value in self.items() if name != key) if key in self else self
