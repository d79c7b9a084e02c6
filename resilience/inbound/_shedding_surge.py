"""Tells a queue before the first slow answer: far more is under way than usual, and more comes than ends.

In a healthy burst answers rise to what comes after one usual latency; in a queue they stay where they were. Slow
answers, which are the proof, come later than that, and whoever was let in meanwhile is slow as well.
"""

from math import sqrt
from typing import Protocol

__all__ = ["CHANCE", "Counts", "Surge"]

_TIMES = 3.0
"""The usual number under way: from there on it is looked at."""
_FEWEST = 24
"""Under way: fewer are looked at never."""
_ENDED = 0.6
"""Of those that came in the time of a usual answer: where fewer ended, they are held."""
CHANCE = 2.5
"""Standard deviations: what is less may be chance."""
_LOOK = 3.0
"""Times that time: then it begins anew."""
_SOONEST, _LATEST = 0.02, 0.5
"""Seconds of that time."""
_AGAIN, _CALM = 2.0, 0.5
"""Times the number under way that was no queue: the next look; and not before so many seconds."""


class Counts(Protocol):
    """What is counted in any case, since the beginning."""

    ended: int

    @property
    def came(self) -> int:
        """Requests."""


class Surge:
    """Of one event loop. Seconds."""

    def __init__(self, counts: Counts) -> None:
        self.at = _FEWEST
        """Under way: who comes from there on is to be told of by `comes`."""
        self.before = (0, 0)
        """What had come and ended when that began, for which requests are held."""
        self._counts = counts
        self._since = self._last = 0.0
        self._not_before = 0.0
        self._came = self._ended = 0

    def usually(self, number: float) -> None:
        """So many are under way; what was looked at long ago is forgotten."""
        self.at = max(_FEWEST, int(_TIMES * number), int(0.99 * self.at))

    def comes(self, now: float, usual: float) -> bool:
        """One more above `at`; an answer takes `usual` seconds. Whether those that come next are to be held."""
        usual = min(_LATEST, max(_SOONEST, usual))
        last, self._last = self._last, now
        if now - last > usual:
            self._begin(now)
        open_for = now - self._since
        if open_for < usual or now < self._not_before:
            return False
        came, ended = self._counts.came - self._came, self._counts.ended - self._ended
        if ended < _ENDED * came and came - ended > CHANCE * sqrt(came + ended):
            self.before = (self._came, self._ended)
            self._begin(now)
            return True
        if open_for > _LOOK * usual:
            self._begin(now)
        return False

    def _begin(self, now: float) -> None:
        self._since = now
        self._came, self._ended = self._counts.came, self._counts.ended

    def harmless(self, now: float, under_way: int) -> None:
        """It was no queue."""
        self.at = max(self.at, int(_AGAIN * under_way))
        self._not_before = now + _CALM
