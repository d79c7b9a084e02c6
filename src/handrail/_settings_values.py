"""What one setting may look like: in code, in the environment as text, in TOML."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from math import isnan, nan
from pathlib import Path

from .tracing._environ import NAME, is_name, plain

__all__ = ["Kind", "Problem", "Rates", "Value", "from_object", "from_text", "message"]

Rates = tuple[tuple[str, float], ...]
"""(pattern, rate), in the order in which they are tried."""

Words = tuple[tuple[str, str], ...]
"""(pattern, word), in the order in which they are tried."""

Value = bool | int | float | str | Path | tuple[str, ...] | Rates | Words

_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})


_MOST_SHOWN = 200
"""Characters of a wrong value."""


class Kind(Enum):
    """The shape of a setting; the value is what a message says is allowed."""

    BOOL = "true or false (also 1/0, yes/no, on/off)"
    COUNT = "a whole number, such as 3"
    SECONDS = "seconds as a plain number, such as 0.5"
    NUMBER = "a number, such as 2"
    RATE = "a number from 0 to 1, such as 0.5"
    TEXT = "a text that is not empty"
    PATH = "the path of a folder"
    LIST = "a list of texts, such as a,b"
    RATES = "rates by pattern, such as /search=0.1,/poll/*=0"
    WORDS = "words by pattern, such as /reports/*=sheddable"
    SWITCH = 'true, false, or "production" where the environment is that'
    FAULTS = "a list of faults, such as out error=503 POST http://payment:8003 every=3"
    ORIGINS = 'a table of settings by origin, such as {"http://payment:8003" = {attempts = 1}}'


@dataclass(frozen=True, slots=True)
class Problem:
    """One setting that cannot be used: `origin` is where the value stands."""

    name: str
    value: object
    allowed: str
    origin: str

    @property
    def setting(self) -> str:
        """Name and value as they were written."""
        shown = repr(self.value)
        if "://" in shown:  # a URL may hold a password
            from .tracing import redact

            shown = redact.text(shown)
        if len(shown) > _MOST_SHOWN:
            shown = f"{shown[:_MOST_SHOWN]}..."
        return f"{self.name} = {shown}"

    def __str__(self) -> str:
        return f"{self.setting} ({self.origin}): {self.allowed}"


def message(problems: "tuple[Problem, ...] | list[Problem]") -> str:
    """All problems as one text, a line for each, in the order in which they were found."""
    head = "1 setting cannot be used:" if len(problems) == 1 else f"{len(problems)} settings cannot be used:"
    return "\n  ".join([head, *(str(problem) for problem in problems)])


_NUMBERS = frozenset({Kind.SECONDS, Kind.RATE, Kind.NUMBER})
_CHAOS = frozenset({Kind.SWITCH, Kind.FAULTS})
_SEVERAL = frozenset({Kind.LIST, Kind.RATES, Kind.WORDS}) | _CHAOS


def from_text(kind: Kind, text: str) -> Value:
    """The value of an environment variable. ValueError carries what is allowed."""
    if kind in _CHAOS:
        return _chaos(kind, text, text=True)
    if kind is Kind.BOOL:
        if text.lower() in _TRUE:
            return True
        if text.lower() in _FALSE:
            return False
        raise ValueError(f"must be {kind.value}")
    if kind is Kind.TEXT or kind is Kind.PATH:
        return from_object(kind, text)
    if kind in _SEVERAL:
        words = tuple(word.strip() for word in text.split(",") if word.strip())
        return words if kind is Kind.LIST else _PAIRS[kind](_pair(word) for word in words)
    try:
        number: int | float = int(plain(text)) if kind is Kind.COUNT else float(plain(text))
    except ValueError:
        raise ValueError(f"must be {kind.value}{_unit_hint(kind, text)}") from None
    return from_object(kind, number)


def _pair(word: str) -> tuple[str, str]:
    pattern, _, value = word.rpartition("=")
    return pattern, value


def from_object(kind: Kind, value: object) -> Value:
    """The value of an argument or of a TOML key; numbers are numbers there, not texts."""
    if kind in _SEVERAL:
        return _several(kind, value)
    # bool is an int to Python, never to a reader of settings.
    if kind is Kind.BOOL:
        if isinstance(value, bool):
            return value
    elif kind is Kind.COUNT:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    elif kind in _NUMBERS:
        if isinstance(value, int | float) and not isinstance(value, bool) and not isnan(value):
            return float(value)
    elif kind is Kind.TEXT:
        if isinstance(value, str) and value.strip():
            if not is_name(value.strip()):
                raise ValueError(f"must be {NAME}")
            return value.strip()
    elif isinstance(value, str | os.PathLike) and str(value).strip() and "\0" not in str(value):
        return Path(value)
    quoted = isinstance(value, str) and kind not in {Kind.TEXT, Kind.PATH}
    allowed = "true or false" if kind is Kind.BOOL else kind.value
    raise ValueError(f"must be {allowed}{', without quotes' if quoted else ''}")


def _chaos(kind: Kind, value: object, *, text: bool) -> Value:
    from . import _settings_chaos as chaos  # what nobody switches on is not loaded

    return chaos.switch_from(value, text=text) if kind is Kind.SWITCH else chaos.faults_from(value, text=text)


def _several(kind: Kind, value: object) -> Value:
    """A list of texts, or a table by pattern, as code and TOML write them."""
    if kind in _CHAOS:
        return _chaos(kind, value, text=False)
    if kind in _PAIRS and isinstance(value, Mapping):
        return _PAIRS[kind](value.items())
    if kind is Kind.LIST and isinstance(value, list | tuple | set | frozenset):
        words = [word.strip() if isinstance(word, str) else "" for word in value]
        if all(words):
            return tuple(words)
    raise ValueError(_IN_CODE[kind])


_IN_CODE = {
    Kind.LIST: 'must be a list of texts, such as ["a", "b"]',
    Kind.RATES: 'must be a table of rates by pattern, such as {"/search" = 0.1}',
    Kind.WORDS: 'must be a table of words by pattern, such as {"/reports/*" = "sheddable"}',
}


def _rates(pairs: Iterable[tuple[object, object]]) -> Rates:
    found: list[tuple[str, float]] = []
    for pattern, rate in pairs:
        try:
            if isinstance(rate, str):
                number = float(plain(rate))
            else:
                number = float(rate) if isinstance(rate, int | float) and not isinstance(rate, bool) else nan
        except ValueError:
            number = nan
        if not isinstance(pattern, str) or not pattern.strip() or not 0 <= number <= 1:
            raise ValueError(f"must be {Kind.RATES.value}, each rate from 0 to 1")
        found.append((pattern.strip(), number))
    return tuple(found)


def _words(pairs: Iterable[tuple[object, object]]) -> Words:
    found: list[tuple[str, str]] = []
    for pattern, word in pairs:
        if not (isinstance(pattern, str) and pattern.strip() and isinstance(word, str) and word.strip()):
            raise ValueError(f"must be {Kind.WORDS.value}")
        found.append((pattern.strip(), word.strip()))
    return tuple(found)


_PAIRS: Mapping[Kind, Callable[[Iterable[tuple[object, object]]], Rates | Words]] = {
    Kind.RATES: _rates,
    Kind.WORDS: _words,
}


def _unit_hint(kind: Kind, text: str) -> str:
    """`500ms` is a fair guess at a duration: answer with the number that was meant."""
    if kind is not Kind.SECONDS:
        return ""
    for unit, factor in (("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)):
        if text.lower().endswith(unit):
            try:
                return f"; write {float(text[: -len(unit)]) * factor:g}"
            except ValueError:
                return ""
    return ""
