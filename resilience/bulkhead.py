"""The bulkhead: how many calls to one origin may be under way at a time, and how many may wait."""

import asyncio
from typing import TypeVar

from ._permits import OnThread, Permits, Waiter, on_loop
from .adaptive import Gradient2
from .call import Call
from .classify import Count, Verdict
from .errors import BulkheadFull
from .events import CallQueued, CallRejected
from .policy import Next, NextSync, Tools

__all__ = ["Bulkhead"]

R = TypeVar("R")

_OVERLOAD = {"timeout", "429", "503"}


class Bulkhead:
    """Lets `limit` calls at a time through; `queue` more wait in order, each `wait` seconds at most.

    It stands inside the breaker and outside the attempt's timeout: who waits spends the whole
    call's time, never past its end, and none of the attempt's. A permit is given back when the
    step inside returns or raises: for a response that is streamed, when its headers are there.

    On a thread that runs an event loop nobody waits: that would hold the loop.

    The state is in `permits`, shared by every pipeline to the origin and by all loops and threads;
    the numbers are this policy's own. With `adaptive` the limit follows the latency, up to `limit`.

    Raises `BulkheadFull`; nobody knows when a place becomes free, so its `retry_after` is None.
    """

    __slots__ = ("_adaptive", "_most", "_now", "_queue", "_tools", "_wait", "limit", "permits", "target")

    def __init__(
        self,
        target: str,
        *,
        limit: int = 1000,
        queue: int = 100,
        wait: float = 1.0,
        permits: Permits | None = None,
        adaptive: Gradient2 | None = None,
        tools: Tools | None = None,
    ) -> None:
        self.target = target
        self.limit = limit if adaptive is None else min(limit, adaptive.limit)
        """Calls that may be under way at a time, as of now."""
        self.permits = permits or Permits()
        self._most = limit
        self._queue = queue
        self._wait = wait
        self._adaptive = adaptive
        self._tools = tools or Tools()
        self._now = self._tools.clock.now

    def of(self, target: str, permits: Permits) -> "Bulkhead":
        """The same numbers for another origin, of which nothing is to be learned."""
        other = object.__new__(Bulkhead)
        other.target = target
        other.limit = other._most = self._most
        other.permits = permits
        other._queue = self._queue
        other._wait = self._wait
        other._adaptive = None
        other._tools = self._tools
        other._now = self._now
        return other

    @property
    def under_way(self) -> int:
        """Calls that hold a permit."""
        return len(self.permits.held)

    @property
    def queued(self) -> int:
        """Calls that wait for one."""
        return len(self.permits.waiting)

    def has_room(self) -> bool:
        """Whether a call would be let in at once."""
        return not self.permits.waiting and len(self.permits.held) < self.limit

    def wrap(self, call_next: Next[R]) -> Next[R]:
        """The step for an event loop."""
        permits, inner = self.permits, self._measured(call_next) if self._adaptive else call_next

        async def run(
            call: "Call[R]",
            self: "Bulkhead" = self,
            permits: "Permits" = permits,
            held: "list[None]" = permits.held,
            waiting: "list[Waiter]" = permits.waiting,
            inner: "Next[R]" = inner,
        ) -> "R":
            # Written out, since every call comes here; what it relies on is said in `Permits`.
            held.append(None)
            if waiting or len(held) > self.limit:
                held.pop()
                await self._enter(call)
            try:
                return await inner(call)
            finally:
                held.pop()
                if waiting:
                    permits.serve()

        return run

    def wrap_sync(self, call_next: NextSync[R]) -> NextSync[R]:
        """The step for a thread; no lock is held while the call runs."""
        permits, inner = self.permits, self._measured_sync(call_next) if self._adaptive else call_next

        def run(
            call: "Call[R]",
            self: "Bulkhead" = self,
            permits: "Permits" = permits,
            held: "list[None]" = permits.held,
            waiting: "list[Waiter]" = permits.waiting,
            inner: "NextSync[R]" = inner,
        ) -> "R":
            held.append(None)
            if waiting or len(held) > self.limit:
                held.pop()
                self._enter_sync(call)
            try:
                return inner(call)
            finally:
                held.pop()
                if waiting:
                    permits.serve()

        return run

    async def _enter(self, call: Call[R]) -> None:
        """Wait for a permit on a loop; raises BulkheadFull."""
        began, place = self._now(), on_loop()
        waiter = self.permits.enter(self, self._queue, place.wake)
        if waiter is None:
            raise self._refuse(call, None)
        if waiter.granted:
            return
        try:
            await place.wait(self._patience(call, began))
        except BaseException:
            self._abandon(waiter)
            raise
        self._settle(call, waiter, began)

    def _enter_sync(self, call: Call[R]) -> None:
        """The same on a thread."""
        began, place = self._now(), OnThread()
        # A synchronous call on a loop's thread must not hold the loop, on which those it waits for may run.
        queue = self._queue if asyncio._get_running_loop() is None else 0
        waiter = self.permits.enter(self, queue, place.wake)
        if waiter is None:
            raise self._refuse(call, None)
        if waiter.granted:
            return
        try:
            place.wait(self._patience(call, began))
        except BaseException:
            self._abandon(waiter)
            raise
        self._settle(call, waiter, began)

    def _patience(self, call: Call[R], now: float) -> float:
        return max(0.0, min(self._wait, call.ends - now))

    def _abandon(self, waiter: Waiter) -> None:
        if self.permits.leave(waiter):  # the permit came just before the cancellation
            self.permits.release()

    def _settle(self, call: Call[R], waiter: Waiter, began: float) -> None:
        """The wait is over: with a permit, or without."""
        waited = self._now() - began
        if not self.permits.leave(waiter):
            raise self._refuse(call, waited)
        try:
            self._tools.emit(CallQueued(self.target, call.operation, waited, self.limit))
        except BaseException:
            self.permits.release()
            raise

    def _refuse(self, call: Call[R], waited: float | None) -> BulkheadFull:
        state = f"{self.limit} calls to {self.target} are under way"
        if waited is not None:
            text = f"{state}, and none ended within {waited:.2g} s"
        elif queued := self.queued:
            text = f"{state}, and {queued} more wait"
        else:
            text = state
        if call.attempt == 1:
            # A refused resend is told by Retry: that call was sent, and its own outcome goes up.
            name = "handrail.BulkheadFull"
            self._tools.emit(CallRejected(self.target, call.operation, BulkheadFull.policy, name, None))
        return BulkheadFull(text, target=self.target)

    def _measured(self, call_next: Next[R]) -> Next[R]:
        async def run(call: "Call[R]") -> R:
            began = self._begun()
            try:
                result = await call_next(call)
            except Exception:
                self._learn(call.verdict, began)
                raise
            self._learn(call.verdict, began)
            return result

        return run

    def _measured_sync(self, call_next: NextSync[R]) -> NextSync[R]:
        def run(call: "Call[R]") -> R:
            began = self._begun()
            try:
                result = call_next(call)
            except Exception:
                self._learn(call.verdict, began)
                raise
            self._learn(call.verdict, began)
            return result

        return run

    def _begun(self) -> float:
        if self._adaptive is not None:
            self.limit = min(self._most, self._adaptive.limit)  # a pipeline with other settings may have moved it
        return self._now()

    def _learn(self, verdict: Verdict, began: float) -> None:
        """Tell the algorithm how long it took; what says nothing about the peer's load is not told."""
        adaptive = self._adaptive
        if adaptive is None:
            return
        if verdict.count is Count.SUCCESS:
            adaptive.took(began, self._now(), len(self.permits.held), self._most)
        elif verdict.cause in _OVERLOAD:
            adaptive.dropped(began, self._now(), self._most)
        else:
            return
        self.limit = min(self._most, adaptive.limit)  # more room is handed out as this call gives its permit back

    def __repr__(self) -> str:
        limit = f"{self._most} at a time" if self._adaptive is None else f"adaptive, {self._most} at most"
        return f"Bulkhead({limit}, {self._queue} wait up to {self._wait:g} s)"
