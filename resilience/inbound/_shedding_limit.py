"""Finds how many requests a service does at a time, from how long they take: Gradient2 on inflation, with Little's law.

The signal is Gradient2's (Netflix, concurrency-limits; see `adaptive.py`): latency now against latency as usual, with
a tolerance. Three things differ, for what comes in is not one peer but a mix of routes:

- A latency is held against what is usual on its own route (inflation), so a report of 5 s says nothing bad.
- The limit does not bind while there is no evidence. At evidence it does not shrink by steps: it goes at once to what
  Little's law says that the service does, throughput x usual latency, times the tolerance (BBR's product, as in
  go-kratos' and Sentinel's limiters).
- Latency alone does not tell a queue from a dependency that has become slower. In a queue, a request takes the longer
  the more were under way when it came; with a slow dependency it does not. So two windows with different numbers under
  way are compared. Where the number does not change by itself, the limit changes it, by a little.
"""

from math import exp, log
from typing import Protocol

from ._shedding_routes import Routes, Seen

__all__ = ["FoundLimit"]

WINDOW = 0.05
"""Seconds of a window, at least."""
SAMPLES = 20
"""Answers of a window, at least."""
ENOUGH = 30
_STRIDE = 15
"""Where more answers come in a window than these, not each is looked at: one of sixteen at least."""
STALE = 2.0
"""Seconds after which a window ends without them."""
EVIDENCE = 2.0
"""Times the usual latency: from there on requests may be waiting for each other."""
HEADROOM = 1.5
"""Requests under way for each that the service does at a time (Gradient2's tolerance)."""
LEAST = 8
"""The limit is never less."""
_FULL = 1.25
"""Times the usual latency: what takes less has not waited, and there is room for more."""
GROWTH = 1.25
_SURE, _LIKELY = 4.0, 1.0
"""Standard deviations: what is slower by less may be chance; before a limit binds, and then."""
_SHARE = 0.1
"""Of the answers, on routes that are slow: fewer are no reason to refuse."""
_APART = 0.3
"""A logarithm: from there on two numbers of requests under way differ enough to compare what they took."""
_USUALLY = 20.0
"""Seconds in which the usual number under way goes two thirds of the way."""
_PATIENT = 4
"""Windows with evidence, until the limit makes the difference."""
_MILD = 0.7
"""Of the requests under way: that difference."""
_GROWING, _FALLING = 1.15, 0.95
"""Requests that come for each that ends: a queue that grows, and one that passes by itself."""
_PROBE = 0.5
_PROBE_EVERY = 10.0
"""Seconds between two looks at the usual latency, at half the limit, while the limit binds."""

_FREE, _MILDLY, _BOUND, _PROBING = range(4)


class Counts(Protocol):
    """What is counted in any case, since the beginning."""

    came: int
    ended: int


class FoundLimit:
    """The limit of one event loop. Seconds; `now` comes with each call. Not for several threads."""

    def __init__(self, most: int, now: float, counts: Counts) -> None:
        self.most = most
        self.limit = most
        """Requests that may be under way at a time."""
        self.stride = 0
        """Requests whose latency need not be told, for each that is: many come, and nothing is wrong."""
        self._counts = counts
        self._came = self._ended = self._told = 0
        self.pressed = False
        """Whether the limit held somebody back in this window; said by the same."""
        self.inflation = 1.0
        """Of the last window: times the usual latency, on the routes that are slow."""
        self.longest = 0.0
        """Of the last window: seconds that a route took which is slow."""
        self._routes = Routes()
        self._state = _FREE
        self._since = self._counts_from = self._probed_at = now
        self._count = self._before_limit = 0
        self._as_usual = self._parked = 0.0
        self._evidence = 0
        self._usually = 0.0
        self._windows = 0
        self._lasted = 0.0
        self._compared: tuple[float, float] | None = None
        self._resume = most

    @property
    def binds(self) -> bool:
        """Whether there is evidence of overload."""
        return self._state != _FREE

    def ended(self, now: float) -> bool:
        """A request ended that says nothing of the latency (an error, a client that left). Whether a window closed."""
        self._told += 1
        return now - self._since >= STALE and self._close(now)

    def parked(self, count: int, seconds: float) -> None:
        """So many requests are counted no longer, after so long: they have taken room, and will not come to `took`."""
        self._parked += count * seconds

    def took(self, key: object, began: float, now: float, ahead: int) -> bool:
        """A request of route `key` went well; `ahead` were under way when it began. Whether a window closed with it."""
        self._told += 1
        if began >= self._counts_from:
            self._count += 1
            self._routes.took(key, now - began, ahead)
        else:  # it met what was there before the limit changed: it counts for the throughput alone
            self._before_limit += 1
            self._as_usual += self._routes.usual_of(key)
        open_for = now - self._since
        if open_for < WINDOW:
            return False
        return (self._count >= SAMPLES or open_for >= STALE) and self._close(now)

    def _close(self, now: float) -> bool:
        free = self._state == _FREE
        seen = self._routes.seen(log(EVIDENCE if free else _FULL), _SURE if free else _LIKELY)
        before = self.limit
        self._lasted = max(now - self._since, 1e-6)
        if seen is None or self._count < SAMPLES // 2:
            self._unknown()
        else:
            self.inflation = exp(seen.slower)
            self.longest = seen.longest
            # Little's law: what would be under way at the usual latency. The parked have no queue, and need no more.
            share = (self._counts.ended - self._ended) / self._told
            wanted = (HEADROOM * share * (seen.usual + self._as_usual) + self._parked) / self._lasted
            (self._free, self._mildly, self._bound, self._probed)[self._state](seen, wanted)
        self._routes.begin()
        self._since = now
        if self.limit < before * 0.75:
            self._counts_from = now
        ended = self._counts.ended - self._ended
        self.stride = 0 if self._state or self._evidence else min(_STRIDE, int(ended * WINDOW / self._lasted / ENOUGH))
        self._came, self._ended = self._counts.came, self._counts.ended
        self._count = self._before_limit = self._told = 0
        self._as_usual = self._parked = 0.0
        self.pressed = False
        return True

    def _unknown(self) -> None:
        """Hardly an answer came. Those of before the last change may still be on their way; else it opens."""
        if self._state != _FREE and not (self.pressed and self._before_limit):
            self._open(0.0)

    def _free(self, seen: Seen, wanted: float) -> None:
        if seen.share < _SHARE or seen.ahead < LEAST:
            self._evidence = 0
            self._compared = None
            self._routes.learn(self._lasted)
            self._windows += 1
            self._usually += max(min(1.0, self._lasted / _USUALLY), 1 / self._windows) * (seen.ahead - self._usually)
        elif log(max(1.0, seen.ahead)) - log(max(1.0, self._usually)) < seen.slower - _APART:
            self._relearn(1.0, seen)  # slower by more than a queue of so many would be
        elif self._more(_FALLING):
            self._evidence += 1
            verdict = self._queued(seen)
            if self._evidence == 2:  # the first may be half of before
                self._compared = (log(seen.ahead), seen.slower)
            if verdict is True or self._more(_GROWING):
                self._bind(seen, wanted)
            elif verdict is False:
                self._relearn(1.0, seen)
            elif self._evidence > _PATIENT:
                self._state = _MILDLY
                self._set(_MILD * seen.ahead)

    def _more(self, times: float) -> bool:
        """Whether so many times more came in this window than ended."""
        return self._counts.came - self._came >= times * (self._counts.ended - self._ended)

    def _queued(self, seen: Seen) -> bool | None:
        """Whether answers take longer the more are under way; None where these did not change enough to say."""
        if self._compared is None:
            return None
        ahead, slower = self._compared
        apart = log(max(1.0, seen.ahead)) - ahead
        return None if abs(apart) < _APART else (seen.slower - slower) / apart >= 0.5

    def _relearn(self, at_once: float, seen: Seen | None) -> None:
        if seen is not None:
            self._usually = max(self._usually, seen.ahead)
        self._routes.learn(self._lasted, at_once)
        self._evidence = 0
        self._compared = None

    def _mildly(self, seen: Seen, wanted: float) -> None:
        verdict = self._queued(seen)
        if verdict is False:
            self._relearn(1.0, seen)
            self._unbind()
        elif verdict or self.pressed:
            self._bind(seen, wanted)
        else:
            self._unbind()

    def _bind(self, seen: Seen, wanted: float) -> None:
        self._state = _BOUND
        self._probed_at = self._since
        self._compared = (log(max(1.0, seen.ahead)), seen.slower)
        self._set(wanted)

    def _bound(self, seen: Seen, wanted: float) -> None:
        if not self.pressed:
            self._open(seen.ahead)
            return
        verdict = self._queued(seen)
        if verdict is False and seen.slower > log(HEADROOM):
            self._relearn(1.0, seen)
            wanted *= exp(seen.slower)
            self._compared = (log(max(1.0, seen.ahead)), 0.0)
        elif verdict is not None or self._compared is None:
            self._compared = (log(max(1.0, seen.ahead)), seen.slower)
        room = seen.share < _SHARE
        self._set(GROWTH * self.limit if room else min(GROWTH * self.limit, (self.limit + wanted) / 2))
        if self._since - self._probed_at >= _PROBE_EVERY:
            self._probed_at = self._since
            self._state = _PROBING
            self._resume = self.limit
            self._set(_PROBE * self.limit)

    def _probed(self, _seen: Seen, _wanted: float) -> None:
        self._state = _BOUND
        self._relearn(0.5, None)
        self._set(self._resume)

    def _open(self, ahead: float) -> None:
        """Nobody is held back: the way up, until the limit is far from what is needed."""
        self._set(GROWTH * self.limit + 1)
        if self.limit >= min(self.most, max(4 * ahead, 8 * LEAST)):
            self._unbind()

    def _unbind(self) -> None:
        self._state = _FREE
        self._evidence = 0
        self._compared = None
        self.limit = self.most

    def _set(self, wanted: float) -> None:
        self.limit = max(min(LEAST, self.most), min(self.most, int(wanted)))
