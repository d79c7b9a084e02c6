"""Successes, failures and slow calls of the last seconds, in a ring of buckets."""

from math import inf, nextafter

__all__ = ["Window"]

_BUCKETS = 10
_ZEROS = [0] * _BUCKETS
"""The buckets of every window with nothing in them: a service that crawls has a thousand. Never written to."""


class Window:
    """Counts that forget: a call is forgotten between 9/10 and 10/10 of `seconds` after it ended.

    Whoever shares one among threads holds a lock, with one exception: before `ends`, a success
    that was not slow is counted by `fresh += 1` alone. Times are monotonic seconds; one that is
    older than the newest seen counts as the newest. With `now` the newest bucket begins there.
    """

    __slots__ = ("_bad", "_good", "_mark", "_older", "_row", "_slot", "_slow", "_width", "ends", "fresh")

    def __init__(self, seconds: float, now: float | None = None) -> None:
        self._width = seconds / _BUCKETS
        self._good = self._bad = self._slow = _ZEROS
        self._slot = 0
        self._older = 0  # successes in all buckets there ever were but the newest
        self._mark = 0  # successes in all when the newest failure came
        self._row = 0  # failures up to the newest with no success between them
        self.fresh = 0
        """Successes in the newest bucket."""
        self.ends = 0.0 if now is None else now + self._width
        """When the newest bucket is over."""

    def add_good(self, now: float, slow: bool = False) -> None:
        """Count a success."""
        if now >= self.ends:
            self._advance(now)
        self.fresh += 1
        if slow:
            self._own()
            self._slow[self._slot] += 1

    def add_bad(self, now: float, slow: bool = False) -> None:
        """Count a failure."""
        if now >= self.ends:
            self._advance(now)
        self._own()
        self._bad[self._slot] += 1
        self._slow[self._slot] += slow
        self._row = self.streak + 1
        self._mark = self._older + self.fresh

    @property
    def streak(self) -> int:
        """Failures since the last success, however long ago."""
        # Successes pay nothing for it: it is over where their number has changed since the last failure.
        return self._row if self._older + self.fresh == self._mark else 0

    @property
    def clean(self) -> bool:
        """Whether no failure is in it; one that is due to be forgotten may still count. For a glance without a lock."""
        return not any(self._bad)

    def counts(self, now: float) -> tuple[int, int]:
        """The failures and all calls that are remembered now."""
        if now >= self.ends:
            self._advance(now)
        bad = sum(self._bad)
        return bad, bad + sum(self._good) + self.fresh

    def slow(self, now: float) -> int:
        """The slow ones of the calls that are remembered now, whether they failed or not."""
        if now >= self.ends:
            self._advance(now)
        return sum(self._slow)

    def _own(self) -> None:
        if self._good is _ZEROS:
            self._good, self._bad, self._slow = [0] * _BUCKETS, [0] * _BUCKETS, [0] * _BUCKETS

    def _advance(self, now: float) -> None:
        passed = int((now - self.ends) / self._width) + 1
        self._older += self.fresh
        if passed >= _BUCKETS:
            self._good = self._bad = self._slow = _ZEROS
        else:
            if self.fresh:
                self._own()
            self._pass(passed)
        self.fresh = 0
        self.ends = max(self.ends + passed * self._width, nextafter(now, inf))  # rounding may fall short

    def _pass(self, passed: int) -> None:
        if self._good is _ZEROS:
            return
        self._good[self._slot] = self.fresh
        for _ in range(passed):
            self._slot = (self._slot + 1) % _BUCKETS
            self._good[self._slot] = self._bad[self._slot] = self._slow[self._slot] = 0
