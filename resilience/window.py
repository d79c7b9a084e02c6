"""Successes and failures of the last seconds, in a ring of buckets."""

__all__ = ["Window"]

_BUCKETS = 10


class Window:
    """Counts that forget: a call is forgotten between 9/10 and 10/10 of `seconds` after it ended.

    Not safe for threads: whoever shares one holds a lock. Times are monotonic seconds; one
    that is older than the newest seen counts as the newest.
    """

    __slots__ = ("_bad", "_good", "_newest", "_per_second", "bad", "good")

    def __init__(self, seconds: float) -> None:
        self._per_second = _BUCKETS / seconds
        self._good = [0] * _BUCKETS
        self._bad = [0] * _BUCKETS
        self._newest = 0
        self.good = 0
        """Successes in the window, as of the last time it was told."""
        self.bad = 0
        """Failures in the window, as of the last time it was told."""

    def add_good(self, now: float) -> None:
        """Count a success."""
        slot = int(now * self._per_second)
        if slot > self._newest:
            self._advance(slot)
        self._good[self._newest % _BUCKETS] += 1
        self.good += 1

    def add_bad(self, now: float) -> None:
        """Count a failure."""
        self.forget(now)
        self._bad[self._newest % _BUCKETS] += 1
        self.bad += 1

    def forget(self, now: float) -> None:
        """Drop what is too old by now."""
        slot = int(now * self._per_second)
        if slot > self._newest:
            self._advance(slot)

    def _advance(self, slot: int) -> None:
        for passed in range(max(self._newest + 1, slot - _BUCKETS + 1), slot + 1):
            index = passed % _BUCKETS
            self.good -= self._good[index]
            self.bad -= self._bad[index]
            self._good[index] = self._bad[index] = 0
        self._newest = slot
