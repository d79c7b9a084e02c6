"""One story in five parts: all is well, payment fails, its answers break off, shipping is dead, all is healed."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from .books import Books, audit
from .fleet import Fleet
from .load import Answer, Load, customers

__all__ = ["ENOUGH", "PHASES", "Phase", "Story", "Watcher", "environment", "play"]

ENOUGH = 0.99
"""Share of the placeable orders that have to be placed in each part in which that is possible."""

RESILIENCE = {
    "HANDRAIL_ATTEMPT_TIMEOUT": "3",
    "HANDRAIL_TOTAL_TIMEOUT": "10",
    "HANDRAIL_ATTEMPTS": "8",
    "HANDRAIL_BACKOFF_BASE": "0.05",
    "HANDRAIL_BREAKER_WINDOW": "6",
    "HANDRAIL_BREAKER_OPEN_FOR": "1.5",
    "HANDRAIL_BREAKER_OPEN_MAX": "1.5",
}
"""Shorter than the defaults, so that a breaker opens and closes while somebody looks on; and more attempts: where
each third call fails, three of them place 26 of 27 orders at most."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of the story: `seconds` long, with faults of payment, with services that are down."""

    title: str
    seconds: float
    payment: dict[str, float] = field(default_factory=dict)
    down: tuple[str, ...] = ()
    promised: bool = False
    """Whether its orders are to be placed all the same."""


@dataclass(frozen=True, slots=True)
class Story:
    """What became of the orders: all together, and in each part."""

    books: Books
    parts: tuple[tuple[Phase, Books], ...]

    def broken(self) -> list[str]:
        """What was promised and did not come true; empty when all did."""
        found = [f"{len(self.books.lost)} lost"] if self.books.lost else []
        found += [f"{len(self.books.charged_twice)} charged twice"] if self.books.charged_twice else []
        return found + [
            f"{books.placed} of {books.placeable} placed in {phase.title!r}, less than {ENOUGH:.0%}"
            for phase, books in self.parts
            if phase.promised and books.share < ENOUGH
        ]


PHASES = (
    Phase("healthy", 4, promised=True),
    Phase("payment: 503 on every third call", 6, payment={"error_every": 3}, promised=True),
    Phase("payment: charged, then cut off", 4, payment={"reset_every": 5}, promised=True),
    Phase("shipping: dead", 6, down=("shipping",)),
    Phase("healed", 4),
)

Watcher = Callable[[Phase | Answer], None]
"""Gets each phase as it begins and each answer as it comes."""


def environment(traces: Path, *, protected: bool, otlp: dict[str, str] | None = None) -> dict[str, str]:
    """The services' environment; with `otlp` (OTEL_* variables) spans also go to a collector."""
    if not protected:
        return {"HANDRAIL_ENABLED": "false"}
    exporters = {"OTEL_TRACES_EXPORTER": "otlp,local", **otlp} if otlp else {"OTEL_TRACES_EXPORTER": "local"}
    return {**RESILIENCE, **exporters, "HANDRAIL_TRACES_DIR": str(traces)}


async def play(folder: Path, environ: dict[str, str], rate: float, phases: tuple[Phase, ...], watch: Watcher) -> Story:
    """Run the story once with services of its own in `folder`; all have ended when it returns."""
    fleet = Fleet(folder, environ)
    answers: list[tuple[Phase, list[Answer]]] = []
    try:
        await asyncio.to_thread(fleet.__enter__)
        async with customers() as client:
            load = Load(fleet.url("order"), client, watch)
            for phase in phases:
                watch(phase)
                before = len(load.answers)
                async with _trouble(fleet, phase):
                    await load.send(rate, max(1, round(rate * phase.seconds)))
                answers.append((phase, load.answers[before:]))
    finally:
        await asyncio.to_thread(fleet.close)
    return Story(audit(load.answers, folder), tuple((phase, audit(told, folder)) for phase, told in answers))


@asynccontextmanager
async def _trouble(fleet: Fleet, phase: Phase) -> AsyncIterator[None]:
    if phase.payment:
        await asyncio.to_thread(lambda: fleet.fault("payment", **phase.payment))
    if phase.down:
        await asyncio.to_thread(fleet.stop, *phase.down)
    yield
    if phase.payment:
        await asyncio.to_thread(fleet.fault, "payment")
    for name in phase.down:
        await asyncio.to_thread(fleet.start, name)
