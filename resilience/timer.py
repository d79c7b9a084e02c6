"""Timers on an asyncio loop: one handle of the loop for all attempts that are under way.

`asyncio.timeout` makes a handle, a copy of the context and two coroutines for every attempt,
though hardly one of them ever rings; this costs a third of it. What happens when one does ring
is the same as there: the task is cancelled, and the end of the block makes it a TimeoutError
unless somebody else cancelled the task as well.

A timer knows how long the loop was late while it ran: what a starved process, or code that holds the loop, took from
the block is not the fault of whom the block waits for.
"""

import asyncio
import threading
from asyncio import current_task, get_running_loop
from collections.abc import Callable
from contextvars import Context
from heapq import heapify, heappop, heappush
from itertools import count
from math import inf
from types import TracebackType
from typing import Any
from weakref import ref

__all__ = ["LoopTimer", "loop_timer"]

_BEAT = 1 / 16
"""Seconds between two looks at how late the loop is, where a timer rings within 4 s. Sums of it are exact."""
_FAR = 1000.0
"""Seconds until a timer rings, from which on the looks are no rarer: one in half a minute."""
_HELD = 0.05
"""Seconds that the loop was late, from which on they are given back."""
_SLACK = 64
"""Finished timers that may wait in the heap before it is cleared of them."""


class LoopTimer:
    """A block on the running task that may not last longer; made by `loop_timer`."""

    __slots__ = ("_began", "_cancelling", "_ends", "_first", "_held", "_queue", "_rang", "spare", "task")

    task: "asyncio.Task[Any] | None"
    """The task that is in the block."""
    spare: float
    """Seconds by which it may last longer, once, as far as the loop was late meanwhile; 0 at first."""

    def __init__(self, queue: "_Queue", began: float, ends: float, first: Callable[[], float] | None = None) -> None:
        self._queue = queue
        self._began = began
        self._held = queue.held + began - queue.armed if began > queue.armed else queue.held
        self._first = first
        self._ends = ends
        self.spare = 0.0
        self._rang = False
        self.task = None

    def expired(self) -> bool:
        """Whether it rang, also while the cancellation is still on its way."""
        return self._rang

    def stop(self) -> None:
        """Never ring; what has rung has."""
        if not self._rang:
            self.task = None

    def starved(self) -> bool:
        """Whether the loop was late for half of the time since it began, or more."""
        return 2 * self._lost() >= self._queue.time() - self._began

    def _lost(self) -> float:
        """Seconds since it began in which the loop was late."""
        queue = self._queue
        now = queue.time()
        return min(now - self._began, queue.held + max(0.0, now - queue.armed) - self._held)

    def __enter__(self) -> "LoopTimer":
        queue, ends = self._queue, self._ends
        task = self.task = current_task(queue.loop)
        if task is None:
            raise RuntimeError("a timeout needs a running task")
        self._cancelling = task.cancelling()
        heappush(queue.heap, (ends, queue.ticket(), self))
        if ends < queue.armed:
            queue.arm(ends)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        task, self.task = self.task, None
        heap = self._queue.heap
        if heap and heap[-1][2] is self:
            heap.pop()  # the last leaf: the others keep their order
        else:
            self._queue.left_one()
        if self._rang and task is not None:
            ours = task.uncancel() <= self._cancelling
            if ours and kind is not None and issubclass(kind, asyncio.CancelledError):
                raise TimeoutError from error

    def ring(self) -> None:
        """The time is up: cancel the task, unless there is more of it."""
        if self.task is None:
            return
        more = self._back() if self._first is None else self._first()
        if more:
            self._queue.put(self._queue.time() + more, self)
        else:
            self._rang = True
            self.task.cancel()

    def _back(self) -> float:
        """Seconds more for those in which the loop was late, once."""
        if not self.spare:
            return 0.0
        more = min(self._lost(), self.spare - (self._queue.time() - self._ends))
        self.spare = 0.0
        return more if more >= _HELD else 0.0


class _Queue:
    """The timers of one loop, by the time they ring.

    A finished timer that is not the last one stays where it is until it comes up or clearing is worth
    its cost: to find one would take longer than all the rest.
    """

    __slots__ = ("__weakref__", "_handle", "_left", "armed", "heap", "held", "loop", "ticket", "time")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.time = loop.time
        self.heap: list[tuple[float, int, LoopTimer]] = []
        self.ticket = count().__next__
        self._left = 0  # finished ones in the heap, at most
        self.armed = inf
        """When it looks next."""
        self.held = 0.0
        """Seconds, all together, by which the loop was late."""
        self._handle: asyncio.TimerHandle | None = None

    def put(self, ends: float, timer: LoopTimer) -> None:
        """Let it ring then."""
        heappush(self.heap, (ends, self.ticket(), timer))
        if ends < self.armed:
            self.arm(ends)

    def left_one(self) -> None:
        """A timer has finished and stays in the heap."""
        self._left += 1
        if 2 * self._left > len(self.heap) + _SLACK:
            self._left = 0
            self.heap = [item for item in self.heap if item[2].task is not None]
            heapify(self.heap)

    def arm(self, ends: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        now = self.time()
        self.armed = ends = min(ends, now + max(1.0, min(ends - now, _FAR) // 2) * _BEAT)
        # An empty context: the handle outlives the request that happened to make it.
        self._handle = self.loop.call_at(ends, self._ring, context=Context())

    def _ring(self) -> None:
        now = self.time()
        self.held += max(0.0, now - self.armed)
        self.armed, self._handle = inf, None
        while self.heap:
            ends, _, timer = self.heap[0]
            if ends > now and timer.task is not None:
                self.arm(ends)
                return
            heappop(self.heap)
            timer.ring()


def _none() -> _Queue | None:
    return None


class _OfThread(threading.local):
    """Holds no queue: the loop does, by its handle. A loop that is closed lets go of it, and of what never ended."""

    queue: Callable[[], _Queue | None] = staticmethod(_none)


_of_thread = _OfThread()


def loop_timer(
    seconds: float, loop: asyncio.AbstractEventLoop | None = None, first: Callable[[], float] | None = None
) -> LoopTimer:
    """A block on the running asyncio loop that raises TimeoutError when it lasts longer than `seconds`.

    `first` is asked when the time is up: seconds more that the block may have.
    """
    if loop is None:
        loop = get_running_loop()
    queue = _of_thread.queue()
    if queue is None or queue.loop is not loop:
        queue = _Queue(loop)
        _of_thread.queue = ref(queue)
    now = queue.time()
    return LoopTimer(queue, now, now + seconds, first)
