"""Client-side throttling: a peer that refuses most of what it gets is sent less, by chance.

"Site Reliability Engineering" (O'Reilly, 2016), chapter 21, "Client-Side Throttling".
"""

import threading
from typing import TypeVar

from .call import Call
from .classify import Count
from .errors import Rejected, Throttled
from .events import CallRejected
from .policy import Next, NextSync, Tools
from .window import Window

__all__ = ["SECONDS", "Tally", "Throttle"]

R = TypeVar("R")

SECONDS = 120.0
"""How far the tally looks back."""
_MOST = 0.9
"""The highest share of refusals: what still goes out shows when the peer is well again (failsafe-go: 0.9)."""


class Tally:
    """What the calls to one origin came to, in the last two minutes. Safe for threads."""

    __slots__ = ("_lock", "_window")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._window = Window(SECONDS)

    def accepted(self, now: float) -> None:
        """The peer took the call."""
        with self._lock:
            self._window.add_good(now)

    def refused(self, now: float) -> None:
        """The peer failed it, or it was not sent."""
        with self._lock:
            self._window.add_bad(now)

    def probability(self, multiple: float, now: float) -> float:
        """max(0, (requests - K * accepts) / (requests + 1)), with `multiple` for K, and 0.9 at most."""
        with self._lock:
            bad, requests = self._window.counts(now)
        return min(_MOST, max(0.0, (requests - multiple * (requests - bad)) / (requests + 1)))


class Throttle:
    """Refuses a call with a probability that grows as the peer takes fewer of those that are made.

    With a `multiple` (K) of 2, calls go out at about twice the rate that the peer accepts; the rest
    costs it nothing. A refused call counts as made, so that the share settles. Failures are what
    the breaker counts as one; what says nothing about the peer (cancelled, no place in the
    bulkhead, a mistake of ours) counts nowhere.

    Raises `Throttled`; the next call may go through, so its `retry_after` is None.
    """

    def __init__(self, target: str, multiple: float = 2.0, *, tally: Tally | None = None, tools: Tools | None = None):
        self.target = target
        self._multiple = multiple
        self._tally = tally or Tally()
        self._tools = tools or Tools()
        self._now = self._tools.clock.now

    def wrap(self, call_next: Next[R]) -> Next[R]:
        """The step for an event loop."""

        async def run(call: "Call[R]") -> R:
            self._admit(call)
            try:
                result = await call_next(call)
            except Exception as error:
                if not isinstance(error, Rejected):
                    self._count(call)
                raise
            self._count(call)
            return result

        return run

    def wrap_sync(self, call_next: NextSync[R]) -> NextSync[R]:
        """The step for a thread; shares all state with the other."""

        def run(call: "Call[R]") -> R:
            self._admit(call)
            try:
                result = call_next(call)
            except Exception as error:
                if not isinstance(error, Rejected):
                    self._count(call)
                raise
            self._count(call)
            return result

        return run

    def _admit(self, call: Call[R]) -> None:
        now = self._now()
        share = self._tally.probability(self._multiple, now)
        if not share or self._tools.jitter() >= share:
            return
        self._tally.refused(now)
        if call.attempt == 1:
            # A refused resend is told by Retry: that call was sent, and its own outcome goes up.
            name = "handrail.Throttled"
            self._tools.emit(CallRejected(self.target, call.operation, Throttled.policy, name, None))
        text = f"{self.target} accepts few calls: {share * 100:.0f} % are not sent, and this is one of them"
        raise Throttled(text, target=self.target)

    def _count(self, call: Call[R]) -> None:
        count = call.verdict.count
        if count is Count.SUCCESS:
            self._tally.accepted(self._now())
        elif count is Count.FAILURE:
            self._tally.refused(self._now())

    def __repr__(self) -> str:
        return f"Throttle(K = {self._multiple:g}, {SECONDS:g} s)"
