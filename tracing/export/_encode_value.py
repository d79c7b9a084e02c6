"""Attributes as OTLP protobuf, by hand: `KeyValue` and `AnyValue` of opentelemetry/proto/common/v1.

The bytes are those of the stock encoder, which also leaves out an attribute that protobuf cannot hold (a lone
surrogate, an integer beyond 64 bits, a type without a rule). Pairs that come again are taken from a bounded memory.
"""

import logging
from collections.abc import Mapping, Sequence
from functools import cache
from struct import Struct

__all__ = ["attributes", "number_of", "other", "sized", "text_of", "utf8", "varint"]

_log = logging.getLogger("handrail")

_VALUES_OF_A_KEY = 64
"""Methods, routes and states repeat; ids do not, and must not push the others out."""
_LONGEST = 128
"""Characters of a text that is worth remembering."""
_MOST = 4096
"""Remembered pairs of all keys: about a megabyte."""
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


class _Values(dict[object, bytes]):
    """Encoded pairs of one key, by value; each begins with the tag of `Span.attributes`. b"" is left out."""

    __slots__ = ("key",)

    def __init__(self, key: str) -> None:
        self.key = key

    def __missing__(self, value: object) -> bytes:
        found = other(self.key, value)
        if len(self) < _VALUES_OF_A_KEY and (value.__class__ is int or len(value) <= _LONGEST):  # type: ignore[arg-type]  # str or int, see below
            _remembered.add(1)
            self[value] = found
        return found


class _Keys(dict[str, _Values]):
    """The memory of one type of value (1, 1.0 and True are the same key of a dict)."""

    __slots__ = ()

    def __missing__(self, key: str) -> _Values:
        _remembered.add(1)
        found = self[key] = _Values(key)
        return found


class _Remembered:
    """Counts what the memories hold, and empties them when it is too much."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, number: int) -> None:
        self.count += number
        if self.count > _MOST:
            self.count = 0
            text_of.clear()
            number_of.clear()


text_of = _Keys()
"""`text_of[key][value]` for a value whose type is exactly str: the encoded attribute of a span, or b""."""
number_of = _Keys()
"""The same for exactly int."""
_remembered = _Remembered()


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
