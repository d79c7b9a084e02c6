"""Time and chance, the two things that policies may not reach for themselves."""

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from collections.abc import AsyncIterator
from typing import Protocol

import anyio

__all__ = ["Clock", "Jitter", "SystemClock"]

Jitter = Callable[[], float]
"""A draw from [0, 1)."""


class Clock(Protocol):
    """All that a policy knows of time. Seconds throughout."""

    def now(self) -> float:
        """Monotonic seconds; only differences mean anything."""
        ...

    def wall(self) -> float:
        """Seconds since the epoch, for HTTP dates alone."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Suspend the current task."""
        ...

    def sleep_sync(self, seconds: float) -> None:
        """Block the current thread."""
        ...

    def timeout(self, seconds: float) -> AbstractAsyncContextManager[object]:
        """A block that raises TimeoutError when it lasts longer; an outer cancellation passes through."""
        ...


class SystemClock:
    """The machine's clock: asyncio's timers, or anyio's where another loop runs."""

    now = staticmethod(time.monotonic)
    wall = staticmethod(time.time)
    sleep_sync = staticmethod(time.sleep)

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)

    def timeout(self, seconds: float) -> AbstractAsyncContextManager[object]:
        # asyncio's own timer costs a fifth of a cancel scope.
        if asyncio._get_running_loop() is not None:
            return asyncio.timeout(seconds)
        return _fail_after(seconds)


@asynccontextmanager
async def _fail_after(seconds: float) -> AsyncIterator[None]:
    with anyio.fail_after(seconds):
        yield


system_random: Jitter = random.random
