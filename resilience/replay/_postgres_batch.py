"""A batch of works as statements for Postgres, and what their rows mean."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, LiteralString

from . import _postgres_sql as sql
from .work import Begin, Free, Held, Keep, Renew, State, Work

if TYPE_CHECKING:
    from ._postgres_link import Row, Statement

__all__ = ["Question", "questions"]

_SQL: dict[type[Work], LiteralString] = {Begin: sql.BEGIN, Keep: sql.KEEP, Free: sql.FREE, Renew: sql.RENEW}


@dataclass(frozen=True, slots=True)
class Question:
    """Works of one kind on different keys, by their place in the batch."""

    works: dict[int, Work]
    statement: "Statement"

    def results(self, rows: Sequence["Row"]) -> dict[int, Held | bool]:
        """By the place in the batch."""
        by_key = {row[0]: row for row in rows}
        return {
            place: _held(one, by_key[one.key]) if isinstance(one, Begin) else one.key in by_key
            for place, one in self.works.items()
        }


def questions(service: str, work: Sequence[Work]) -> list[Question]:
    """As few as the order of works on the same key allows."""
    groups: list[dict[type[Work], dict[int, Work]]] = []
    last: dict[bytes, int] = {}  # the group of the last work on a key
    for place, one in enumerate(work):
        number = last.get(one.key, -1) + 1
        last[one.key] = number
        if number == len(groups):
            groups.append({})
        groups[number].setdefault(type(one), {})[place] = one
    return [
        Question(works, (_SQL[kind], _values(service, list(works.values()))))
        for group in groups
        for kind, works in group.items()
    ]


def _values(service: str, works: Sequence[Work]) -> Mapping[str, object]:
    """Arrays in the order of the works; a statement takes those that it names."""
    return {
        "service": service,
        "keys": [one.key for one in works],
        "owners": [one.owner for one in works],
        "leases": [one.lease for one in works if isinstance(one, Begin | Renew)],
        "retentions": [one.retention for one in works if isinstance(one, Begin | Keep)],
        "answers": [one.answer for one in works if isinstance(one, Keep)],
        "taken_over": [one.key for one in works if isinstance(one, Begin) and one.take_over],
    }


def _held(one: Begin, row: "Row") -> Held:
    _, new, flag, answer, left = row
    if new:
        return Held(State.NEW, again=flag is True)
    if flag:
        return Held(State.KEPT, answer if isinstance(answer, bytes) else None)
    seconds = left if isinstance(left, float) else 0.0
    if seconds > 0 or one.take_over:  # its lease may have ended since it was not taken over
        return Held(State.BUSY, left=max(seconds, 0.001))
    return Held(State.BROKEN)
