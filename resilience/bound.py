"""The deadline of the work at hand: how it is set, asked for, lifted, and written down for another process.

It lives in a context variable, so tasks and threads that copy the context have it; what it was set for being over
(the block was left, the answer is out), it is lifted for all of them: what goes on then is bound no longer.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from math import inf, isfinite, isnan

from .clock import Clock, SystemClock

__all__ = ["CARRIED", "Bound", "bind", "current_deadline", "deadline", "resumed", "until", "variable"]

CARRIED = "handrail-deadline"
"""The entry of a carrier: the seconds that were left, and the time of writing in seconds since the epoch."""

_LONGEST = 86_400.0
"""Seconds; what a carrier says beyond that is not believed."""
_TEXT = 64


class Bound:
    """When the work at hand must be over, in monotonic seconds; within another one, whichever is nearer."""

    __slots__ = ("_ends", "_outer")

    def __init__(self, ends: float, outer: "Bound | None" = None) -> None:
        self._ends = ends
        self._outer = outer
        while self._outer is not None and self._outer._ends == inf:
            self._outer = self._outer._outer  # what was lifted would be held for nothing
        over = self._outer
        if over is not None:  # nor by the outer one, where work begins the next work for ever
            standing = over._outer
            while standing is not None and standing._ends == inf:
                standing = standing._outer
            over._outer = standing

    def ends(self) -> float | None:
        """The nearest that stands; None where all were lifted."""
        ends, outer = self._ends, self._outer
        while outer is not None:
            ends, outer = min(ends, outer._ends), outer._outer
        return None if ends == inf else ends

    def lift(self) -> None:
        """What it was set for is over: nobody is bound by it any more. An outer one stands."""
        self._ends = inf

    def carrier(self, clock: Clock | None = None) -> dict[str, str]:
        """The entry for work that is handed over; empty where nothing binds."""
        ends = self.ends()
        if ends is None:
            return {}
        clock = clock or SystemClock()
        return {CARRIED: f"{ends - clock.now():.3f};{clock.wall():.3f}"}


variable: ContextVar[Bound | None] = ContextVar("handrail_deadline", default=None)


def bind(ends: float) -> Bound:
    """A bound at `ends`, in monotonic seconds, within the one that stands; to be put into `variable`, and lifted."""
    return Bound(ends, variable.get())


def current_deadline() -> float | None:
    """When the work at hand must be over, in monotonic seconds, or None."""
    bound = variable.get()
    return None if bound is None else bound.ends()


@contextmanager
def until(ends: float) -> Iterator[float]:
    """The same as `deadline`, by the time at which the block must be over, in monotonic seconds."""
    bound = bind(ends)
    nearest = bound.ends()
    token = variable.set(bound)
    try:
        yield inf if nearest is None else nearest
    finally:
        bound.lift()
        variable.reset(token)


def deadline(seconds: float, clock: Clock | None = None) -> AbstractContextManager[float]:
    """Bound every outbound call of a block; gives the time when it must be over, in monotonic seconds.

    A deadline already set is never moved later. Tasks and threads of the block are bound while it lasts. Raises
    ValueError for nan.
    """
    if isnan(seconds):
        raise ValueError("a deadline is a number of seconds, not nan")
    return until((clock or SystemClock()).now() + seconds)


def resumed(carrier: object, clock: Clock | None = None) -> float | None:
    """The time at which work handed over with `carrier` must be over, in monotonic seconds; its waiting counts.

    None where the carrier says nothing. Waiting is measured by the wall clocks of both sides; a carrier from the
    future has not waited.
    """
    clock = clock or SystemClock()
    try:
        text = carrier.get(CARRIED) if isinstance(carrier, Mapping) else None
        if not isinstance(text, str) or len(text) > _TEXT:
            return None
        left, written = (float(part) for part in text.split(";"))
    except Exception:  # of somebody's own kind of mapping, too: the work counts, not where it came from
        return None
    if not -_LONGEST <= left <= _LONGEST or not isfinite(written):  # nan is never within
        return None
    return clock.now() + left - max(0.0, clock.wall() - written)
