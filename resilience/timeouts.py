"""The two bounds in time: of the whole call, and of one attempt."""

from collections.abc import Awaitable, Callable
from math import inf
from typing import TypeVar

from .call import Call, current_deadline
from .classify import CUT_SHORT, TIMEOUT
from .clock import Timer
from .errors import AttemptTimedOut, DeadlineExceeded, TimedOut
from .events import CallTimedOut
from .policy import Next, NextSync, Tools

__all__ = ["AttemptTimeout", "TotalTimeout"]

R = TypeVar("R")


class TotalTimeout:
    """Says when the whole call must be over; AttemptTimeout and Retry keep to it.

    That is `seconds` (or the call's own `total_timeout`) from now, or the caller's deadline
    where that comes first. With the deadline already gone nothing is sent.

    Raises `DeadlineExceeded`.
    """

    def __init__(self, seconds: float, *, tools: Tools | None = None) -> None:
        self._seconds = seconds
        self._tools = tools or Tools()
        self._now = self._tools.clock.now

    def _begin(self, call: Call[R]) -> None:
        now = call.started = self._now()
        total = call.total_timeout
        ends = now + (self._seconds if total is None else total)
        deadline = current_deadline()
        if deadline is not None and deadline < ends:
            ends = deadline
        call.ends = ends
        if ends <= now:
            raise _spent(call, now, self._tools)

    def wrap(self, call_next: Next[R]) -> Next[R]:
        """The step for an event loop."""

        def run(
            call: "Call[R]",
            self: "TotalTimeout" = self,
            call_next: "Next[R]" = call_next,
        ) -> "Awaitable[R]":
            self._begin(call)
            return call_next(call)

        return run

    def wrap_sync(self, call_next: NextSync[R]) -> NextSync[R]:
        """The step for a thread."""

        def run(
            call: "Call[R]",
            self: "TotalTimeout" = self,
            call_next: "NextSync[R]" = call_next,
        ) -> "R":
            self._begin(call)
            return call_next(call)

        return run

    def __repr__(self) -> str:
        return f"TotalTimeout({self._seconds:g} s)"


class AttemptTimeout:
    """Ends an attempt after `seconds` (or the call's own `attempt_timeout`), or when the whole call must be over.

    One timer serves both bounds; which of them came first decides the error. Infinity means
    no timer. What the event loop was late meanwhile (code that holds it, a process without a
    processor) the attempt gets back, once and within the bound of the whole call: nobody was there
    to hear the peer. On a thread nothing can be interrupted: the wire is told in
    `call.attempt_ends` when it must be over, and what it raises stays its own.

    Raises `AttemptTimedOut`, `DeadlineExceeded`.
    """

    def __init__(self, seconds: float, *, tools: Tools | None = None) -> None:
        self._seconds = seconds
        self._tools = tools or Tools()
        self._now = self._tools.clock.now
        self.timer_of = self._tools.clock.timeout
        """A timer of so many seconds."""

    def _begin(self, call: Call[R]) -> float:
        """Say when the attempt must be over; returns the time now."""
        now = self._now()
        limit = call.attempt_timeout
        ends = now + (self._seconds if limit is None else limit)
        call.attempt_ends = self._cut(call, now) if call.ends < ends else ends
        return now

    def _cut(self, call: Call[R], now: float) -> float:
        """When an attempt must be over that the whole call would not outlast."""
        if call.ends <= now:
            call.verdict = CUT_SHORT
            raise _spent(call, now, self._tools)
        return call.ends

    def wrap(self, call_next: Next[R]) -> Next[R]:
        """The step for an event loop."""

        async def run(
            call: "Call[R]",
            self: "AttemptTimeout" = self,
            now: "Callable[[], float]" = self._now,
            timer_of: "Callable[[float], Timer]" = self.timer_of,
            seconds: "float" = self._seconds,
            call_next: "Next[R]" = call_next,
        ) -> "R":
            # `_begin`, written out, since every call comes here.
            began = now()
            limit = call.attempt_timeout
            ends = began + (seconds if limit is None else limit)
            if call.ends < ends:
                ends = self._cut(call, began)
            call.attempt_ends = ends
            if ends == inf:
                call.timer = None
                return await call_next(call)
            timer = call.timer = timer_of(ends - began)
            timer.spare = call.ends - ends
            theirs: BaseException | None = None
            try:
                with timer:
                    try:
                        return await call_next(call)
                    except TimeoutError as error:
                        theirs = error
                        raise
            except TimeoutError as error:
                if error is theirs:
                    raise
                raise self._expired(call, began) from None

        return run

    def wrap_sync(self, call_next: NextSync[R]) -> NextSync[R]:
        """The step for a thread."""

        def run(call: "Call[R]") -> R:
            began = self._begin(call)
            try:
                return call_next(call)
            except Exception:
                if call.verdict is TIMEOUT and self._now() >= call.attempt_ends:
                    self._expired(call, began)
                raise

        return run

    def _expired(self, call: Call[R], began: float) -> TimedOut:
        """Judge and tell the end of an attempt by its bound; returns the error that says so."""
        now = self._now()
        limit = self._seconds if call.attempt_timeout is None else call.attempt_timeout
        granted = call.attempt_ends - began
        whole = call.attempt_ends >= call.ends
        call.verdict = CUT_SHORT if whole and granted < limit / 2 else TIMEOUT
        if whole:
            return _spent(call, now, self._tools)
        elapsed = now - began
        text = f"attempt {call.attempt} to {call.target} was not over within {limit:g} s"
        policy = AttemptTimedOut.policy
        self._tools.emit(CallTimedOut(call.target, call.operation, policy, call.attempt, limit, elapsed))
        return AttemptTimedOut(text, target=call.target, limit=limit, elapsed=elapsed)

    def __repr__(self) -> str:
        return f"AttemptTimeout({self._seconds:g} s)"


def _spent(call: Call[R], now: float, tools: Tools) -> DeadlineExceeded:
    limit = max(0.0, call.ends - call.started)
    elapsed = now - call.started
    text = (
        f"call to {call.target} was not over within {round(limit, 3):g} s"
        if limit
        else f"no time left to call {call.target}"
    )
    if call.ends == current_deadline():
        text += ", all that its caller's deadline left" if limit else ": its caller's deadline has passed"
    tools.emit(CallTimedOut(call.target, call.operation, DeadlineExceeded.policy, call.attempt, limit, elapsed))
    return DeadlineExceeded(text, target=call.target, limit=limit, elapsed=elapsed)
