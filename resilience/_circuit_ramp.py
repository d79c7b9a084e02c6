"""How a circuit that has just closed comes back to full load: TCP's slow start (RFC 5681, 3.1).

A service that was down has cold caches, empty pools and a queue of clients that waited for it. Whoever lets all of
them at it at once often brings it down again.
"""

from .window import Window

__all__ = ["Ramp"]

_BEGIN = 2
_SHORTEST, _LONGEST, _UNKNOWN = 0.05, 1.0, 0.1


class Ramp:
    """The calls let through at a time: two, and one more for each that succeeds, which doubles them each round trip.

    Whoever shares one among threads holds a lock. It is the permit of the calls that it let in.
    """

    __slots__ = ("_limit", "_pace", "_under_way", "ends", "window")

    def __init__(self, window: Window, ends: float, trip: float | None) -> None:
        self.window = window
        """That of the closed period, which stays when the ramp is over."""
        self.ends = ends
        """When it is over at the latest; a quiet service would ramp for ever."""
        self._limit = _BEGIN
        self._under_way = 0
        self._pace = _UNKNOWN if trip is None else min(max(trip, _SHORTEST), _LONGEST)

    def enters(self) -> bool:
        """Whether one more may go; who goes has to leave."""
        if self._under_way >= self._limit:
            return False
        self._under_way += 1
        return True

    def leaves(self, good: bool) -> int:
        """One that went is back. Returns how many may go at a time from now on."""
        self._under_way -= 1
        self._limit += good
        return self._limit

    @property
    def limit(self) -> int:
        """How many may go at a time."""
        return self._limit

    def wait(self) -> float:
        """Seconds until one more may go, as far as anybody can tell: one round trip; 0 where one may now."""
        return self._pace if self._under_way >= self._limit else 0.0
