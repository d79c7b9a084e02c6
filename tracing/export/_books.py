"""How many spans reached a destination, and how many did not, by reason."""

import time
from collections import Counter
from collections.abc import Callable

from .health import Lost

__all__ = ["Books"]

_REASONS = 8
"""Different reasons that are kept apart; a reason may hold an address or a text of the collector."""


class Books:
    """Counts for one destination. Written on several threads: a count may miss a span, and is never too high."""

    def __init__(self, destination: str, *, clock: Callable[[], float] = time.time) -> None:
        self.destination = destination
        self.exported = 0
        self.lost = 0
        self.closed = False
        self._reasons: Counter[str] = Counter()
        self._clock = clock
        self._since = 0.0
        self._last = 0.0

    def deliver(self, count: int) -> None:
        """Count `count` spans as taken by the destination."""
        if not self.closed:
            self.exported += count

    def lose(self, count: int, why: str) -> None:
        """Count `count` spans as lost because of `why`."""
        if self.closed:
            return
        self._last = self._clock()
        if not self.lost:
            self._since = self._last
        self.lost += count
        self._reasons[why if why in self._reasons or len(self._reasons) < _REASONS else "other reasons"] += count

    def losses(self, late: int = 0) -> list[Lost]:
        """One entry where anything was lost; the reason is the most frequent one, times are seconds since the epoch.

        `late` more spans had no answer in time, and may yet arrive.
        """
        if not self.lost + late:
            return []
        reasons = self._reasons + Counter({"no answer in time": late})
        now = self._clock() if late else 0.0
        return [
            Lost(
                destination=self.destination,
                reason=max(reasons, key=reasons.__getitem__),
                count=self.lost + late,
                exported=self.exported,
                since=self._since or now,
                last=now or self._last,
            )
        ]
