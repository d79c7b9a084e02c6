"""Processor time for one unit of work: contenders in processes of their own take turns, and are compared per round."""

import random
import statistics
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from .contenders import find
from .worker import environment

__all__ = ["Rounds", "Spread", "run"]


@dataclass(frozen=True)
class Spread:
    """The 10th percentile, the median and the 90th percentile over the rounds."""

    low: float
    middle: float
    high: float

    @staticmethod
    def of(values: Iterable[float]) -> "Spread":
        """Of at least one value."""
        found = sorted(values)
        last = len(found) - 1
        return Spread(found[last // 10], statistics.median(found), found[last - last // 10])


@dataclass(frozen=True)
class Rounds:
    """Microseconds for each unit, by contender, one figure for each round."""

    figures: Mapping[str, list[float]]

    def added(self, name: str) -> list[float]:
        """What the contender costs over its base, round by round."""
        base = find(name).base
        if base is None:
            return self.figures[name]
        return [mine - bare for mine, bare in zip(self.figures[name], self.figures[base], strict=True)]

    def ratio(self, name: str, peer: str) -> Spread:
        """Added cost over the peer's added cost in the same round."""
        pairs = zip(self.added(name), self.added(peer), strict=True)
        return Spread.of(mine / theirs for mine, theirs in pairs)


def run(names: Iterable[str], *, rounds: int, times: int) -> Rounds:
    """Time `times` repetitions of each contender in each of `rounds` rounds, each in a new order."""
    names = list(names)
    figures: dict[str, list[float]] = {name: [] for name in names}
    dice = random.Random(20)
    with ExitStack() as stack:
        workers = {name: stack.enter_context(_worker(name)) for name in names}
        for number in range(rounds + 1):
            dice.shuffle(names)
            for name in names:
                spent = _ask(name, workers[name], times)
                if number:
                    figures[name].append(spent / 1000 / times)
        for worker in workers.values():
            assert worker.stdin is not None
            worker.stdin.close()
    return Rounds(figures)


def _worker(name: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bench.worker", "time", name]
    return subprocess.Popen(
        command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )


def _ask(name: str, worker: subprocess.Popen[str], times: int) -> int:
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(f"{times}\n")
    answer = worker.stdout.readline()
    if not answer:
        raise RuntimeError(f"{name} ended with {worker.wait()}")
    return int(answer)
