"""Time and chance, the two things that policies may not reach for themselves."""

import asyncio
import random
import time
from collections.abc import Callable
from math import inf
from types import TracebackType
from typing import Any, Protocol

import anyio

from .timer import loop_timer

__all__ = ["Clock", "Jitter", "SystemClock", "Timer"]

Jitter = Callable[[], float]
"""A draw from [0, 1)."""


class Timer(Protocol):
    """A block that may not last longer than it was given; entered inside a running task."""

    @property
    def task(self) -> "asyncio.Task[Any] | None":
        """The task in the block that may be cancelled; None where it may not any more, and on trio."""
        ...

    spare: float
    """Seconds by which it may last longer, once, as far as the event loop was late meanwhile. Not on trio."""

    def __enter__(self) -> "Timer":
        """Start to run."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> bool | None:
        """Stop; raises TimeoutError where the time was up and nothing else had happened."""
        ...

    def expired(self) -> bool:
        """Whether the time is up, also while the cancellation is still on its way."""
        ...

    def starved(self) -> bool:
        """Whether the event loop was late for half of the time since it began, or more. Not on trio."""
        ...

    def stop(self) -> None:
        """The block may last as long as it likes from now on; where the time is up already, that stands."""
        ...


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

    def sleep_sync(self, seconds: float, /) -> None:
        """Block the current thread."""
        ...

    def timeout(self, seconds: float, first: Callable[[], float] | None = None) -> Timer:
        """A block that raises TimeoutError when it lasts longer; an outer cancellation passes through.

        `first` is asked when the time is up: seconds more that the block may have. Not asked on trio.
        """
        ...


class SystemClock:
    """The machine's clock: timers of asyncio, or anyio's where another loop runs."""

    now = staticmethod(time.monotonic)
    wall = staticmethod(time.time)
    sleep_sync = staticmethod(time.sleep)

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)

    def timeout(self, seconds: float, first: Callable[[], float] | None = None) -> Timer:
        loop = asyncio._get_running_loop()
        return loop_timer(seconds, loop, first) if loop is not None else _ScopeTimer(seconds)


class _ScopeTimer:
    """The same on another loop (trio)."""

    task = None

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.spare = 0.0
        self._scope = anyio.CancelScope()

    def __enter__(self) -> "Timer":
        self._scope.deadline = anyio.current_time() + self._seconds
        self._scope.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> bool | None:
        caught = self._scope.__exit__(kind, error, trace)
        if self._scope.cancelled_caught:
            raise TimeoutError
        return caught

    def expired(self) -> bool:
        return self._scope.cancel_called

    def starved(self) -> bool:
        return False

    def stop(self) -> None:
        self._scope.deadline = inf


system_random: Jitter = random.random
