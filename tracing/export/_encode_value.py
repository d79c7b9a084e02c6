"""Attributes as OTLP protobuf, by hand: `KeyValue` and `AnyValue` of opentelemetry/proto/common/v1.

The bytes are those of the stock encoder, which also leaves out an attribute that protobuf cannot hold (a lone
surrogate, an integer beyond 64 bits, a type without a rule). Pairs that come again are taken from a bounded memory.
"""

import logging
from collections.abc import Mapping, Sequence
from functools import cache
from struct import Struct

from ._memory import LONGEST, VALUES_OF_A_KEY, Keys, Memory, Values

__all__ = ["attributes", "number_of", "other", "sized", "text_of", "utf8", "varint"]

_log = logging.getLogger("handrail")

_DEEPEST = 40
"""Nested lists and maps; protobuf itself refuses messages deeper than 100 (two for each list, three for a map)."""
_INT64 = 1 << 63

_SMALL = tuple(bytes((n,)) if n < 128 else bytes((n & 127 | 128, n >> 7)) for n in range(2048))
_double = Struct("<Bd").pack


def varint(number: int) -> bytes:
    """A non-negative integer in base 128, as protobuf writes lengths."""
    if number < 2048:
        return _SMALL[number]
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def sized(tag: bytes, data: bytes) -> bytes:
    """A field with a length."""
    return b"".join((tag, varint(len(data)), data))


def utf8(text: object) -> bytes:
    """Text where protobuf insists on some, as a span's name: what is no text is replaced by question marks."""
    if text is None:
        return b""
    return str(text).encode("utf-8", "replace")


_HEADS = tuple(b"\x4a" + varint(size) for size in range(512))
"""Tag and length of `Span.attributes`, by the size of the pair."""
_TEXTS = tuple(b"".join((b"\x12", varint(1 + len(varint(size)) + size), b"\x0a", varint(size))) for size in range(256))
"""What stands before a text of so many bytes: tag and length of the value, and of its text."""


class _Pairs(Values):
    """Each begins with the tag of `Span.attributes`; b"" is left out."""

    __slots__ = ("name",)
    name: bytes | None
    """Its field `key`; None where that is for `other` to make."""

    def __init__(self, key: str, memory: Memory) -> None:
        super().__init__(key, memory)
        try:
            name = key.encode()
        except UnicodeEncodeError:
            self.name = None  # `other` says so
        else:
            self.name = sized(b"\x0a", name) if name and len(name) < 128 else None


class _Texts(_Pairs):
    __slots__ = ()

    def __missing__(self, value: str) -> bytes:
        name = self.name
        try:
            data = value.encode()
        except UnicodeEncodeError:
            data = None
        if name is None or data is None or len(data) > 255:
            found = other(self.key, value)
        else:
            between = _TEXTS[len(data)]
            found = b"".join((_HEADS[len(name) + len(between) + len(data)], name, between, data))
        return self.keep(value, found) if len(self) < VALUES_OF_A_KEY and len(value) <= LONGEST else found


class _Numbers(_Pairs):
    __slots__ = ()

    def __missing__(self, value: int) -> bytes:
        name = self.name
        if name is None or not 1 << 14 <= value < 1 << 21:
            return self.keep(value, other(self.key, value))
        # Three groups of seven bits: ports, sizes, rows.
        size = len(name) + 6
        data = (0x12, 4, 0x18, value & 127 | 128, value >> 7 & 127 | 128, value >> 14)
        found = b"".join((_HEADS[size], name, bytes(data)))
        return self.keep(value, found) if len(self) < VALUES_OF_A_KEY else found


_memory = Memory()
text_of = Keys(_memory, _Texts)
"""`text_of[key][value]` for a value whose type is exactly str: the encoded attribute of a span, or b""."""
number_of = Keys(_memory, _Numbers)
"""The same for exactly int."""


def other(key: str, value: object) -> bytes:
    """One attribute of a span, of any type; b"" where the stock encoder leaves it out."""
    try:
        return sized(b"\x4a", _pair(key, value, 0))
    except Exception as error:  # the value's own code may run: a mapping, a subclass
        _refused(key, f"{type(error).__name__}: {error}"[:200])
        return b""


def attributes(tag: bytes, found: Mapping[str, object] | None) -> list[bytes]:
    """All attributes of something that is not a span: its field has another tag of one byte."""
    return [tag + part[1:] for key, value in (found or {}).items() if (part := other(key, value))]


def _pair(key: str, value: object, depth: int) -> bytes:
    name = key.encode("utf-8")
    body = _any(value, depth)
    parts = (b"\x0a", varint(len(name)), name) if name else ()
    return b"".join((*parts, b"\x12", varint(len(body)), body))


def _any(value: object, depth: int) -> bytes:
    # The order of the stock encoder: a bool is an int, a text is a sequence.
    if value is None:
        return b""
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, str):
        return sized(b"\x0a", str.encode(value, "utf-8"))
    if isinstance(value, int):
        return b"\x18" + _int64(int(value))
    if isinstance(value, float):
        return _double(0x21, value)
    if isinstance(value, bytes):
        return sized(b"\x3a", value)
    if depth >= _DEEPEST:
        raise ValueError(f"nested deeper than {_DEEPEST}")
    if isinstance(value, Sequence):
        return sized(b"\x2a", b"".join([sized(b"\x0a", _any(item, depth + 1)) for item in value]))
    if isinstance(value, Mapping):
        pairs = [sized(b"\x0a", _pair(str(key), item, depth + 1)) for key, item in value.items()]
        return sized(b"\x32", b"".join(pairs))
    raise TypeError(f"OTLP has no value for a {type(value).__name__}")


def _int64(number: int) -> bytes:
    if not -_INT64 <= number < _INT64:
        raise ValueError("beyond 64 bits")
    return varint(number & 0xFFFF_FFFF_FFFF_FFFF)


@cache
def _say_once() -> None:
    _log.warning("an attribute cannot be sent to a collector and is left out; further ones are told at level DEBUG")


def _refused(key: object, why: str) -> None:
    _say_once()
    _log.debug("attribute %r is left out: %s", key, why)
