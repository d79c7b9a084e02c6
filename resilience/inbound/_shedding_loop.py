"""The other queue of a service: the event loop's own. Handlers that compute are never two under way, and yet all wait.

Where the loop has been late for 100 ms, although it did nothing but requests (a second, where it was others who had the
processor), these are let in one by one, with turns
of the loop between, so that what has come meanwhile is read before the next is chosen (see `_shedding_queue.py`).
The signal is CoDel's: how late, and for how long without a break (Nichols and Jacobson, ACM Queue, 2012; for servers
Maurer, "Fail at Scale", 2015; for services DAGOR, Zhou and others, 2018).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from ._shedding_queue import CALM, STANDING, TARGET

if TYPE_CHECKING:
    import asyncio

    from ._shedding_load import Load

__all__ = ["LoopQueue"]

BEAT = 0.02
"""Seconds between two looks, while requests come."""
LATE = 0.02
"""Seconds: DAGOR's threshold of the queueing time."""
QUEUED = 8
"""Requests that must have ended within the lateness: one that holds the loop for a second is not a queue."""
WORTH = 0.001
"""Seconds that a request holds the loop, at least: to refuse cheaper ones costs as much as to serve them."""
FALLING = 0.95
"""Of the lateness before: it passes by itself, as after a pause of the collector."""
ITS_OWN, IDLE = 0.7, 0.3
"""Of that time, the part that the process had the processor: below, others had it, or it was stopped."""
STARVING = 1.0
"""Seconds for which the others are an excuse."""
PAUSE = 0.25
"""Seconds: a process that did not run for as long was stopped, or nobody ran its event loop."""
TURNS = 6
"""Of the loop, from one request let in to the choice of the next: it runs, the sockets are read, tasks begin."""
LONGEST = 0.1
"""Seconds: to what requests that hold the loop for long stretch the target."""


class LoopQueue:
    """Of one event loop of asyncio, or of uvloop."""

    def __init__(
        self, load: "Load", loop: "asyncio.AbstractEventLoop", now: Callable[[], float], used: Callable[[], float]
    ) -> None:
        self._load = load
        self._loop = loop
        self._now = now
        self._used = used
        """Seconds of the processor that this process has had."""
        self._had = self._had_since = 0.0
        self.gated = False
        """Whether requests are let in one by one."""
        self.late = 0.0
        """Seconds, at the last look."""
        self._due = 0.0
        self._came = self._ended = self._looks = 0
        self._since = self._began = self._before = 0.0
        self._turning = False
        self._left = 0
        self._hold = self._let_in = 0.0

    def begin(self) -> None:
        """Requests come: look from now on, until none comes."""
        self._came = -1
        self._ended = self._load.ended
        self._next(self._now())

    def _next(self, now: float) -> None:
        self._due = now + BEAT
        self._had = self._used()
        self._loop.call_later(BEAT, self._look)

    def _look(self) -> None:
        now = self._now()
        self.late = max(0.0, now - self._due)
        load = self._load
        ended, self._ended = load.ended - self._ended, load.ended
        had = self._used() - self._had
        if self.late >= LATE and had < ITS_OWN * self.late:
            load.found.starved(now)
            if self.late >= PAUSE and had < IDLE * self.late:
                self._looks = 0
                load.found.paused(now)
                self._next(now)
                return
        if self.gated:
            if not load.queue.count and now - self._began > CALM and not load.queue.overloaded(now):
                self.gated = False
                load.recount()
        elif self._standing(now, ended):
            self.gated = True
            self._began = now
            self._hold = (self.late + BEAT) / ended
            load.recount()
        if load.came == self._came and not self.gated:
            load.unwatched = True
            return
        self._came = load.came
        self._next(now)

    def _standing(self, now: float, ended: int) -> bool:
        before, self._before = self._before, self.late
        if self.late < LATE or ended < QUEUED or self.late + BEAT < ended * WORTH:
            self._looks = 0
            return False
        self._looks += 1
        if self._looks == 1:
            self._since = self._due
            self._had_since = self._had
        elif self.late < FALLING * before:
            self._looks, self._since = 1, now
            self._had_since = self._used()
        lasts = now - self._since
        its_own = self._used() - self._had_since >= ITS_OWN * lasts
        return self._looks > 1 and lasts >= (STANDING if its_own else STARVING)

    def kick(self) -> None:
        """Somebody waits: the loop turns, and then one is let in."""
        if not self._turning:
            self._turning = True
            self._left = TURNS
            self._let_in = 0.0
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._left -= 1
        if self._left > 0:
            self._loop.call_soon(self._turn)
            return
        now = self._now()
        load = self._load
        load.expire(now)
        if not self.gated or not load.let_one_in(now):
            self._turning = False
            load.drain(now)
            return
        if self._let_in:
            self._hold += 0.1 * (now - self._let_in - self._hold)
            load.queue.target = max(TARGET, min(LONGEST, 4 * self._hold))
        self._let_in = now
        self._left = TURNS
        self._loop.call_soon(self._turn)
