"""The circuit breaker of one origin, put around a call."""

from collections.abc import Callable
from math import inf
from typing import TypeVar

from ._circuit_control import ControlledCircuit
from .call import Call
from .classify import TIMEOUT, Count
from .errors import Rejected
from .policy import Next, NextSync

__all__ = ["CircuitBreaker", "counted"]

R = TypeVar("R")


class CircuitBreaker(ControlledCircuit):
    """Refuses calls to an origin that fails too often, or too slowly.

    Closed: opens when at least `failure_rate` (0..1) of the calls of the last `window` seconds
    failed, or `slow_rate` of them took `slow_call` seconds or longer (0: not asked), and there
    were at least `minimum_calls`; where there were fewer, when as many in a row failed, however
    long that took. Open: refuses for `open_for` seconds, twice as long after each probe that
    failed, up to `open_max`, +-10 % by chance; from the start again once it stayed closed for a
    window. A probe that is answered with `Retry-After` sets the next time by that, up to `open_max`.
    Half-open: one call is the probe, the others are refused; its success closes the
    circuit, its failure opens it again, and a neutral outcome (cancelled, misuse) lets the next
    call be the probe. A probe that is not heard of for `open_for` seconds no longer blocks
    another. Just closed: two calls at a time, one more for each that succeeds, until `ramp` at a
    time or for a window (up to 2: at once); meanwhile two failures are enough to judge by.

    `isolate` opens it until `close` or `reset`; neither time nor other instances undo that.

    Raises `CircuitOpen`. What counts as a failure is said in `classify`.
    """

    __slots__ = ()

    def wrap(self, call_next: Next[R]) -> Next[R]:
        """The step for an event loop."""

        async def run(
            call: "Call[R]",
            self: "CircuitBreaker" = self,
            now: "Callable[[], float]" = self._now,
            success: "Count" = Count.SUCCESS,
            timed: "bool" = self._rules.slow_call > 0,
            limit: "float" = self._rules.slow_call or inf,
            call_next: "Next[R]" = call_next,
        ) -> "R":
            window = self._window
            permit = window or self._admit(call)
            began = now() if timed else 0.0
            try:
                result = await call_next(call)
            except BaseException as error:
                self._settle(permit, call, counted(call, error), timed and now() - began >= limit)
                raise
            ended = now()
            slow = timed and ended - began >= limit
            if window and window is self._window and call.verdict.count is success and ended < window.ends and not slow:
                window.fresh += 1  # no lock: nearly every call ends here
            else:
                self._settle(permit, call, call.verdict.count, slow, result)
            return result

        return run

    def wrap_sync(self, call_next: NextSync[R]) -> NextSync[R]:
        """The step for a thread; shares all state with the other."""

        def run(
            call: "Call[R]",
            self: "CircuitBreaker" = self,
            now: "Callable[[], float]" = self._now,
            success: "Count" = Count.SUCCESS,
            timed: "bool" = self._rules.slow_call > 0,
            limit: "float" = self._rules.slow_call or inf,
            call_next: "NextSync[R]" = call_next,
        ) -> "R":
            window = self._window
            permit = window or self._admit(call)
            began = now() if timed else 0.0
            try:
                result = call_next(call)
            except BaseException as error:
                self._settle(permit, call, counted(call, error), timed and now() - began >= limit)
                raise
            ended = now()
            slow = timed and ended - began >= limit
            if window and window is self._window and call.verdict.count is success and ended < window.ends and not slow:
                window.fresh += 1  # no lock: nearly every call ends here
            else:
                self._settle(permit, call, call.verdict.count, slow, result)
            return result

        return run

    def __repr__(self) -> str:
        return f"CircuitBreaker({self._rules})"


def counted(call: Call[R], error: BaseException) -> Count:
    """How the breaker takes a call that ended by an error."""
    # A refusal by a policy further in, and whatever ends the task, say nothing about the peer.
    if isinstance(error, Rejected) or not isinstance(error, Exception):
        return Count.NEUTRAL
    # A timeout of which the half was spent by our own event loop, and not by the peer, does not either.
    if call.verdict is TIMEOUT and call.timer is not None and call.timer.starved():
        return Count.NEUTRAL
    return call.verdict.count
