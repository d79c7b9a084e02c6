"""The requests that wait for their turn: the highest level first, within a level as in Facebook's servers.

Ben Maurer, "Fail at Scale" (ACM Queue, 2015): where the queue has not been empty for 100 ms, the newest comes first
("adaptive LIFO") and nobody waits longer than 5 ms ("controlled delay"): the old ones are given up by their clients
first. Else the first comes first, and may wait as long as the settings say.
"""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

__all__ = ["STANDING", "TARGET", "Cell", "Queue", "Waiter"]

STANDING = 0.1
"""Seconds without an empty queue: from there on it is overload and no burst (CoDel's interval)."""
TARGET = 0.005
"""Seconds that a request may wait then (CoDel's target)."""
CALM = 1.0
"""Seconds after the last moment of overload: a moment without a queue is not yet its end."""
LEVELS = 4


class Cell:
    """The requests that came in one window and are under way yet."""

    __slots__ = ("count", "recent", "since")

    def __init__(self, since: float) -> None:
        self.count = 0
        self.since = since
        self.recent = True


class Waiter:
    """One request. `until`: when its caller gives it up; `cell`: where it counts, once it is let in; `future`: empty
    then, else why it was not.
    """

    __slots__ = ("cell", "future", "level", "since", "until")

    def __init__(self, level: int, since: float, until: float, future: "asyncio.Future[str]") -> None:
        self.cell: Cell | None = None
        self.level = level
        self.since = since
        self.until = until
        self.future = future


class Queue:
    """Of one event loop; seconds. Not for several threads."""

    def __init__(self, most: int, wait: float) -> None:
        self._most = max(1, most)
        self._levels: tuple[dict[Waiter, None], ...] = tuple({} for _ in range(LEVELS))
        self._empty_at = 0.0
        self._stood = -CALM
        self.wait = wait
        """Seconds that a request may wait, where the queue does not stand."""
        self.held = False
        """Whether nobody is to be refused: it is not known yet whether this is overload."""
        self.target = TARGET
        """Grows with what one request holds the loop: who is next after it has not waited too long."""
        self.count = 0

    def __iter__(self) -> Iterator[Waiter]:
        return (waiter for level in self._levels for waiter in level)

    def overloaded(self, now: float) -> bool:
        """Whether it was not empty for 100 ms, in the last second."""
        if self.count and now - self._empty_at > STANDING:
            self._stood = now
        return now - self._stood < CALM

    def put(self, waiter: Waiter) -> Waiter | None:
        """Add one. Returns who has to go for it: the oldest of the lowest level, where the queue is full."""
        if self.count == 0:
            self._empty_at = waiter.since
        self._levels[waiter.level][waiter] = None
        self.count += 1
        return None if self.held else self.over()

    def over(self) -> Waiter | None:
        """Take out the oldest of the lowest level, where they are too many."""
        if self.count <= self._most:
            return None
        lowest = next(level for level in reversed(self._levels) if level)
        first = next(iter(lowest))
        self.drop(first)
        return first

    def drop(self, waiter: Waiter) -> None:
        """It leaves, if it is still there."""
        if self._levels[waiter.level].pop(waiter, self) is None:
            self.count -= 1

    def top(self) -> int:
        """The level of the one whose turn it is; the queue is not empty."""
        return next(number for number, level in enumerate(self._levels) if level)

    def next(self, now: float) -> Waiter:
        """Take out the one whose turn it is. The uppermost level fits as a whole: there the first comes first."""
        number = self.top()
        level = self._levels[number]
        newest = number > 0 and self.overloaded(now)
        waiter = level.popitem()[0] if newest else next(iter(level))
        level.pop(waiter, None)
        self.count -= 1
        return waiter

    def late(self, now: float) -> list[Waiter]:
        """Take out those that have waited too long."""
        found: list[Waiter] = []
        overloaded = self.overloaded(now)
        for number, level in enumerate(self._levels):
            longest = math.inf if self.held else self.wait
            if overloaded and number > 0 and not self.held:
                longest = min(longest, self.target)
            found += [waiter for waiter in level if now - waiter.since > longest or now >= waiter.until]
        for waiter in found:
            self.drop(waiter)
        return found
