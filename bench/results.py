"""The figures of one run, row by row, and as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from .contenders import find
from .instructions import Count
from .rows import Row
from .timing import Rounds, Spread

__all__ = ["Result", "added", "as_json", "names", "results"]


@dataclass(frozen=True)
class Result:
    """One row: added cost over added cost in instructions and in time, None where that was not measured."""

    row: Row
    instructions: float | None
    time: Spread | None

    @property
    def ratio(self) -> float | None:
        """What the target is held against: instructions, which repeat, else the median of time."""
        return self.instructions if self.instructions is not None else self.time.middle if self.time else None

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is no target or no figure."""
        if self.row.target is None or self.ratio is None:
            return None
        return self.ratio <= self.row.target


def names(rows: Sequence[Row]) -> list[str]:
    """Every contender that these rows need, bases first, each once."""
    found: dict[str, None] = {}
    for row in rows:
        if row.group == "lag":  # a process of another kind
            continue
        for name in (row.peer, row.ours):
            base = find(name).base
            found.update({base: None, name: None} if base else {name: None})
    return list(found)


def added(counts: Mapping[str, Count], name: str) -> float:
    """Instructions that the contender costs over its base."""
    base = find(name).base
    return counts[name].each - (counts[base].each if base else 0)


def results(rows: Sequence[Row], counts: Mapping[str, Count] | None, rounds: Rounds | None) -> list[Result]:
    """Put together what was measured."""
    return [
        Result(
            row,
            added(counts, row.ours) / added(counts, row.peer) if counts else None,
            rounds.ratio(row.ours, row.peer) if rounds else None,
        )
        for row in rows
    ]


def as_json(found: Sequence[Result], counts: Mapping[str, Count] | None, rounds: Rounds | None) -> dict[str, object]:
    """`rows` with ratio, target and verdict; `contenders` with their added cost."""
    contenders: dict[str, dict[str, object]] = {}
    for name in names([result.row for result in found]):
        contenders[name] = {
            "title": find(name).title,
            "base": find(name).base,
            "instructions": counts[name].each if counts else None,
            "instructions_added": added(counts, name) if counts else None,
            "instructions_bend": counts[name].bend if counts else None,
            "microseconds": asdict(Spread.of(rounds.figures[name])) if rounds else None,
            "microseconds_added": asdict(Spread.of(rounds.added(name))) if rounds else None,
        }
    return {
        "rows": [
            asdict(result.row)
            | {
                "instructions": result.instructions,
                "time": asdict(result.time) if result.time else None,
                "met": result.met,
            }
            for result in found
        ],
        "contenders": contenders,
    }
