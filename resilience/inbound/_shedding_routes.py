"""How long a request of each route usually takes, so that one of 1 ms and one of 5 s can be held against the same rule.

What is kept is the mean of the logarithm: one slow answer among many moves it little, and an answer that takes twice
as long counts the same on every route.
"""

from math import exp, log

__all__ = ["Route", "Routes"]

_MOST = 500
"""Routes told apart; those beyond share one entry."""
_SLOWEST = 0.002
"""How far the usual follows one window: 25 s of windows of 0.05 s until it has gone two thirds of the way."""
_WARM = 25
"""Windows of a plain mean."""
GRAIN = 0.002
"""Seconds added to every latency: below that, jitter is what changes, and not the load."""


class Route:
    """One route: what this window has brought, and what is usual."""

    __slots__ = ("count", "level", "logs", "usual", "windows")

    def __init__(self) -> None:
        self.count = 0
        self.logs = 0.0
        self.level = 0.0
        self.usual = 0.0
        """Seconds, without the grain."""
        self.windows = 0

    def shift(self, by: float) -> None:
        """Take another level for the usual one."""
        self.level += by
        self.usual = max(0.0, exp(self.level) - GRAIN)

    def begin(self) -> None:
        """The next window."""
        self.count = 0
        self.logs = 0.0


class Routes:
    """All routes of one event loop, and the window that is open."""

    def __init__(self) -> None:
        self._known: dict[object, Route] = {}
        self._rest = Route()
        self.touched: list[Route] = []
        """Those with answers in this window."""

    def took(self, key: object, seconds: float) -> None:
        """A request of the route went well."""
        route = self._known.get(key)
        if route is None:
            route = self._add(key)
        if route.count == 0:
            self.touched.append(route)
        route.count += 1
        route.logs += log(seconds + GRAIN)

    def usual_of(self, key: object) -> float:
        """Seconds; 0 for a route that is new."""
        route = self._known.get(key)
        return 0.0 if route is None else route.usual

    def _add(self, key: object) -> Route:
        if len(self._known) >= _MOST:
            return self._rest
        route = self._known[key] = Route()
        return route

    def usual(self) -> tuple[float, float]:
        """(by how much, as a logarithm, the answers of the window were slower than is usual on their routes; how many
        requests would have been under way at a time had each taken what is usual, times the seconds of the window).
        """
        slower = 0.0
        count = 0
        seconds = 0.0
        for route in self.touched:
            if not route.windows:
                route.shift(route.logs / route.count - route.level)
            slower += route.logs - route.count * route.level
            seconds += route.count * route.usual
            count += route.count
        return (slower / count if count else 0.0), seconds

    def learn(self, rate: float | None = None) -> None:
        """Let the usual follow this window: slowly, or as far as `rate` says."""
        for route in self.touched:
            off = route.logs / route.count - route.level
            step = rate
            if step is None:
                step = max(_SLOWEST, 1 / (route.windows + 1)) if route.windows < _WARM else _SLOWEST
                if off < -0.7:
                    step = max(step, 0.1)  # half of what was usual: the cause is gone
            route.shift(off * step)

    def begin(self) -> None:
        """The next window."""
        for route in self.touched:
            route.windows += 1
            route.begin()
        self.touched.clear()
