"""Instructions for one unit of work: valgrind counts processes that do it N, 2N and 3N times; start-up cancels."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

from .contenders import find
from .worker import SLOWER, environment

__all__ = ["VALGRIND", "Count", "available", "count"]

VALGRIND = ("valgrind", "--tool=cachegrind", "--cache-sim=no")

_TOTAL = re.compile(r"I\s+refs:\s+([\d,]+)")


@dataclass(frozen=True)
class Count:
    """Instructions for each unit; `bend` is by how much the two halves of the line differ, as a share of it."""

    each: float
    bend: float


def available() -> bool:
    """Whether valgrind is here to count."""
    return shutil.which("valgrind") is not None


def count(names: Iterable[str], *, points: int = 3) -> dict[str, Count]:
    """By contender. Two `points` are enough for the figure, the third says whether it is a line."""
    names = list(names)
    with ThreadPoolExecutor(max(1, (os.cpu_count() or 2) - 1)) as pool:
        totals = {name: pool.submit(_totals, name, points) for name in names}
        return {name: _slope(name, totals[name].result()) for name in names}


def _slope(name: str, totals: list[int]) -> Count:
    contender = find(name)
    rises = [(b - a) / contender.step / contender.units for a, b in pairwise(totals)]
    each = sum(rises) / len(rises)
    return Count(each, (max(rises) - min(rises)) / each)


def _totals(name: str, points: int) -> list[int]:
    """One process that forks: what came before is the same for each number of times, whatever happens to files."""
    times = [str(find(name).step * number) for number in range(1, points + 1)]
    done = subprocess.run(
        [*VALGRIND, "--cachegrind-out-file=/dev/null", sys.executable, "-m", "bench.worker", "count", name, *times],
        env=environment() | {SLOWER: "50"},  # about what valgrind makes of it
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        check=False,
    )
    found = [int(total.replace(",", "")) for total in _TOTAL.findall(done.stderr)]
    if done.returncode or len(found) != points + 1:  # the last is the parent's
        raise RuntimeError(f"{name} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return found[:points]
