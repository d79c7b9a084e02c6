"""Work that must finish, whoever gives up: the client, the server, the caller's deadline."""

import asyncio
import logging
from collections.abc import Awaitable
from typing import Any, Generic, TypeVar

import anyio

from ..bound import variable
from ..clock import Clock, SystemClock
from ._idempotency_task import outlive

__all__ = ["finish", "shield"]

T = TypeVar("T")
_log = logging.getLogger("handrail")
_under_way: "set[_Shielded[Any]]" = set()


async def shield(work: Awaitable[T]) -> T:
    """Wait for `work`, which goes on to its end when the waiting is cancelled; gives its result, raises its error.

        await handrail.shield(refund(order))

    It runs in a task of its own (trio: a system task) that the cancellation of its caller does not reach, whether by a
    client that has gone, by a server that ends, or by the caller's deadline. Calls out that it makes are not bound by
    that deadline. Its spans are children of the span that is current now. The end of the process waits for it, within
    `drain_timeout`. An error that nobody waits for any more is logged.

    As `asyncio.shield`, and held: the loop keeps its tasks by weak references only.
    """
    one = _Shielded(work)
    await outlive(one)
    return one.result


async def finish(seconds: float, clock: Clock | None = None) -> None:
    """Wait for all shielded work of this loop: so many seconds at most. For the end of a process."""
    try:
        with (clock or SystemClock()).timeout(seconds):
            while left := _here():
                await left[0].finished()
    except TimeoutError:
        names = sorted({one.name for one in _here()})
        _log.warning("shielded work is cut off at the end: %s", ", ".join(names))


def _here() -> "list[_Shielded[Any]]":
    home = asyncio._get_running_loop()
    return [one for one in tuple(_under_way) if one.home is home]


class _Shielded(Generic[T]):
    result: T

    def __init__(self, work: Awaitable[T]) -> None:
        self._work = work
        self._finished: anyio.Event | None = None
        self.name = getattr(work, "__qualname__", type(work).__name__)
        self.home = asyncio._get_running_loop()
        _under_way.add(self)

    async def run(self) -> None:
        variable.set(None)  # in a context of its own
        try:
            self.result = await self._work
        finally:
            self._over()

    def never_ran(self) -> None:
        self._over()
        close = getattr(self._work, "close", None)  # of a coroutine: else it complains that nobody awaited it
        if close is not None:
            close()

    def left(self) -> None:
        pass

    def ended(self, error: BaseException | None) -> None:
        if error is not None:
            _log.error(
                "%s was shielded, went on when nobody waited for it any more, and failed", self.name, exc_info=error
            )

    async def finished(self) -> None:
        if self._finished is None:
            self._finished = anyio.Event()
        await self._finished.wait()

    def _over(self) -> None:
        _under_way.discard(self)
        if self._finished is not None:
            self._finished.set()
