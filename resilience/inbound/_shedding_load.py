"""What one event loop has under way, what waits, and who is let in next. Nothing here knows of ASGI."""

import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..events import Listener, LoadSheddingChanged
from ._shedding_limit import FoundLimit
from ._shedding_loop import LoopQueue
from ._shedding_queue import TARGET, Cell, Queue, Waiter
from ._shedding_window import WINDOW
from .settings import InboundSettings
from .streams import OpenStreams

if TYPE_CHECKING:
    import asyncio

__all__ = ["Load"]

_log = logging.getLogger("handrail")
_SHARES = (1.0, 1.0, 0.75, 0.5)
"""Of the limit, for each level: sheddable leaves room. critical_plus has twice as much for itself alone."""
_FREE_SHARE = min(_SHARES)
_PARKED = 2.0
"""Seconds under way, at least and four times what slow routes take: then a request is taken to wait for something."""
_QUIET = 5.0
"""Seconds without a refusal, until it is said that shedding has ended."""


class Load:
    """Of one event loop; `loop` is None where it is not asyncio's: then nothing waits. Not for several threads."""

    def __init__(
        self,
        settings: InboundSettings,
        loop: "asyncio.AbstractEventLoop | None",
        now: Callable[[], float],
        emit: Listener,
        used: Callable[[], float],
        streams: OpenStreams,
    ) -> None:
        self.streams = streams
        self.loop = loop
        self.now = now
        self._emit = emit
        self._most = settings.load_max
        self.queue = Queue(settings.load_queue, settings.load_queue_wait)
        self.waits = settings.load_queue > 0 and loop is not None
        self.ended = 0
        self._turned_away = 0
        self.skip = 0
        """Requests that may end without being told of, until the next one is."""
        self.found = FoundLimit(settings.load_max, now(), self, holds=self.waits)
        self._longest_wait = settings.load_queue_wait
        self.under_way = 0
        """Requests that count against the limit."""
        self.parked = 0
        """Those under way for so long that they wait for something else: they count against `load_max` alone."""
        self.uppermost = 0
        """Those of critical_plus among them that came when not everybody was let in at once."""
        self.cell = Cell(now())
        self._cells = deque([self.cell])
        self.loop_queue = None if loop is None else LoopQueue(self, loop, now, used)
        self.unwatched = True
        self._sweeping = False
        self.room = 0
        """As long as fewer are under way, whoever comes is let in at once."""
        self._shedding_since = self._refused_at = 0.0
        self.refused = 0
        """Since shedding began."""
        self.recount()

    def watch(self) -> None:
        """Requests come: the event loop is looked at from now on, until none comes."""
        self.unwatched = False
        if self.loop_queue is not None:
            self.loop_queue.begin()

    @property
    def came(self) -> int:
        """All of them, counted where that costs nothing."""
        return self.ended + self.under_way + self.parked + self.queue.count + self._turned_away

    @property
    def gated(self) -> bool:
        """Whether requests are let in one by one."""
        return self.loop_queue is not None and self.loop_queue.gated

    def recount(self) -> None:
        """Find `room` anew."""
        if self.queue.count or self.gated:
            self.room = 0
        else:
            self.room = min(int(_FREE_SHARE * self.found.limit), self.found.room(), self._most - self.parked)

    def comes(self) -> None:
        """One more, where not everybody is let in at once."""
        if not self.gated and self.found.comes(self.now(), self.under_way):
            self.skip = 0
            self._relimited()

    def _relimited(self) -> None:
        """Another limit: who waits, and how long."""
        found = self.found
        self.queue.held = found.holding
        self.queue.wait = min(self._longest_wait, max(TARGET, found.usual)) if found.binds else self._longest_wait
        self.recount()

    def fits(self, level: int) -> bool:
        """Whether there is room for one more of this level."""
        if self.under_way + self.parked >= self._most:
            return False
        if level == 0 and self.uppermost < 2 * self.found.limit:
            return True
        return self.under_way < _SHARES[level] * self.found.limit

    def enter(self) -> Cell:
        """One more is under way. Its cell goes to `leave`."""
        self.under_way += 1
        cell = self.cell
        cell.count += 1
        return cell

    def leave(self, cell: Cell, key: object = None, began: float = 0.0, ahead: int = 0) -> None:
        """One has ended; `key` is its route, None where its latency says nothing."""
        now = self.now()
        self.ended += 1
        cell.count -= 1
        if not cell.recent:
            self.parked -= 1
            closed = self.found.ended(now)
            self.recount()
        else:
            self.under_way -= 1
            closed = self.found.ended(now) if key is None else self.found.took(key, began, now, ahead)
            if self.found.stride:  # and one more each other time, lest two routes that take turns hide one of them
                self.skip = self.found.stride + (self.ended & 1)
        if closed:
            self._turn_over(now)
        if self.queue.count:
            self.drain(now)

    def _turn_over(self, now: float) -> None:
        """A window has closed: another limit, another cell, and old ones that are parked from now on."""
        if now >= self.cell.since + WINDOW:
            self.cell = Cell(now)
            self._cells.append(self.cell)
        bound = max(_PARKED, 4 * self.found.longest)
        while self._cells[0].since < now - bound and len(self._cells) > 1:
            old = self._cells.popleft()
            old.recent = False
            self.under_way -= old.count
            self.parked += old.count
            self.found.parked(old.count, bound)
        self._relimited()
        if self._shedding_since:
            self._ended(now)

    def wait(self, level: int, until: float) -> Waiter | str:
        """A place in the queue, or why there is none. asyncio alone."""
        if not self.gated:
            self.found.pressed = True
        if self.loop is None or not (self.waits or self.gated):
            return "limit"
        now = self.now()
        waiter = Waiter(level, now, until, self.loop.create_future())
        gone = self.queue.put(waiter)
        self.room = 0
        if gone is waiter:
            self.recount()
            return "queue"
        if gone is not None:
            gone.future.set_result("queue")
        if self.gated:
            self._kick()
        self._sweep_later()
        return waiter

    def abandon(self, waiter: Waiter) -> None:
        """Who waited has gone: out of the queue, or out of the place that it was just given."""
        if waiter.cell is not None:
            if waiter.level == 0:
                self.uppermost -= 1
            self.leave(waiter.cell)
            return
        self._turned_away += 1
        self.queue.drop(waiter)
        if not self.queue.count:
            self.recount()

    def drain(self, now: float) -> None:
        """Let in who fits; where one by one, at its turn."""
        if self.gated:
            if self.queue.count:
                self._kick()
            return
        while self.let_one_in(now):
            pass

    def let_one_in(self, now: float) -> bool:
        """Whether there was one, and room for it."""
        queue = self.queue
        while queue.count and self.fits(queue.top()):
            waiter = queue.next(now)
            if not queue.count:
                self.recount()
            if not waiter.future.done():  # cancelled, and not yet run
                waiter.cell = self.enter()
                if waiter.level == 0:
                    self.uppermost += 1
                waiter.future.set_result("")
                return True
        return False

    def expire(self, now: float) -> None:
        """Refuse those that have waited too long."""
        if self.queue.held and self.found.stale(now, self.under_way):
            self._relimited()
            self.drain(now)
        why = "delay" if self.gated else "limit"
        for waiter in self.queue.late(now):
            if not waiter.future.done():
                waiter.future.set_result(why)
        while not self.queue.held and (over := self.queue.over()) is not None:
            if not over.future.done():
                over.future.set_result("queue")
        if not self.queue.count:
            self.recount()

    def _kick(self) -> None:
        if self.loop_queue is not None and self.fits(self.queue.top()):
            self.loop_queue.kick()

    def _sweep_later(self) -> None:
        if not self._sweeping and self.loop is not None:
            self._sweeping = True
            self.loop.call_later(TARGET, self._sweep)

    def _sweep(self) -> None:
        self._sweeping = False
        now = self.now()
        self.expire(now)
        self.drain(now)
        if self.queue.count:
            self._sweep_later()

    def shed(self, reason: str) -> None:
        """One was refused. The first says so, once."""
        now = self._refused_at = self.now()
        self.refused += 1
        self._turned_away += 1
        if self._shedding_since:
            return
        self._shedding_since = now
        found = self.found
        _log.warning(
            "load shedding began (%s): %d requests under way, %d waiting, limit %d; latency %.1f x the usual, "
            "event loop %d ms late",
            reason,
            self.under_way + self.parked,
            self.queue.count,
            found.limit,
            found.inflation,
            1000 * (0.0 if self.loop_queue is None else self.loop_queue.late),
        )
        self._emit(LoadSheddingChanged("", "", True, reason, self.under_way + self.parked, found.limit, 1, 0.0))
        if self.loop is not None:
            self.loop.call_later(_QUIET, self._quiet)

    def _quiet(self) -> None:
        if self._shedding_since and not self._ended(self.now()) and self.loop is not None:
            self.loop.call_later(_QUIET, self._quiet)

    def _ended(self, now: float) -> bool:
        """Say that shedding is over, once it has been for a while."""
        if now - self._refused_at < _QUIET:
            return False
        lasted = self._refused_at - self._shedding_since
        self._shedding_since = 0.0
        refused, self.refused = self.refused, 0
        _log.warning("load shedding ended: %d requests were refused in %.1f s", refused, lasted)
        under_way = self.under_way + self.parked
        self._emit(LoadSheddingChanged("", "", False, "", under_way, self.found.limit, refused, lasted))
        return True
