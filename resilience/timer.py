"""Timers on an asyncio loop: one handle of the loop for all attempts that are under way.

`asyncio.timeout` makes a handle, a copy of the context and two coroutines for every attempt,
though hardly one of them ever rings; this costs a third of it. What happens when one does ring
is the same as there: the task is cancelled, and the end of the block makes it a TimeoutError
unless somebody else cancelled the task as well.
"""

import asyncio
import threading
from contextvars import Context
from heapq import heapify, heappop, heappush
from itertools import count
from math import inf
from types import TracebackType
from typing import Any

__all__ = ["LoopTimer", "loop_timer"]

_SLACK = 64
"""Finished timers that may wait in the heap before it is cleared of them."""


class LoopTimer:
    """A block on the running task that may not last longer; made by `loop_timer`."""

    __slots__ = ("_cancelling", "_ends", "_queue", "_rang", "_task")

    def __init__(self, queue: "_Queue", ends: float) -> None:
        self._queue = queue
        self._ends = ends
        self._rang = False
        self._task: asyncio.Task[Any] | None = None
        self._cancelling = 0

    def expired(self) -> bool:
        """Whether it rang, also while the cancellation is still on its way."""
        return self._rang

    def __enter__(self) -> "LoopTimer":
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a timeout needs a running task")
        self._task = task
        self._cancelling = task.cancelling()
        self._queue.add(self._ends, self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        task, self._task = self._task, None
        self._queue.drop()
        if self._rang and task is not None:
            ours = task.uncancel() <= self._cancelling
            if ours and kind is not None and issubclass(kind, asyncio.CancelledError):
                raise TimeoutError from error

    def ring(self) -> None:
        """The time is up: cancel the task, once."""
        if self._task is not None:
            self._rang = True
            self._task.cancel()

    @property
    def running(self) -> bool:
        """Whether its block has not ended yet."""
        return self._task is not None


class _Queue:
    """The timers of one loop, by the time they ring."""

    __slots__ = ("_armed", "_handle", "_heap", "_running", "_ticket", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._heap: list[tuple[float, int, LoopTimer]] = []
        self._ticket = count().__next__
        self._running = 0
        self._armed = inf
        self._handle: asyncio.TimerHandle | None = None

    def add(self, ends: float, timer: LoopTimer) -> None:
        heappush(self._heap, (ends, self._ticket(), timer))
        self._running += 1
        if ends < self._armed:
            self._arm(ends)

    def drop(self) -> None:
        # Finished timers are left where they are: to find one would cost more than to keep it.
        self._running -= 1
        if len(self._heap) > 2 * self._running + _SLACK:
            self._heap = [item for item in self._heap if item[2].running]
            heapify(self._heap)

    def _arm(self, ends: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._armed = ends
        # An empty context: the handle outlives the request that happened to make it.
        self._handle = self.loop.call_at(ends, self._ring, context=Context())

    def _ring(self) -> None:
        self._armed, self._handle = inf, None
        now = self.loop.time()
        while self._heap:
            ends, _, timer = self._heap[0]
            if timer.running and ends > now:
                self._arm(ends)
                return
            heappop(self._heap)
            timer.ring()


class _OfThread(threading.local):
    queue: _Queue | None = None


_of_thread = _OfThread()


def loop_timer(seconds: float) -> LoopTimer:
    """A block on the running asyncio loop that raises TimeoutError when it lasts longer than `seconds`."""
    loop = asyncio.get_running_loop()
    queue = _of_thread.queue
    if queue is None or queue.loop is not loop:
        queue = _of_thread.queue = _Queue(loop)
    return LoopTimer(queue, loop.time() + seconds)
