"""Hedging: where no answer has come for a while, the same request is sent once more; the first good answer counts.

Dean and Barroso, "The Tail at Scale" (CACM 56/2, 2013): a second request after the 95th percentile
of the latency cuts the tail for some per cent of load.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from copy import copy
from typing import Any, Protocol, TypeVar

from .call import Call, Resend
from .classify import OK, Count
from .errors import Rejected
from .events import HedgeSent, HedgeWon
from .policy import Next, NextSync, Tools

__all__ = ["Hedge"]

R = TypeVar("R")

_LEAST = 0.005
"""Seconds that must be left of the call for a second request to be worth its beginning."""


class Purse(Protocol):
    """What second requests are paid from: the retry budget."""

    def take(self, now: float) -> bool:
        """Whether one more may be made; it counts as made."""
        ...


class Hedge:
    """Sends a safe call a second time after `seconds` without an answer, and takes the first that is no failure.

    Only SAFE calls. A key does not make another one fit: the first request is still at work then,
    and a peer that honours keys answers the second with 409 (IETF draft on Idempotency-Key). Only
    first attempts; where both fail, Retry goes on from there, and the two were two of its attempts.
    Only where `free()` says that the peer is well and has room, the budget grants it, and time is left.

    The loser is cancelled and waited for, so that its connection is given back; an answer that it
    had is thrown away. Each of the two runs in a task of its own, in a copy of the caller's context.
    Only on asyncio: on a thread and on trio a call is sent as ever.
    """

    def __init__(
        self,
        seconds: float,
        *,
        budget: Purse | None = None,
        free: Callable[[], bool] | None = None,
        tools: Tools | None = None,
    ) -> None:
        self._seconds = seconds
        self._budget = budget
        self._free = free
        self._tools = tools or Tools()
        self._now = self._tools.clock.now

    def wrap(self, call_next: Next[R]) -> Next[R]:
        """The step for an event loop."""

        async def run(call: "Call[R]") -> R:
            if call.resend is not Resend.SAFE or call.attempt > 1 or asyncio._get_running_loop() is None:
                return await call_next(call)
            result: R = await _Race(self, call, call_next).run()
            return result

        return run

    def wrap_sync(self, call_next: NextSync[R]) -> NextSync[R]:
        """On a thread a second request would need a second thread: the step is the one inside."""
        return call_next

    def grants(self, call: Call[R]) -> bool:
        """Whether the second request may be sent now; tells it, and spends from the budget."""
        now = self._now()
        if call.one_time() or call.ends - now <= _LEAST:
            return False
        if self._free is not None and not self._free():
            return False
        if self._budget is not None and not self._budget.take(now):
            return False
        self._tools.emit(HedgeSent(call.target, call.operation, self._seconds))
        return True

    def won(self, call: Call[R], sent: float) -> None:
        """Tell that the second request answered first."""
        self._tools.emit(HedgeWon(call.target, call.operation, self._now() - sent))

    def __repr__(self) -> str:
        return f"Hedge(after {self._seconds:g} s)"


class _Race:
    """One call: its request, and perhaps a second one."""

    def __init__(self, policy: Hedge, call: Call[R], call_next: Next[R]) -> None:
        self._policy = policy
        self._call = call
        self._next = call_next
        self._tasks: dict[asyncio.Task[Any], Call[Any]] = {}

    async def run(self) -> Any:
        try:
            first = self._start(self._call)
            await asyncio.wait([first], timeout=self._policy._seconds)
            if first.done() or not self._policy.grants(self._call):
                await asyncio.wait([first])
                winner = first
            else:
                winner = await self._both(first)
            counts = self._tasks.pop(winner)
        except GeneratorExit:
            self._drop()
            raise
        except BaseException:
            await self._clear()
            raise
        if self._tasks and (cancelled := await self._clear()) is not None:
            await _to_its_end(self._throw_away(winner))
            raise cancelled
        if counts is not self._call:
            _take_over(self._call, counts)  # only now: until its end the other one's outcome is written there
        return winner.result()

    async def _both(self, first: asyncio.Task[Any]) -> asyncio.Task[Any]:
        call, twin = self._call, _twin(self._call)
        sent = self._policy._now()
        second = self._start(twin)
        running = {first, second}
        while running:
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in (first, second):
                if task in done and (task.cancelled() or _good(task, self._tasks[task])):
                    if task is second:
                        self._policy.won(call, sent)
                    return task
        # Both failed. The first one's outcome goes up, unless it was never sent.
        if not _refused(second):
            call.attempt = twin.attempt
            call.held_until = max(call.held_until, twin.held_until)
            if _refused(first):
                return second
        return first

    def _start(self, call: Call[Any]) -> asyncio.Task[Any]:
        step: Any = self._next(call)
        task = asyncio.get_running_loop().create_task(step)
        self._tasks[task] = call
        return task

    def _drop(self) -> None:
        """Nothing can be waited for any more."""
        for task in self._tasks:
            with suppress(RuntimeError):  # the loop is closed
                task.cancel()

    async def _clear(self) -> asyncio.CancelledError | None:
        """End what still runs and throw away what came; returns a cancellation of the caller meanwhile."""
        return await _to_its_end(self._cleared())

    async def _cleared(self) -> None:
        self._drop()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for task in self._tasks:
            await self._throw_away(task)

    async def _throw_away(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and task.exception() is None:
            with suppress(Exception):
                await self._call.wire.discard(task.result())


async def _to_its_end(work: Coroutine[Any, Any, None]) -> asyncio.CancelledError | None:
    """Do work that no cancellation may stop; returns the last one that came, which is the caller's to raise."""
    cancelled = None
    task = asyncio.get_running_loop().create_task(work)
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:  # as in asyncio.TaskGroup
            cancelled = error
    task.result()
    return cancelled


def _twin(call: Call[R]) -> Call[R]:
    """The call of the second request: the policies inside keep what they know of an attempt on it."""
    twin = copy(call)
    twin.attempt += 1
    twin.verdict = OK
    twin.stale = None
    twin.timer = None
    return twin


def _take_over(call: Call[R], twin: Call[R]) -> None:
    """The second request is the one that counts: what is known of it is the call's now."""
    call.attempt, call.verdict, call.timer = twin.attempt, twin.verdict, twin.timer
    call.attempt_ends, call.held_until, call.resend = twin.attempt_ends, twin.held_until, twin.resend


def _good(task: asyncio.Task[Any], call: Call[Any]) -> bool:
    return task.exception() is None and call.verdict.count is not Count.FAILURE


def _refused(task: asyncio.Task[Any]) -> bool:
    return isinstance(task.exception(), Rejected)
