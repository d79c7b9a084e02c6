"""Finds how many calls at a time a peer takes, from how long they take: Gradient2.

Netflix/concurrency-limits, `Gradient2Limit.java` in windows as by `WindowedLimit.java`; told in
"Performance Under Load" (Netflix TechBlog, 2018). In each window

    gradient = max(0.5, min(1, 1.5 * long / short))      short: mean of the window, long: of 600 windows
    limit    = 0.8 * limit + 0.2 * (gradient * limit + headroom)

Three things are not from that file. The headroom is the square root of the limit, at least 4, as
in `GradientLimit.java` and in Envoy's gradient controller: 4 alone takes minutes to a large limit.
A window with overload in it (a timeout, 429, 503) ends with 0.9 of the limit, as in
`AIMDLimit.java`: Gradient2 sees answers only. And as the long mean, under a load that never ends,
drifts to whatever the queue makes of it, every ten seconds one window runs at 0.4 of the limit and
says what the long mean is (Envoy and `GradientLimit.java` probe as well, with almost no calls
admitted meanwhile).
"""

import threading
from math import sqrt

__all__ = ["Gradient2"]

_WINDOW = 0.25
"""Seconds of a window, at least."""
_SAMPLES = 10
"""Answers of a window, at least (WindowedLimit)."""
_LONG = 600
"""Windows of the long mean; the first ten are a plain mean (ExpAvgMeasurement)."""
_WARM = 10
_PROBE_EVERY = 40
"""Windows from one probe of the long mean to the next, while the limit is what binds."""
_PROBE = 0.4
"""Of the limit, during a probe: 1.5 x 0.4 < 1, so that a limit far too large shrinks with each probe."""
_TOLERANCE = 1.5
_SMOOTHING = 0.2
_BACK_OFF = 0.9
_MINIMUM = 4


class Gradient2:
    """The limit of one origin. Told of every answer; safe for threads.

    `limit` begins at `initial` and stays between 4 (or `most`, where that is less) and the `most`
    that each answer names. Seconds throughout.
    """

    def __init__(self, initial: int = 20) -> None:
        self.limit = initial
        """Calls that may be under way at a time."""
        self._estimate = float(initial)
        self._lock = threading.Lock()
        self._long = 0.0
        self._windows = 0
        self._until_probe = _PROBE_EVERY
        self._probing = False
        self._since = self._sum = self._backed_off = 0.0
        self._count = self._peak = 0
        self._drops = False

    def took(self, began: float, ended: float, under_way: int, most: int) -> None:
        """A call went well; `under_way` counts it and the others at its end."""
        with self._lock:
            if self._probing and began < self._since:
                return  # it stood in the queue of the whole limit
            self._sum += ended - began
            self._count += 1
            self._peak = max(self._peak, under_way)
            self._close(ended, most)

    def dropped(self, began: float, ended: float, most: int) -> None:
        """A call that began at `began` met overload."""
        with self._lock:
            if began >= self._backed_off:  # else it tells of the limit before
                self._drops = True
                self._close(ended, most)

    def _begin(self, now: float) -> None:
        self._since = now
        self._sum = 0.0
        self._count = self._peak = 0
        self._drops = False

    def _close(self, now: float, most: int) -> None:
        """End the window, if it is time."""
        if now < self._since + _WINDOW or (self._count < _SAMPLES and not self._drops):
            return
        short = self._sum / self._count if self._count else 0.0
        if self._drops:
            self._estimate *= _BACK_OFF
            self._backed_off = now
            self._probing = False
        elif self._probing:
            self._probing = False
            # One window may err upwards by an outlier, hardly downwards.
            self._long = min(short, (self._long + short) / 2)
        else:
            self._follow(short)
        self._estimate = max(min(_MINIMUM, most), min(most, self._estimate))
        self.limit = max(1, int(self._estimate * _PROBE)) if self._probing else int(self._estimate)
        self._begin(now)

    def _follow(self, short: float) -> None:
        self._average(short)
        estimate = self._estimate
        if self._peak < estimate / 2:
            return  # the limit is not what holds the calls back: it has shown nothing
        gradient = max(0.5, min(1.0, _TOLERANCE * self._long / short)) if short > 0 else 1.0
        wanted = estimate * gradient + max(4.0, sqrt(estimate))
        self._estimate = estimate * (1 - _SMOOTHING) + wanted * _SMOOTHING
        self._until_probe -= 1
        if self._until_probe <= 0:
            self._until_probe = _PROBE_EVERY
            self._probing = True

    def _average(self, short: float) -> None:
        self._windows += 1
        if self._windows <= _WARM:
            self._long += (short - self._long) / self._windows
        else:
            self._long += (short - self._long) * 2 / (_LONG + 1)
        if self._long > 2 * short:
            self._long *= 0.9  # back from a long overload: sooner than the mean by itself
