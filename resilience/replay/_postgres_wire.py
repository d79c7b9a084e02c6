"""Values as Postgres sends and takes them, in binary: few types, and no answer is ever made into text.

https://www.postgresql.org/docs/current/protocol-overview.html#PROTOCOL-FORMAT-CODES; arrays as in array_send().
"""

import struct
from collections.abc import Sequence

__all__ = [
    "Row",
    "Value",
    "Values",
    "blobs",
    "flag",
    "float8",
    "float8s",
    "int8",
    "int8s",
    "number",
    "text",
    "texts",
    "whole",
]

Value = tuple[int, bytes]
"""The number of a type, and the bytes."""
Values = Sequence[Value]
Row = tuple[bytes | None, ...]

_BYTEA, _INT8, _TEXT, _FLOAT8 = 17, 20, 25, 701
_ARRAY_OF = {_BYTEA: 1001, _INT8: 1016, _TEXT: 1009, _FLOAT8: 1022}
_DOUBLE, _LONG, _LENGTH = struct.Struct(">d"), struct.Struct(">q"), struct.Struct(">i")
_ARRAY = struct.Struct(">iiiii")


def text(value: str) -> Value:
    """A text."""
    return _TEXT, value.encode()


def float8(value: float) -> Value:
    """A double precision."""
    return _FLOAT8, _DOUBLE.pack(value)


def int8(value: int) -> Value:
    """A bigint."""
    return _INT8, _LONG.pack(value)


def blobs(values: Sequence[bytes]) -> Value:
    """A bytea[]."""
    return _array(_BYTEA, values)


def texts(values: Sequence[str]) -> Value:
    """A text[]."""
    return _array(_TEXT, [value.encode() for value in values])


def float8s(values: Sequence[float]) -> Value:
    """A double precision[]."""
    return _array(_FLOAT8, [_DOUBLE.pack(value) for value in values])


def int8s(values: Sequence[int]) -> Value:
    """A bigint[]."""
    return _array(_INT8, [_LONG.pack(value) for value in values])


def flag(value: bytes | None) -> bool:
    """Of a boolean; NULL is False."""
    return value == b"\x01"


def number(value: bytes | None) -> float:
    """Of a double precision."""
    return 0.0 if value is None else float(_DOUBLE.unpack(value)[0])


def whole(value: bytes | None) -> int:
    """Of a bigint; NULL is 0."""
    return 0 if value is None else int(_LONG.unpack(value)[0])


def _array(kind: int, values: Sequence[bytes]) -> Value:
    parts = [_ARRAY.pack(1, 0, kind, len(values), 1)]
    for value in values:
        parts += (_LENGTH.pack(len(value)), value)
    return _ARRAY_OF[kind], b"".join(parts)
