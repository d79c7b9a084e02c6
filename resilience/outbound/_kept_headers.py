"""Headers of an answer that is kept: compared in lower case, given again as they were written."""

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["Pairs", "Spelling", "lower", "spelled", "spelling"]

Pairs = tuple[tuple[str, str], ...]
Spelling = Mapping[str, tuple[str, ...]]


def lower(pairs: Iterable[tuple[Any, Any]]) -> Pairs:
    """As the rules of `stale` read them; names and values may be bytes."""
    return tuple((_text(name).lower(), _text(value)) for name, value in pairs)


def spelling(names: Iterable[str]) -> Spelling:
    """How the peer wrote each name, each time."""
    found: dict[str, tuple[str, ...]] = {}
    for name in names:
        low = name.lower()
        found[low] = (*found.get(low, ()), name)
    return found


def spelled(pairs: Pairs, names: Spelling) -> list[tuple[str, str]]:
    """The same headers as the peer wrote them."""
    left = {name: iter(each) for name, each in names.items()}
    return [(next(left.get(name, iter(())), name), value) for name, value in pairs]


def _text(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
