"""A request that goes on when nobody waits for it: a task of its own, and its calls into the server.

On asyncio and on trio. A server that cancels a request (a client that left, a shutdown) gets its task back at once;
what the request was for goes on to its end.
"""

import asyncio
import sys
from collections.abc import Awaitable
from contextvars import copy_context
from typing import Any, Protocol, TypeVar

import anyio

__all__ = ["KEYED", "Calls", "Cut", "Outliving", "outlive"]

KEYED = "handrail.idempotency"
"""The entry of the scope of a request that goes on when nobody waits for it."""

T = TypeVar("T")


class Cut(Exception):
    """A call into the server that was given up, because the server has given up the request."""


class Calls:
    """Calls into a server that may never return once it has cancelled the request."""

    __slots__ = ("_cut", "_scopes", "_tasks", "over")

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._cut: set[asyncio.Task[Any]] = set()
        self._scopes: set[anyio.CancelScope] = set()
        self.over = False

    async def make(self, call: Awaitable[T]) -> T:
        """Wait for one; raises Cut where `cut` is called meanwhile. Any other cancellation passes through."""
        if asyncio._get_running_loop() is None:
            return await self._make_on_trio(call)
        task = asyncio.current_task()
        assert task is not None
        others = task.cancelling()
        self._tasks.add(task)
        try:
            return await call
        except asyncio.CancelledError:
            if task in self._cut:
                self._cut.discard(task)
                if task.uncancel() <= others:
                    raise Cut from None
            raise
        finally:
            self._tasks.discard(task)
            if self._cut and task in self._cut:  # and it ended otherwise
                self._cut.discard(task)
                task.uncancel()

    async def _make_on_trio(self, call: Awaitable[T]) -> T:
        with anyio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                return await call
            finally:
                self._scopes.discard(scope)
        raise Cut

    def cut(self) -> None:
        """End all that wait, and let nobody begin another one."""
        self.over = True
        for scope in tuple(self._scopes):
            scope.cancel()
        for task in tuple(self._tasks):
            self._cut.add(task)
            task.cancel()


class Outliving(Protocol):
    """What may outlive the task that began it."""

    async def run(self) -> None:
        """Do the work; called once, in a task of its own."""

    def never_ran(self) -> None:
        """That task was cancelled before it began."""

    def left(self) -> None:
        """Nobody waits any more."""

    def ended(self, error: BaseException | None) -> None:
        """It is over, and nobody had waited to the end."""


_running: "set[asyncio.Task[None]]" = set()
"""A loop holds its tasks weakly."""


async def outlive(work: Outliving) -> None:
    """Run `work` in a task of its own and wait for it: what it raises is raised here, the same object.

    A cancellation of this task passes through at once.
    """
    loop = asyncio._get_running_loop()
    if loop is None:
        await _on_trio(work)
        return
    waiter: asyncio.Future[None] = loop.create_future()
    job = _Job(work)

    def over(task: "asyncio.Task[None]") -> None:
        _running.discard(task)
        job.over = True
        if not job.began:
            work.never_ran()
        if not waiter.done():
            waiter.set_result(None)

    task = loop.create_task(job.run())
    _running.add(task)
    task.add_done_callback(over)
    try:
        await waiter
    except BaseException:
        if job.over:  # and this task was cancelled before it heard of it
            work.ended(job.outcome(task))
        else:
            work.left()
            task.add_done_callback(lambda task: work.ended(job.outcome(task)))
        raise
    if job.error is not None:
        raise job.error
    task.result()


class _Job:
    __slots__ = ("_work", "began", "error", "over")

    def __init__(self, work: Outliving) -> None:
        self._work = work
        self.began = self.over = False
        self.error: BaseException | None = None

    async def run(self) -> None:
        self.began = True
        try:
            await self._work.run()
        except (KeyboardInterrupt, SystemExit) as error:
            self.error = error  # a loop would end by it, past whoever waits

    def outcome(self, task: "asyncio.Task[None]") -> BaseException | None:
        return self.error or (None if task.cancelled() else task.exception())


async def _on_trio(work: Outliving) -> None:
    trio: Any = sys.modules["trio"]  # whose loop this is
    over, caught = trio.Event(), list[BaseException]()
    waited = True

    async def run() -> None:
        try:
            await work.run()
        except trio.Cancelled:
            raise  # trio ends, and its system tasks with it
        except BaseException as error:  # all of them: what leaves a system task brings trio down
            caught.append(error)
        finally:
            over.set()
            if not waited:
                work.ended(caught[0] if caught else None)

    trio.lowlevel.spawn_system_task(run, context=copy_context())
    try:
        await over.wait()
    except BaseException:
        waited = False
        if over.is_set():
            work.ended(caught[0] if caught else None)
        else:
            work.left()
        raise
    if caught:
        raise caught[0]
