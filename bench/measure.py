"""Interleaved rounds: every variant is timed in every round, in a new order, and compared within it."""

import asyncio
import gc
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

__all__ = ["Rounds", "Variant", "run"]


@dataclass(frozen=True)
class Variant:
    """One way to do the same work. `around` switches its instrumentation on for its turn."""

    name: str
    call: Callable[[], Awaitable[object]]
    around: Callable[[], AbstractContextManager[object]]


@dataclass(frozen=True)
class Rounds:
    """Microseconds per call, by variant, one figure for each round."""

    figures: Mapping[str, list[float]]

    def median(self, name: str) -> float:
        return statistics.median(self.figures[name])

    def added(self, name: str, base: str) -> list[float]:
        """What the variant costs over the base, round by round."""
        return [a - b for a, b in zip(self.figures[name], self.figures[base], strict=True)]

    def ratio(self, name: str, peer: str, base: str) -> tuple[float, float, float]:
        """Added cost over the peer's added cost: 10th percentile, median, 90th percentile."""
        pairs = zip(self.added(name, base), self.added(peer, base), strict=True)
        ratios = sorted(mine / theirs for mine, theirs in pairs)
        last = len(ratios) - 1
        return ratios[last // 10], statistics.median(ratios), ratios[last - last // 10]


def run(variants: list[Variant], *, rounds: int, calls: int) -> Rounds:
    """Time `calls` calls of each variant in each of `rounds` rounds, after a warm-up round."""
    figures: dict[str, list[float]] = {variant.name: [] for variant in variants}
    order = list(variants)
    dice = random.Random(20)
    for number in range(rounds + 1):
        dice.shuffle(order)
        for variant in order:
            with variant.around():
                gc.collect()
                spent = asyncio.run(_many(variant.call, calls))
            if number:
                figures[variant.name].append(spent / calls * 1e6)
    return Rounds(figures)


async def _many(call: Callable[[], Awaitable[object]], calls: int) -> float:
    for _ in range(calls // 10):
        await call()
    start = time.perf_counter()
    for _ in range(calls):
        await call()
    return time.perf_counter() - start
