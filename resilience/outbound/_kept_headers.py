"""Headers of an answer that is kept: compared in lower case, given again as they were written."""

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["lower", "spelled", "spelling"]

Pairs = tuple[tuple[str, str], ...]


def lower(pairs: Iterable[tuple[Any, Any]]) -> Pairs:
    """As the rules of `stale` read them; names and values may be bytes."""
    return tuple((_text(name).lower(), _text(value)) for name, value in pairs)


def spelling(names: Iterable[str]) -> dict[str, str]:
    """How the peer wrote each name."""
    return {name.lower(): name for name in names}


def spelled(pairs: Pairs, names: Mapping[str, str]) -> list[tuple[str, str]]:
    """The same headers as the peer wrote them."""
    return [(names.get(name, name), value) for name, value in pairs]


def _text(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
