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

from ._shedding_routes import Seen
from ._shedding_surge import Counts, Surge
from ._shedding_window import HELD_SAMPLES, LEAST, SHARE, WINDOW, Window

__all__ = ["FoundLimit"]

ENOUGH = 15
_STRIDE = 15
"""Where more answers come in a window than these, not each is looked at: one of sixteen at least."""
EVIDENCE = 2.0
"""Times the usual latency: from there on requests may be waiting for each other."""
HEADROOM = 1.5
"""Requests under way for each that the service does at a time (Gradient2's tolerance)."""
_FULL = 1.25
"""Times the usual latency: what takes less has not waited, and there is room for more."""
GROWTH = 1.25
_SURE, _LIKELY = 4.0, 1.0
"""Standard deviations: what is slower by less may be chance; before a limit binds, and then."""
_PATIENT, _LASTING = 4, 0.5
"""Windows and seconds with evidence, until the limit makes the difference, or that difference is the proof."""
_SOON = 0.25
"""Seconds with evidence, where more comes than ends."""
_MILD = 0.7
"""Of the requests under way: that difference."""
_FLOODED, _GROWING, _FALLING = 2.0, 1.15, 0.95
"""Requests that come for each that ends: a queue that grows, at once too long or slowly; one that passes by itself."""
_HELD_GROWING = 1.5
_HELD_SLOW = 1.5
"""Times the usual latency."""
_CALM = 1.3
"""Times the usual latency: what was held for nothing is let in."""
_LONGEST_HELD, _MOST_HELD = 0.25, 1.0
"""Seconds that requests are held without evidence, at most; or four times the latency, up to the second."""
_STARVED = 2.0
"""Seconds for which the machine is an excuse."""
_PROBE = 0.5
_PROBE_EVERY = 10.0
"""Seconds between two looks at the usual latency, at half the limit, while the limit binds."""

_FREE, _MILDLY, _BOUND, _PROBING, _HELD = range(5)


class FoundLimit(Window):
    """The limit of one event loop. Seconds; `now` comes with each call. Not for several threads.

    `holds`: whether requests can wait for what is found of them.
    """

    def __init__(self, most: int, now: float, counts: Counts, *, holds: bool = False) -> None:
        super().__init__(now, counts)
        self.most = most
        self.limit = most
        """Requests that may be under way at a time."""
        self.stride = 0
        """Requests whose latency need not be told, for each that is: many come, and nothing is wrong."""
        self.inflation = 1.0
        """Of the last window: times the usual latency, on the routes that are slow."""
        self.longest = 0.0
        """Of the last window: seconds that a route took which is slow."""
        self.surge = Surge(counts) if holds else None
        self._state = _FREE
        self._probed_at = self._held_at = self._evident_at = now
        self._held_for = _LONGEST_HELD
        self._evidence = self._denied = 0
        self._evident_from = self._held_from = (0, 0)
        self._starved_at = self._starved_since = -_STARVED
        self._resume = most

    @property
    def binds(self) -> bool:
        """Whether there is evidence of overload."""
        return self._state in (_BOUND, _PROBING)

    def room(self) -> int:
        """As long as fewer are under way, nobody need be asked."""
        return self.limit if self._state or self.surge is None else min(self.limit, self.surge.at)

    def comes(self, now: float, under_way: int) -> bool:
        """One more, above `room`. Whether the limit is another now."""
        if self._state or self.surge is None or under_way < self.surge.at or not self.surge.comes(now, self.usual):
            return False
        self._hold(_HELD, now, max(_LONGEST_HELD, min(_MOST_HELD, 4 * self.usual)))
        self._held_from = self.surge.before
        self.stride = 0
        self._begin(now, counted=False)
        self._set(self.surge.at)
        return True

    def _hold(self, state: int, now: float, seconds: float) -> None:
        """There may be overload: who comes waits, and is refused by nobody."""
        self._state = state
        self.holding = True
        self._held_at = now
        self._held_for = seconds

    def stale(self, now: float, under_way: int) -> bool:
        """Whether requests were held for too long without a proof: they no longer are."""
        if not self.holding or now - self._held_at < self._held_for:
            return False
        self._in_vain(now, under_way)
        return True

    def paused(self, now: float) -> None:
        """The process did not run: what was under way meanwhile says nothing."""
        self._counts_from = now
        self._evidence = 0
        self._compared = None
        self._begin(now, counted=False)

    def _close(self, now: float) -> bool:
        least, sure = (_FULL, _LIKELY) if self.binds else (_HELD_SLOW, _LIKELY) if self._state else (EVIDENCE, _SURE)
        seen = self._routes.seen(log(least), sure)
        before = self.limit
        self._lasted = max(now - self._since, 1e-6)
        if seen is None or self._count < HELD_SAMPLES:
            self._unknown()
        else:
            self.inflation = exp(seen.slower)
            self.longest = seen.longest
            usual = seen.usual / self._count
            self.usual += max(min(1.0, self._lasted), 1 / (self._windows + 1)) * (usual - self.usual)
            # Little's law: what would be under way at the usual latency. The parked have no queue, and need no more.
            share = (self._counts.ended - self._ended) / self._told
            wanted = (HEADROOM * share * (seen.usual + self._as_usual) + self._parked) / self._lasted
            (self._free, self._mildly, self._bound, self._probed, self._held)[self._state](seen, wanted, now)
        ended = self._counts.ended - self._ended
        self._begin(now)
        if self.limit < before * 0.75:
            self._counts_from = now
        self.stride = 0 if self._state or self._evidence else min(_STRIDE, int(ended * WINDOW / self._lasted / ENOUGH))
        return True

    def _unknown(self) -> None:
        """Hardly an answer came. Those of before the last change may still be on their way; else it opens."""
        if self._state and not (self.pressed and self._before_limit):
            self._open(0.0)

    def _free(self, seen: Seen, wanted: float, now: float) -> None:
        if not self._slow(seen):
            self._evidence = 0
            self._compared = None
            self._learn(seen)
            if self.surge is not None:
                self.surge.usually(self._usually)
        elif self._otherwise(seen):
            self._relearn(1.0, seen)
        elif self._more(_FALLING) and not self._excused(now):
            self._evident(seen, wanted, now)

    def _evident(self, seen: Seen, wanted: float, now: float) -> None:
        if not self._evidence:
            self._evident_at = self._since
            self._evident_from = (self._came, self._ended)
        self._evidence += 1
        lasts = now - self._evident_at
        verdict = self._queued(seen)
        if self._evidence == 2:  # the first may be half of before
            self._compared = (log(seen.ahead), seen.slower)
        if verdict is False:
            self._relearn(1.0, seen)
        elif (
            self._floods(_FLOODED, (self._came, self._ended))
            or (lasts >= _SOON and self._grows(_GROWING, self._evident_from))
            or (lasts >= _LASTING and verdict and self._grows(1.0, self._evident_from))
        ):
            self._bind(seen, wanted)
        elif self._evidence > _PATIENT and lasts >= _LASTING and self.surge is not None:
            self._hold(_MILDLY, now, min(_MOST_HELD, _LONGEST_HELD + 4 * seen.typical))
            self._set(_MILD * seen.ahead)

    def starved(self, now: float) -> None:
        """The event loop was late, since others had the processor."""
        if now - self._starved_at > 4 * _SOON:
            self._starved_since = now
        self._starved_at = now

    def _excused(self, now: float) -> bool:
        """Whether it is the machine that is slow, and has not been for long."""
        return now - self._starved_at < _SOON and now - self._starved_since < _STARVED

    def _held(self, seen: Seen, wanted: float, now: float) -> None:
        slow = self._slow(seen, now - self._held_at if self.pressed else 0.0)
        if seen.slower < log(_CALM):
            self._in_vain(now, int(seen.ahead))
        elif slow and self._otherwise(seen):
            self._relearn(0.5, seen)
            self._in_vain(now, int(seen.ahead))
        elif slow and self._floods(_HELD_GROWING, self._held_from) and not self._excused(now):
            self._bind(seen, wanted)
            self._compared = None  # it is on its way up

    def _in_vain(self, now: float, under_way: int) -> None:
        if self.surge is not None:
            self.surge.harmless(now, under_way)
        self._unbind()

    def _relearn(self, at_once: float, seen: Seen | None) -> None:
        if seen is not None:
            self._usually = max(self._usually, seen.ahead)
        self._routes.learn(self._lasted, at_once)
        self._evidence = 0
        self._compared = None

    def _mildly(self, seen: Seen, wanted: float, now: float) -> None:
        verdict = self._queued(seen)
        if verdict is False:
            self._relearn(1.0, seen)
            self._in_vain(now, int(seen.ahead))
        elif self._slow(seen) and (verdict or self._floods(_FLOODED, (self._came, self._ended))):
            self._bind(seen, wanted)
        elif not self.pressed:
            self._in_vain(now, int(seen.ahead))

    def _bind(self, seen: Seen, wanted: float) -> None:
        self._state = _BOUND
        self.holding = False
        self._denied = 0
        self._probed_at = self._since
        self._compared = (log(max(1.0, seen.ahead)), seen.slower)
        self._set(wanted)

    def _bound(self, seen: Seen, wanted: float, _now: float) -> None:
        if not self.pressed:
            self._open(seen.ahead)
            return
        verdict = self._queued(seen) if seen.ahead <= 2 * self.limit else None
        self._denied = 0 if verdict is not False or seen.slower <= log(HEADROOM) else self._denied + 1
        if self._denied > 1:
            self._denied = 0
            self._relearn(1.0, seen)
            wanted *= exp(seen.slower)
            self._compared = (log(max(1.0, seen.ahead)), 0.0)
        elif verdict or self._compared is None or (verdict is False and not self._denied):
            self._compared = (log(max(1.0, seen.ahead)), seen.slower)
        room = seen.share < SHARE
        self._set(GROWTH * self.limit if room else min(GROWTH * self.limit, (self.limit + wanted) / 2))
        if self._since - self._probed_at >= _PROBE_EVERY:
            self._probed_at = self._since
            self._state = _PROBING
            self._resume = self.limit
            self._set(_PROBE * self.limit)

    def _probed(self, _seen: Seen, _wanted: float, _now: float) -> None:
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
        self.holding = False
        self._evidence = 0
        self._compared = None
        self.limit = self.most

    def _set(self, wanted: float) -> None:
        least = max(LEAST, int(self._usually))
        self.limit = min(self.most, max(least, int(wanted)))
