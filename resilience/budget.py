"""How many retries one origin bears: a share of the calls to it, so that retries cannot make an overload.

After Finagle's RetryBudget and tower's TpsBudget (20 % over 10 s), with a floor for quiet services. A share bounds what
a dead peer gets to 1.2 times its usual load, where three attempts each make it three times.
"""

import threading
from decimal import Decimal
from functools import lru_cache

from ._forked import ReentrantLock
from .call import inbound_attempt
from .window import Window

__all__ = ["Budget"]


@lru_cache(maxsize=64)  # few are ever written, and each origin asks
def _exactly(ratio: float) -> tuple[int, int]:
    return Decimal(repr(ratio)).as_integer_ratio()


class Budget:
    """Grants a retry where those of the last `window` seconds and this one are at most `floor` + `ratio` * calls.

    `ratio` is a share from 0 to 1, `floor` a number of retries. Work done for a request that is itself a retry of
    somebody further out has half the share and no floor: else each hop of a chain would add its own fifth. Hedges
    spend from it like retries. What is granted and then not used is not given back: a burst of refusals must not
    become a burst of retries. Times are monotonic seconds; the window forgets in steps of a tenth of its length.
    """

    __slots__ = ("_floor", "_lock", "_ratio", "_seconds", "window")

    def __init__(self, *, ratio: float = 0.2, window: float = 10.0, floor: int = 100) -> None:
        self._ratio = ratio
        self._floor = floor
        self._seconds = window
        self._lock = ReentrantLock()
        self.window = Window(window)
        """Good are the calls, bad the retries; before its `ends` a call is counted by `fresh += 1` alone."""

    def of(self, now: float, lock: threading.RLock) -> "Budget":
        """The same numbers for another origin, from `now` on, with a lock that others may share."""
        other = object.__new__(Budget)
        other._ratio = self._ratio
        other._floor = self._floor
        other._seconds = self._seconds
        other._lock = lock
        other.window = Window(self._seconds, now)
        return other

    def called(self, now: float) -> None:
        """Count a call, not its retries."""
        with self._lock:
            self.window.add_good(now)

    def take(self, now: float) -> bool:
        """Whether one more retry may be made; it is counted as made."""
        # The share as it was written, in whole numbers: 30 calls at 0.1 allow 3, and not one more by rounding.
        share, per = _exactly(float(self._ratio))
        floor = self._floor
        if inbound_attempt.get() > 1:
            floor, per = 0, 2 * per
        with self._lock:
            retries, both = self.window.counts(now)
            if (retries + 1 - floor) * per > share * (both - retries):
                return False
            self.window.add_bad(now)
            return True

    def spent(self, now: float) -> tuple[int, int]:
        """The retries of the window, and the calls that they were added to."""
        with self._lock:
            retries, both = self.window.counts(now)
            return retries, both - retries

    def __repr__(self) -> str:
        return f"budget {self._ratio * 100:g} % of calls, at least {self._floor}, in {self._seconds:g} s"
