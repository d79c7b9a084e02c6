"""A batch of works as statements for Postgres, and what their rows mean."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import _postgres_sql as sql
from ._postgres_wire import Row, blobs, flag, float8s, number, text, texts
from .work import Begin, Held, Keep, Renew, State, Work

if TYPE_CHECKING:
    from ._postgres_link import Statement

__all__ = ["Question", "questions"]


@dataclass(frozen=True, slots=True)
class Question:
    """Works of one kind on different keys, by their place in the batch."""

    works: dict[int, Work]
    statement: "Statement"

    def results(self, rows: Sequence[Row]) -> dict[int, Held | bool]:
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
        Question(works, _statement(kind, service, list(works.values())))
        for group in groups
        for kind, works in group.items()
    ]


def _statement(kind: type[Work], service: str, works: Sequence[Work]) -> "Statement":
    """For works of that kind; all arrays are in their order."""
    whose = (text(service), blobs([one.key for one in works]), texts([one.owner for one in works]))
    leases = [one.lease for one in works if isinstance(one, Begin | Renew)]
    retentions = [one.retention for one in works if isinstance(one, Begin | Keep)]
    if kind is Begin:
        taken_over = [one.key for one in works if isinstance(one, Begin) and one.take_over]
        return sql.BEGIN, (*whose, float8s(leases), float8s(retentions), blobs(taken_over))
    if kind is Keep:
        answers = [one.answer for one in works if isinstance(one, Keep)]
        return sql.KEEP, (*whose, blobs(answers), float8s(retentions))
    return (sql.RENEW, (*whose, float8s(leases))) if kind is Renew else (sql.FREE, whose)


def _held(one: Begin, row: Row) -> Held:
    _, new, again_or_kept, answer, left = row
    if flag(new):
        return Held(State.NEW, again=flag(again_or_kept))
    if flag(again_or_kept):
        return Held(State.KEPT, answer)
    seconds = number(left)
    if seconds > 0 or one.take_over:  # its lease may have ended since it was not taken over
        return Held(State.BUSY, left=max(seconds, 0.001))
    return Held(State.BROKEN)
