"""Successes and failures of the last seconds, in a ring of buckets."""

__all__ = ["Window"]

_BUCKETS = 10


class Window:
    """Counts that forget: a call is forgotten between 9/10 and 10/10 of `seconds` after it ended.

    Not safe for threads: whoever shares one holds a lock. Times are monotonic seconds; one
    that is older than the newest seen counts as the newest.
    """

    __slots__ = ("_bad", "_ends", "_good", "_slot", "_width")

    def __init__(self, seconds: float) -> None:
        self._width = seconds / _BUCKETS
        self._good = [0] * _BUCKETS
        self._bad = [0] * _BUCKETS
        self._slot = 0
        self._ends = 0.0
        """When the newest bucket is over."""

    def add_good(self, now: float) -> None:
        """Count a success."""
        if now >= self._ends:
            self._advance(now)
        self._good[self._slot] += 1

    def add_bad(self, now: float) -> None:
        """Count a failure."""
        if now >= self._ends:
            self._advance(now)
        self._bad[self._slot] += 1

    def counts(self, now: float) -> tuple[int, int]:
        """The failures and all calls that are remembered now."""
        if now >= self._ends:
            self._advance(now)
        bad = sum(self._bad)
        return bad, bad + sum(self._good)

    def _advance(self, now: float) -> None:
        passed = int((now - self._ends) / self._width) + 1
        for _ in range(min(passed, _BUCKETS)):
            self._slot = (self._slot + 1) % _BUCKETS
            self._good[self._slot] = self._bad[self._slot] = 0
        self._ends += passed * self._width
        if self._ends <= now:  # rounding
            self._ends = now + self._width
