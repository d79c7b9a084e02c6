"""What a window of answers says of a service: how slow it is, and whether it may be a queue that is the cause."""

from abc import ABC, abstractmethod
from math import exp, log, sqrt

from ._shedding_routes import Routes, Seen
from ._shedding_surge import CHANCE, Counts

__all__ = ["HELD_SAMPLES", "LEAST", "SHARE", "STALE", "WINDOW", "Window"]

WINDOW = 0.05
"""Seconds of a window, at least."""
SAMPLES = 20
"""Answers of a window, at least."""
STALE = 2.0
"""Seconds after which a window ends without them."""
HELD_SAMPLES, _HELD_WINDOW = 8, 0.02
"""As above, while requests are held."""
LEAST = 8
"""The limit is never less."""
FLOOR = 0.1
"""Seconds: what takes less is in time, however much less it takes as usual."""
SHARE = 0.1
"""Of the answers, on routes that are slow: fewer are no reason to refuse."""
_APART = 0.3
"""A logarithm: from there on two numbers of requests under way differ enough to compare what they took."""
_QUEUE, _NO_QUEUE = 0.5, 0.25
"""How the logarithm of the latency follows that number."""
_USUALLY = 20.0
"""Seconds in which the usual number under way goes two thirds of the way."""
_STEADY = 0.7
"""Of the usual number of answers in a second."""


class Window(ABC):
    """The one that is open, and what was usual before. Seconds; `now` comes with each call. Not for several threads."""

    holding = False
    """Whether what is found of requests is waited for: then windows are short."""

    def __init__(self, now: float, counts: Counts) -> None:
        self.pressed = False
        """Whether the limit held somebody back in this window; said by the same."""
        self.usual = 0.0
        """Seconds of an answer, of all routes together."""
        self._counts = counts
        self._routes = Routes()
        self._since = self._counts_from = now
        self._came = self._ended = self._told = 0
        self._count = self._before_limit = 0
        self._as_usual = self._parked = 0.0
        self._lasted = 0.0
        self._windows = 0
        self._usually = self._rate = 0.0
        """Under way, and answers a second."""
        self._compared: tuple[float, float] | None = None

    @abstractmethod
    def _close(self, now: float) -> bool:
        """The window is over: True."""

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
        held = self.holding
        if open_for < (_HELD_WINDOW if held else WINDOW):
            return False
        return (self._count >= (HELD_SAMPLES if held else SAMPLES) or open_for >= STALE) and self._close(now)

    def _begin(self, now: float, *, counted: bool = True) -> None:
        """The next window."""
        self._routes.begin(counted=counted)
        self._since = now
        self._came, self._ended = self._counts.came, self._counts.ended
        self._count = self._before_limit = self._told = 0
        self._as_usual = self._parked = 0.0
        self.pressed = False

    def _learn(self, seen: Seen) -> None:
        """All is well: what was seen is usual."""
        self._routes.learn(self._lasted)
        self._windows += 1
        step = max(min(1.0, self._lasted / _USUALLY), 1 / self._windows)
        self._usually += step * (seen.ahead / max(1.0, exp(seen.slower)) - self._usually)
        self._rate += step * ((self._counts.ended - self._ended) / self._lasted - self._rate)

    def _slow(self, seen: Seen, waited: float = 0.0) -> bool:
        """Whether this can be a queue that matters."""
        return seen.share >= SHARE and seen.ahead >= LEAST and seen.typical + waited >= FLOOR

    def _otherwise(self, seen: Seen) -> bool:
        """Whether it is slower by more than a queue of so many would be."""
        return log(max(1.0, seen.ahead)) - log(max(1.0, self._usually)) < seen.slower - _APART

    def _more(self, times: float) -> bool:
        """Whether so many times more came in this window than ended."""
        return self._counts.came - self._came >= times * (self._counts.ended - self._ended)

    def _grows(self, times: float, since: tuple[int, int]) -> bool:
        """Whether so many times more came than ended since then, and not by chance."""
        came, ended = self._counts.came - since[0], self._counts.ended - since[1]
        return came >= times * ended and came - ended > CHANCE * sqrt(came + ended)

    def _floods(self, times: float, since: tuple[int, int]) -> bool:
        """Whether moreover as many ended as usual: where less do, it is a dependency that has become slower."""
        return self._counts.ended - self._ended >= _STEADY * self._rate * self._lasted and self._grows(times, since)

    def _queued(self, seen: Seen) -> bool | None:
        """Whether answers take longer the more are under way; None where these did not change enough to say."""
        if self._compared is None:
            return None
        ahead, slower = self._compared
        apart = log(max(1.0, seen.ahead)) - ahead
        if abs(apart) < _APART:
            return None
        slope = (seen.slower - slower) / apart
        return True if slope >= _QUEUE else False if slope < _NO_QUEUE else None
