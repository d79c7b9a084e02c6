"""Finds how many requests a service does at a time, from how long they take: Gradient2 on inflation, with Little's law.

The signal is Gradient2's (Netflix, concurrency-limits; see `adaptive.py`): latency now against latency as usual, with
a tolerance. Three things differ, for what comes in is not one peer but a mix of routes:

- A latency is held against what is usual on its own route (inflation), so a report of 5 s says nothing bad.
- The limit does not bind while there is no evidence. At evidence it does not shrink by steps: it goes at once to what
  Little's law says that the service does, throughput x usual latency, times the tolerance (BBR's product, as in
  go-kratos' and Sentinel's limiters).
- Latency alone does not tell a queue from a dependency that has become slower. With a queue, fewer requests under way
  take less time in proportion; with a slow dependency they do not. So each reduction is looked at afterwards: where
  it did not help, what is measured becomes the usual, and the limit opens.
"""

from math import exp, log

from ._shedding_routes import Routes

__all__ = ["FoundLimit"]

WINDOW = 0.05
"""Seconds of a window, at least. Two in a row have to show evidence."""
SAMPLES = 20
"""Answers of a window, at least; half of that where a limit binds."""
STALE = 2.0
"""Seconds after which a window ends without them."""
EVIDENCE = 2.0
"""Times the usual latency: from there on requests may be waiting for each other."""
HEADROOM = 1.5
"""Requests under way for each that the service does at a time (Gradient2's tolerance)."""
LEAST = 8
"""The limit is never less."""
GROWTH = 1.5
_MILD = 0.7
"""Of the requests under way: the first reduction, where they have not become more."""
_GROWING = 1.15
"""Requests that come for each that ends: a queue that grows."""
_PROBE = 0.5
_PROBE_EVERY = 10.0
"""Seconds between two looks at the usual latency, at half the limit, while the limit binds."""

_FREE, _MILDLY, _BOUND, _PROBING = range(4)


class FoundLimit:
    """The limit of one event loop. Seconds; `now` comes with each call. Not for several threads."""

    def __init__(self, most: int, now: float) -> None:
        self.most = most
        self.limit = most
        """Requests that may be under way at a time."""
        self.came = 0
        """Requests that came in this window; whoever lets them in counts."""
        self.pressed = False
        """Whether the limit held somebody back in this window; said by the same."""
        self.inflation = 1.0
        """Of the last window: times the usual latency."""
        self.needed = 0.0
        """Of the last window: requests that would have been under way at the usual latency."""
        self.typical = 0.0
        """Of the last window: seconds that its requests usually take."""
        self._routes = Routes()
        self._state = _FREE
        self._since = self._counts_from = now
        self._count = self._ended = self._all = 0
        self._under_way = self._older = 0.0
        self._before = (0.0, 0.0)
        self._probed_at = now
        self._resume = most
        self._seen = False

    @property
    def binds(self) -> bool:
        """Whether there is evidence of overload."""
        return self._state != _FREE

    def ended(self, now: float) -> bool:
        """A request ended that says nothing of the latency (an error, a client that left). Whether a window closed."""
        self._ended += 1
        return now - self._since >= STALE and self._close(now)

    def parked(self, count: int, seconds: float) -> None:
        """So many requests are counted no longer, after so long: they have taken room, and will not come to `took`."""
        self._older += count * seconds

    def took(self, key: object, began: float, now: float, under_way: int) -> bool:
        """A request of route `key` went well; `under_way` counts it and the others. Whether a window closed with it."""
        self._ended += 1
        if began >= self._counts_from:
            self._count += 1
            self._under_way += under_way
            self._routes.took(key, now - began)
        else:  # it met what was there before the limit changed: it counts for the throughput alone
            self._older += self._routes.usual_of(key)
        open_for = now - self._since
        if open_for < WINDOW:
            return False
        enough = self._count >= (SAMPLES if self._state == _FREE else SAMPLES // 2)
        return (enough or open_for >= STALE) and self._close(now)

    def _close(self, now: float) -> bool:
        slower, usual = self._routes.usual()
        under_way = self._under_way / self._count if self._count else 0.0
        self.needed = (usual + self._older) / (now - self._since)  # Little's law
        self.inflation = exp(slower)
        if self._count:
            self.typical = usual / self._count
        before = self.limit
        if self._count < SAMPLES // 2:
            if self._state != _FREE:
                self._open(0.0)
        elif self._state == _FREE:
            self._free(under_way)
        elif self._state == _MILDLY:
            self._mildly(slower, under_way)
        elif self._state == _PROBING:
            self._probed(slower)
        else:
            self._bound(slower, under_way)
        self._routes.begin()
        self._since = now
        if self.limit < before * 0.9:
            self._counts_from = now
        self._count = self._ended = self.came = 0
        self._under_way = self._older = 0.0
        self.pressed = False
        return True

    def _free(self, under_way: float) -> None:
        if self.inflation <= EVIDENCE or under_way < LEAST:
            self._seen = False
            self._routes.learn()
            return
        if not self._seen:
            self._seen = True
            return
        self._seen = False
        self._before = (log(self.inflation), under_way)
        if self.came > _GROWING * self._ended:
            self._bind()
        else:
            self._state = _MILDLY
            self._set(_MILD * under_way)

    def _mildly(self, slower: float, under_way: float) -> None:
        if self._helped(slower, under_way):
            self._before = (slower, under_way)
            self._bind()
        else:
            self._routes.learn(1.0)
            self._unbind()

    def _bind(self) -> None:
        self._state = _BOUND
        self._probed_at = self._since
        self._set(HEADROOM * self.needed)

    def _bound(self, slower: float, under_way: float) -> None:
        if not self.pressed:
            self._open(under_way)
            return
        if under_way < 0.75 * self._before[1]:
            if not self._helped(slower, under_way):
                self._routes.learn(1.0)
                self.needed = under_way
                slower = 0.0
            self._before = (slower, under_way)
        elif under_way > self._before[1]:
            self._before = (slower, under_way)
        self._set(min(GROWTH * self.limit, (self.limit + HEADROOM * self.needed) / 2))
        if self._since - self._probed_at >= _PROBE_EVERY:
            self._probed_at = self._since
            self._state = _PROBING
            self._resume = self.limit
            self._set(_PROBE * self.limit)

    def _probed(self, slower: float) -> None:
        self._state = _BOUND
        self._routes.learn(0.5)
        self._set(self._resume)
        self._before = (self._before[0] - slower / 2, self._before[1])

    def _helped(self, slower: float, under_way: float) -> bool:
        """Whether fewer under way took less time, nearer to "in proportion" than to "not at all"."""
        was, many = self._before
        return slower <= was + 0.5 * log(max(under_way, 1.0) / max(many, 1.0))

    def _open(self, under_way: float) -> None:
        """Nobody is held back: the way up, until the limit is far from what is needed."""
        self._set(GROWTH * self.limit + 1)
        if self.limit >= min(self.most, max(4 * under_way, 8 * LEAST)):
            self._unbind()

    def _unbind(self) -> None:
        self._state = _FREE
        self.limit = self.most

    def _set(self, wanted: float) -> None:
        self.limit = max(min(LEAST, self.most), min(self.most, int(wanted)))
