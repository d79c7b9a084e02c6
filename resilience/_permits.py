"""Places for calls to one origin: counted without a lock, waited for in order, on loops and threads alike.

Who holds a place has an entry in `held`; append and pop are atomic, with the GIL and without. One
rule keeps every wake-up: whoever takes an entry out, or puts a waiter in, looks afterwards whether
there is a waiter as well as room (`serve`). The last to look sees both.
"""

import asyncio
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

import anyio

from ._forked import ReentrantLock

__all__ = ["Gate", "Permits", "Waiter"]


class Gate(Protocol):
    """Whoever lets calls in; several with limits of their own may share one `Permits`."""

    limit: int
    """Calls that may be under way at a time."""


class Waiter:
    """A call in the queue. `granted` changes under the lock of its `Permits` alone."""

    __slots__ = ("gate", "granted", "wake")

    def __init__(self, gate: Gate, wake: Callable[[], object]) -> None:
        self.gate = gate
        self.granted = False
        self.wake = wake
        """Raises RuntimeError where the loop that it would wake is gone."""


class Permits:
    """The calls under way to one origin, and those that wait. Safe for threads.

    The way in without waiting is written out where it is used, for it is on every call's path:
    nobody waits, `held.append(None)`, and no more than `limit` are in it now. Who finds more takes
    the entry out again and goes to `enter`; of two who see each other's entry both do, and neither
    is forgotten. The way out is `held.pop()`, then `serve()` where somebody waits.
    """

    __slots__ = ("_lock", "held", "waiting")

    def __init__(self, lock: "threading.RLock | None" = None) -> None:
        """`lock`: one that is shared with what else is known of the origin."""
        self.held: list[None] = []
        self.waiting: list[Waiter] = []  # a deque would be most of what an idle origin weighs
        # Reentrant: a collected coroutine gives its place back wherever the collector happens to run.
        self._lock = lock or ReentrantLock()

    def enter(self, gate: Gate, queue: int, wake: Callable[[], object]) -> Waiter | None:
        """A place in the queue, with or without its permit; None where `queue` wait already."""
        self.serve()
        waiter = Waiter(gate, wake)
        with self._lock:
            while not self.waiting and len(self.held) < gate.limit:
                if self.take(gate.limit):
                    waiter.granted = True
                    return waiter
            if len(self.waiting) >= queue:
                return None
            self.waiting.append(waiter)
        self.serve()
        return waiter

    def leave(self, waiter: Waiter) -> bool:
        """The wait is over, for whatever reason; whether it ended with a permit, which is the waiter's then."""
        with self._lock:
            if waiter.granted:
                return True
            with suppress(ValueError):
                self.waiting.remove(waiter)
        self.serve()  # those behind it may have a larger limit
        return False

    def release(self) -> None:
        """Give one permit back."""
        self.held.pop()
        if self.waiting:
            self.serve()

    def serve(self) -> None:
        """Hand the room that there is to who waits, the first first."""
        if not self.waiting:
            return
        with self._lock, suppress(IndexError):  # the last waiter left in the midst of it: see the lock
            while len(self.held) < self.waiting[0].gate.limit:
                if not self.take(self.waiting[0].gate.limit):
                    continue
                try:
                    waiter = self.waiting.pop(0)
                except IndexError:
                    self.held.pop()
                    raise
                waiter.granted = True
                try:
                    waiter.wake()
                except RuntimeError:
                    waiter.granted = False
                    self.held.pop()

    def take(self, limit: int) -> bool:
        """Whether there was room for one more; if not, `serve` or `enter` is the caller's to do."""
        self.held.append(None)
        if len(self.held) <= limit:
            return True
        self.held.pop()
        return False


class OnThread:
    """Waits on a thread."""

    __slots__ = ("_gate",)

    def __init__(self) -> None:
        self._gate = threading.Lock()
        self._gate.acquire()

    def wake(self) -> None:
        self._gate.release()

    def wait(self, seconds: float) -> None:
        self._gate.acquire(timeout=min(seconds, threading.TIMEOUT_MAX))


class OnLoop:
    """Waits on an asyncio loop; woken from wherever a place becomes free."""

    __slots__ = ("_future", "_loop")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[None] = self._loop.create_future()

    def wake(self) -> None:
        if asyncio._get_running_loop() is self._loop:
            self._ring()
        else:
            self._loop.call_soon_threadsafe(self._ring)

    async def wait(self, seconds: float) -> None:
        timer = self._loop.call_later(seconds, self._ring)
        try:
            await self._future
        finally:
            timer.cancel()

    def _ring(self) -> None:
        if not self._future.done():
            self._future.set_result(None)


class OnTrio:
    """The same on trio, whose module is there when its loop runs."""

    __slots__ = ("_event", "_soon")

    def __init__(self) -> None:
        self._event = anyio.Event()
        token = sys.modules["trio"].lowlevel.current_trio_token()
        self._soon: Callable[[Callable[[], None]], None] = token.run_sync_soon

    def wake(self) -> None:
        self._soon(self._event.set)  # its RunFinishedError is a RuntimeError

    async def wait(self, seconds: float) -> None:
        with anyio.move_on_after(seconds):
            await self._event.wait()


def on_loop() -> OnLoop | OnTrio:
    """A wait on the loop that runs here."""
    return OnTrio() if asyncio._get_running_loop() is None else OnLoop()
