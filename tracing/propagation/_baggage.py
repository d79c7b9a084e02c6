"""The `baggage` header of W3C Baggage, bounded: 64 members and 8192 bytes in, the same out.

Above either limit the specification lets a platform drop members until both hold; the first ones stay.
A malformed member is skipped alone. Properties behind a ";" travel with their value.
"""

import re
from urllib.parse import quote, unquote

from opentelemetry import baggage
from opentelemetry.context import Context

MAX_MEMBERS = 64
MAX_BYTES = 8192

_IS_KEY = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch  # token, RFC 9110 5.6.2
_IS_VALUE = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]*").fullmatch  # baggage-octet
_IS_PROPERTIES = re.compile(r"[\x20-\x21\x23-\x2b\x2d-\x5b\x5d-\x7e\t]*").fullmatch
_KEY_PLAIN = "!#$&'*+-.^_`|~"
_PLAIN = "!#$&'()*+-./:<=>?@[]^_`{|}~"  # baggage-octets that need no escape; "%" does


class Value(str):
    """A member's value with the properties that came with it, as they were written."""

    __slots__ = ("properties",)

    properties: str

    def __new__(cls, value: str, properties: str) -> "Value":
        """`properties` without the first ";"."""
        made = super().__new__(cls, value)
        made.properties = properties
        return made


def parse(header: bytes, base: Context) -> Context:
    """`base` with the members of the header; of a doubled key the last one counts."""
    found = 0
    for member in _cut(header).decode("latin-1").split(","):
        pair, semicolon, properties = member.strip(" \t").partition(";")
        key, equals, value = pair.partition("=")
        key, value = key.strip(" \t"), value.strip(" \t")
        if not (equals and _IS_KEY(key) and _IS_VALUE(value) and _IS_PROPERTIES(properties)):
            continue
        text = unquote(value, errors="replace")
        base = baggage.set_baggage(unquote(key), Value(text, properties) if semicolon else text, base)
        found += 1
        if found == MAX_MEMBERS:
            break
    return base


def _cut(header: bytes) -> bytes:
    """At most MAX_BYTES, ending with a whole member."""
    if len(header) <= MAX_BYTES:
        return header
    end = header.rfind(b",", 0, MAX_BYTES + 1)
    return header[:end] if end > 0 else b""


def render(context: Context | None) -> str:
    """The header for the context's baggage, empty where there is none; what is above the limits is left out."""
    rendered: list[str] = []
    room = MAX_BYTES
    for key, value in baggage.get_all(context).items():
        member = _member(key, value)
        if len(member) <= room and len(rendered) < MAX_MEMBERS:
            rendered.append(member)
            room -= len(member) + 1
    return ",".join(rendered)


def _member(key: str, value: object) -> str:
    member = f"{quote(key, safe=_KEY_PLAIN)}={quote(str(value), safe=_PLAIN)}"
    return f"{member};{value.properties}" if isinstance(value, Value) else member
