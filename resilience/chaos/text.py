"""Faults as settings write them: one line, or a table.

    [in|out|both] KIND[=VALUE] [METHOD] [WHERE] [name=value ...]

    out error=503 POST http://payment:8003/charge every=3 retry_after=1
    in latency=0.5 /orders/* share=0.2 from=10 for=60
    partition payment service=order

VALUE is the seconds of latency and hang, and the status of error. Names: retry_after, share, every, times, from,
until, for (seconds after `from`), service. A table has the same names, and kind, direction, method, where, seconds,
status.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import datetime, timedelta
from math import inf
from typing import Any

from .fault import DIRECTIONS, KINDS, Fault

__all__ = ["from_table", "parsed", "written"]

_VALUE = {"latency": "seconds", "hang": "seconds", "error": "status"}
_FIELD = {"from": "after"}
_SHORT = ("retry_after", "share", "every", "times", "from", "until", "for", "service")
_WRITTEN = ("retry_after", "share", "every", "times", "after", "until", "service")
_DEFAULTS = {spec.name: spec.default for spec in fields(Fault)}


def parsed(text: str) -> Fault:
    """The fault of one line. ValueError says what is wrong with it."""
    words = text.split()
    table: dict[str, object] = {}
    if words and words[0] in DIRECTIONS:
        table["direction"] = words.pop(0)
    kind, equals, value = words.pop(0).partition("=") if words else ("", "", "")
    if kind not in KINDS:
        raise ValueError(f"must begin with in, out or both and a kind ({', '.join(KINDS)}), such as out error=503")
    table["kind"] = kind
    if equals:
        if kind not in _VALUE:
            raise ValueError(f"{kind} takes no value")
        table[_VALUE[kind]] = value
    for word in words:
        name, equals, value = word.partition("=")
        if equals and name in _SHORT:
            key = name
        elif word.isalpha() and word.isupper():
            key, value = "method", word
        elif not equals or "/" in word:
            key, value = "where", word
        else:
            raise ValueError(f"{word!r} is not known here: a METHOD, a place, or one of {', '.join(_SHORT)} with =")
        if key in table:
            raise ValueError(f"{word!r}: {key} was said before")
        table[key] = value
    return from_table(table)


def from_table(table: Mapping[str, object]) -> Fault:
    """The fault of a table, whose values may be texts. ValueError says what is wrong with it."""
    values: dict[str, Any] = {}
    for name, value in table.items():
        field = _FIELD.get(name, name)
        if field not in _READ or not isinstance(value, str | int | float | datetime) or isinstance(value, bool):
            raise ValueError(f"{name!r} is not known here: a fault has {', '.join(_known())}")
        try:
            values[field] = _READ[field](value)
        except ValueError:
            raise ValueError(f"{name} = {value!r} is no {_ALLOWED.get(field, 'text')}") from None
    if "for" in values:
        if "until" in values:
            raise ValueError("either until or for")
        lasts, after = values.pop("for"), values.get("after", 0.0)
        values["until"] = after + (timedelta(seconds=lasts) if isinstance(after, datetime) else lasts)
    if "kind" not in values:
        raise ValueError(f"needs a kind: {', '.join(KINDS)}")
    return Fault(**values)


def written(fault: Fault) -> str:
    """The line that `parsed` reads."""
    words: list[str] = [] if fault.kind == "partition" and fault.direction == "both" else [fault.direction]
    value = {"latency": fault.seconds, "hang": fault.seconds, "error": fault.status}.get(fault.kind)
    words.append(fault.kind if not value else f"{fault.kind}={_shown(value)}")
    words += [word for word in (fault.method, fault.where) if word]
    names = {field: name for name, field in _FIELD.items()}
    for field in _WRITTEN:
        found = getattr(fault, field)
        if found != _DEFAULTS[field]:
            words.append(f"{names.get(field, field)}={_shown(found)}")
    return " ".join(words)


def _shown(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float) and float(short := f"{value:g}") == value:
        return short
    return str(value)


def _moment(value: object) -> object:
    if isinstance(value, datetime):
        return value
    try:
        return float(str(value))
    except ValueError:
        return datetime.fromisoformat(str(value))


def _whole(value: object) -> int:
    return int(str(value))


def _number(value: object) -> float:
    number = float(str(value))
    if number != number or number == inf:
        raise ValueError
    return number


def _known() -> list[str]:
    return [{"after": "from"}.get(name, name) for name in _READ]


_READ: Mapping[str, Callable[[object], object]] = {
    "kind": str,
    "direction": str,
    "where": str,
    "method": str,
    "seconds": _number,
    "status": _whole,
    "retry_after": _number,
    "share": _number,
    "every": _whole,
    "times": _whole,
    "after": _moment,
    "until": _moment,
    "for": _number,
    "service": str,
}
_ALLOWED = {
    **dict.fromkeys(("seconds", "retry_after", "for"), "number of seconds"),
    **dict.fromkeys(("status", "every", "times"), "whole number"),
    **dict.fromkeys(("after", "until"), "number of seconds, nor a time such as 2026-11-21T17:00Z"),
    "share": "number from 0 to 1",
}
