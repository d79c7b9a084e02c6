"""How long a request of each route usually takes, so that one of 1 ms and one of 5 s can be held against the same rule.

What is kept is the mean of the logarithm: one slow answer among many moves it little, and an answer that takes twice
as long counts the same on every route.
"""

from dataclasses import dataclass
from math import exp, log, sqrt

__all__ = ["GRAIN", "Routes", "Seen"]

_MOST = 500
"""Routes told apart; those beyond share one entry."""
_UP, _DOWN = 100.0, 10.0
"""Seconds in which the usual goes two thirds of the way, up or down: what is slower for a while is rather load than
what is usual."""
_WARM = 25
"""Windows of a plain mean."""
_FEW = 3
"""Answers of a route in a window, at least, to call it slow."""
GRAIN = 0.002
"""Seconds added to every latency: below that, jitter is what changes, and not the load."""


class Route:
    """One route: what this window has brought, and what is usual."""

    __slots__ = ("ahead", "count", "level", "logs", "seconds", "squares", "usual", "variance", "windows")

    def __init__(self) -> None:
        self.begin()
        self.level = 0.0
        """The mean of the logarithm, with the grain."""
        self.variance = 0.0
        """Of the logarithm of a single answer."""
        self.usual = 0.0
        """Seconds: the plain mean, for Little's law, in which one answer of 2 s counts as much as 200 of 10 ms."""
        self.windows = 0

    def begin(self) -> None:
        """The next window."""
        self.ahead = self.count = 0
        self.logs = self.squares = self.seconds = 0.0

    def slower(self) -> float:
        """The logarithm of how many times slower than usual this window's answers were."""
        return self.logs / self.count - self.level

    def sure(self, least: float, deviations: float) -> bool:
        """Whether they were slower by so much, and not by chance, which is so many standard deviations."""
        return self.count >= _FEW and self.slower() > max(least, deviations * sqrt(self.variance / self.count))

    def first(self) -> None:
        """Nothing is known of this route but the window."""
        self.level = self.logs / self.count
        self.usual = self.seconds / self.count

    def learn(self, seconds: float, at_once: float) -> None:
        """Let the usual follow this window of `seconds`: slowly, or as far as `at_once` (0 to 1) says."""
        mean = self.logs / self.count
        off = mean - self.level
        warm = 1 / (self.windows + 1) if self.windows < _WARM else 0.0
        step = max(at_once, warm, min(1.0, seconds / (_UP if off > 0 else _DOWN)))
        if off < -log(2):
            step = max(step, 0.1)  # half of what was usual: the cause is gone
        self.level += off * step
        self.usual += (self.seconds / self.count - self.usual) * step
        if self.count > 1:
            spread = max(0.0, self.squares - self.count * mean * mean) / (self.count - 1)
            self.variance += (spread - self.variance) * max(warm, 0.01)


@dataclass(frozen=True, slots=True)
class Seen:
    """A window. `slower` (a logarithm) and `ahead` (requests under way when they came) are of the slow routes, or of
    all where none is; `share` is the part of the answers that slow routes have. `usual` is the sum of the seconds that
    all answers would have taken as usual; a slow answer took `typical` seconds, those of a slow route `longest`.
    """

    slower: float
    ahead: float
    share: float
    usual: float
    longest: float
    typical: float


class Routes:
    """All routes of one event loop, and the window that is open."""

    def __init__(self) -> None:
        self._known: dict[object, Route] = {}
        self._rest = Route()
        self._touched: list[Route] = []

    def took(self, key: object, seconds: float, ahead: int) -> None:
        """A request of the route went well; so many were under way when it came, with itself."""
        route = self._known.get(key)
        if route is None:
            route = self._add(key)
        if route.count == 0:
            self._touched.append(route)
        route.count += 1
        route.ahead += ahead
        logarithm = log(seconds + GRAIN)
        route.logs += logarithm
        route.squares += logarithm * logarithm
        route.seconds += seconds

    def usual_of(self, key: object) -> float:
        """Seconds; 0 for a route that is new."""
        route = self._known.get(key)
        return 0.0 if route is None else route.usual

    def _add(self, key: object) -> Route:
        if len(self._known) >= _MOST:
            return self._rest
        route = self._known[key] = Route()
        return route

    def seen(self, least: float, deviations: float) -> Seen | None:
        """The window that is open; slow are routes that are slower by `least` for sure. None where nothing was seen."""
        touched = self._touched
        if not touched:
            return None
        for route in touched:
            if not route.windows:
                route.first()
        slow = [route for route in touched if route.sure(least, deviations)]
        meant = slow or touched
        count = sum(route.count for route in meant)
        return Seen(
            sum(route.count * route.slower() for route in meant) / count,
            sum(route.ahead for route in meant) / count,
            count / sum(route.count for route in touched) if slow else 0.0,
            sum(route.count * route.usual for route in touched),
            max((route.usual * exp(route.slower()) for route in slow), default=0.0),
            max((exp(route.logs / route.count) for route in slow), default=0.0),
        )

    def learn(self, seconds: float, at_once: float = 0.0) -> None:
        """Let the usual follow this window."""
        for route in self._touched:
            route.learn(seconds, at_once)

    def begin(self, *, counted: bool = True) -> None:
        """The next window; `counted`: the last one is to be known of each route."""
        for route in self._touched:
            route.windows += counted
            route.begin()
        self._touched.clear()
