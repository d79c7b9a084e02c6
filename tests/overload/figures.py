"""What the phases of a trial say in numbers, and the table that shows them."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.overload.customers import BROKEN, IMPATIENT, Phase, Seen

__all__ = ["Figures", "figures", "late", "recovery", "table"]

WINDOW = 1.0
WELL = 0.95
"""Recovered is who answers this share of the requests of one `WINDOW` as he did before the overload."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One phase: requests a second and shares of those that were asked; milliseconds."""

    offered: float
    goodput: float
    p50: float
    p99: float
    refused: int
    refused_p50: float
    refused_p99: float
    impatient: int
    broken: int
    failed: int
    priority: float
    plain: float
    sheddable: float


def figures(phase: Phase, seen: Sequence[Seen], since: float = 0.0) -> Figures:
    """Of the requests that were asked after the first `since` seconds."""
    mine = [one for one in seen if one.due >= since]
    seconds = phase.seconds - since or math.nan
    good = [one for one in mine if one.status == 200]
    refused = [one for one in mine if one.status == 503]
    return Figures(
        offered=len(mine) / seconds,
        goodput=len(good) / seconds,
        p50=_centile(good, 0.5),
        p99=_centile(good, 0.99),
        refused=len(refused),
        refused_p50=_centile(refused, 0.5),
        refused_p99=_centile(refused, 0.99),
        impatient=sum(one.status == IMPATIENT for one in mine),
        broken=sum(one.status == BROKEN for one in mine),
        failed=sum(one.status not in {200, 503, IMPATIENT, BROKEN} for one in mine),
        priority=_served(mine, "priority"),
        plain=_served(mine, "plain"),
        sheddable=_served(mine, "sheddable"),
    )


def late(seen: Iterable[Seen]) -> float:
    """How late, in milliseconds, the latest percent of the requests was asked: what the load generator answers for."""
    found = sorted(one.late for one in seen)
    return found[math.ceil(0.99 * len(found)) - 1] * 1000 if found else math.nan


def recovery(phase: Phase, seen: Sequence[Seen], bound: float) -> float | None:
    """Seconds from the end of the overload to the first `WINDOW` in which all is as before: answered within `bound`
    milliseconds. None where there is no such window.
    """
    ordered = sorted(seen, key=lambda one: one.due)
    for first in (0.0, *(one.due for one in ordered)):
        if first + WINDOW > phase.seconds:
            break
        window = [one for one in ordered if first <= one.due < first + WINDOW]
        well = sum(one.status == 200 and one.took * 1000 <= bound for one in window)
        if window and well >= WELL * len(window):
            return first
    return None


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Markdown, in columns."""
    lines = [list(head), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    texts = ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in lines]
    return "\n".join([texts[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *texts[1:]])


def _centile(seen: Sequence[Seen], share: float) -> float:
    found = sorted(one.took for one in seen)
    return found[math.ceil(share * len(found)) - 1] * 1000 if found else math.nan


def _served(seen: Sequence[Seen], kind: str) -> float:
    mine = [one.status for one in seen if one.kind == kind]
    return mine.count(200) / len(mine) if mine else math.nan
