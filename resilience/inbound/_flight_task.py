"""A run of the app that belongs to no request: a task of its own, on asyncio and on trio."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import Any

import anyio

__all__ = ["Apart"]

_running: "set[asyncio.Task[None]]" = set()
"""A loop holds its tasks weakly."""


class Apart:
    """`work` in a task of its own, in a copy of this context; `over` is told what it raised, None where it returned."""

    def __init__(
        self, work: Callable[[], Coroutine[Any, Any, None]], over: Callable[[BaseException | None], None]
    ) -> None:
        self._work = work
        self._over = over
        self._ended = anyio.Event()
        self._scope: anyio.CancelScope | None = None
        self._task: asyncio.Task[None] | None = None
        self._told = False
        loop = asyncio._get_running_loop()
        if loop is None:
            trio: Any = sys.modules["trio"]  # whose loop this is
            self._scope = anyio.CancelScope()
            trio.lowlevel.spawn_system_task(self._on_trio, context=copy_context())
        else:
            self._task = loop.create_task(self._run())
            _running.add(self._task)
            self._task.add_done_callback(self._done)

    async def end(self) -> None:
        """Cancel it, and wait until it is over."""
        if self._ended.is_set():
            return
        if self._task is not None:
            self._task.cancel()
        else:
            assert self._scope is not None
            self._scope.cancel()
        with anyio.CancelScope(shield=True):  # whoever ends it is being cancelled
            await self._ended.wait()

    async def _run(self) -> None:
        try:
            await self._work()
        except GeneratorExit:
            raise  # thrown away with its event loop
        except BaseException as error:  # all of them: a loop would end by SystemExit, past whoever waits
            self._tell(error)
        else:
            self._tell(None)

    async def _on_trio(self) -> None:
        assert self._scope is not None
        trio: Any = sys.modules["trio"]
        try:
            with self._scope:
                await self._work()
        except trio.Cancelled:
            self._tell(None)
            raise  # trio ends, and its system tasks with it
        except BaseException as error:  # all of them: what leaves a system task brings trio down
            self._tell(error)
        else:
            self._tell(None)

    def _done(self, task: "asyncio.Task[None]") -> None:
        _running.discard(task)
        if not self._told and task.cancelled():  # before it began
            self._tell(asyncio.CancelledError())

    def _tell(self, error: BaseException | None) -> None:
        self._told = True
        self._over(error)
        self._ended.set()
        del self._over, self._work  # they lead back here: work for the collector
