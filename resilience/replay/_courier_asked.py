"""One question of one request, on the way from its event loop to the courier's thread and back."""

import asyncio
import sys
from collections.abc import Callable
from typing import Protocol

import anyio

from ._away import StoreAway
from .work import Begin, Held, State, Work

__all__ = ["Asked", "Desk", "asked", "is_new"]

Result = Held | bool


class Desk(Protocol):
    """What a question needs of the courier that carries it."""

    def now(self) -> float:
        """Monotonic seconds."""
        ...

    def give_back(self, begin: Begin, /) -> None:
        """Free a key that nobody wants any more."""
        ...


class _Token(Protocol):
    def run_sync_soon(self, call: Callable[[], object], /) -> None: ...


def is_new(result: object) -> bool:
    """Whether somebody has a key now, and must give it back where he cannot use it."""
    return isinstance(result, Held) and result.state is State.NEW


class Asked:
    """On asyncio. `gone`: nobody waits any more; what has not been sent need not be."""

    __slots__ = ("_desk", "_future", "_loop", "gone", "sent", "work")

    def __init__(self, work: Work, desk: Desk, loop: asyncio.AbstractEventLoop) -> None:
        self.work = work
        self.gone = False
        self.sent = 0.0
        """When it was first sent, by the desk's clock: a lease may have begun then."""
        self._desk = desk
        self._loop = loop
        self._future: asyncio.Future[Result] = loop.create_future()

    @property
    def place(self) -> object:
        """Where it waits: all of one place are answered by one call."""
        return self._loop

    def soon(self, call: Callable[[], object]) -> None:
        """Call it in that place, from any thread; raises RuntimeError where the loop is closed."""
        self._loop.call_soon_threadsafe(call)

    async def answer(self, seconds: float) -> Result:
        """Wait for it; raises StoreAway after `seconds`, or where it is settled so."""
        future = self._future
        timer = self._loop.call_later(seconds, self._late, seconds)
        try:
            return await future
        except BaseException:
            # It may have come in the moment of the cancellation, and nobody else would hear of it.
            if future.done() and not future.cancelled() and future.exception() is None:
                _return(self, future.result())
            raise
        finally:
            self.gone = True
            timer.cancel()

    def _late(self, seconds: float) -> None:
        if not self._future.done():
            self._future.set_exception(_no_answer(seconds))

    def settle(self, result: Result | StoreAway) -> None:
        """Give the result to who waits, in his place; gives back a key that came too late."""
        future = self._future
        if future.done():
            _return(self, result)
        elif isinstance(outcome := _fresh(self, result), StoreAway):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)


class _OnTrio(Asked):
    """The same on trio, whose module is there when its loop runs."""

    __slots__ = ("_bell", "_result", "_token")

    def __init__(self, work: Work, desk: Desk) -> None:
        self.work = work
        self.gone = False
        self.sent = 0.0
        self._desk = desk
        self._bell = anyio.Event()
        self._result: Result | StoreAway | None = None
        self._token: _Token = sys.modules["trio"].lowlevel.current_trio_token()

    @property
    def place(self) -> object:
        return self._token

    def soon(self, call: Callable[[], object]) -> None:
        self._token.run_sync_soon(call)  # its RunFinishedError is a RuntimeError

    async def answer(self, seconds: float) -> Result:
        waited = False
        try:
            with anyio.move_on_after(seconds):
                await self._bell.wait()
            waited = True
        finally:
            self.gone = True
            if not waited and self._result is not None:
                _return(self, self._result)
        result = _no_answer(seconds) if self._result is None else self._result
        if isinstance(result, StoreAway):
            raise result
        return result

    def settle(self, result: Result | StoreAway) -> None:
        if self.gone:
            _return(self, result)
        else:
            self._result = _fresh(self, result)
            self._bell.set()


def asked(work: Work, desk: Desk) -> Asked:
    """A question of the loop that runs here."""
    loop = asyncio._get_running_loop()
    return _OnTrio(work, desk) if loop is None else Asked(work, desk, loop)


def _no_answer(seconds: float) -> StoreAway:
    return StoreAway(f"no answer within {seconds:g} s")


def _fresh(one: Asked, result: Result | StoreAway) -> Result | StoreAway:
    """The result, unless it is a key whose lease may end before anybody renews it."""
    if isinstance(work := one.work, Begin) and is_new(result):
        took = one._desk.now() - one.sent
        if took > work.lease / 2:
            one._desk.give_back(work)
            return StoreAway(f"its answer took {took:.1f} s, too long for a lease of {work.lease:g} s")
    return result


def _return(one: Asked, result: Result | StoreAway) -> None:
    """What nobody waits for any more: a key is free again."""
    if isinstance(one.work, Begin) and is_new(result):
        one._desk.give_back(one.work)
