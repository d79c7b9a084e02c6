"""One warning for each outage of a store, and one line when it is over."""

import logging
from collections.abc import Callable

__all__ = ["Outage"]

STEADY = 2.0
"""Seconds of good rounds after which an outage is over: a server that comes and goes is one outage."""

LOST = (
    "breakers are not shared through %s: %s; each goes by its own calls, no call is affected or "
    "waits (said once until it works again)"
)
"""What is said of breakers: the store, and what the trouble is."""
BACK = "breakers are shared through %s again, after %.0f s"

_log = logging.getLogger("handrail")


class Outage:
    """Told after every round how it went. `lost` and `back` are the two lines, with the places of LOST and BACK."""

    def __init__(self, shown: str, now: Callable[[], float], lost: str = LOST, back: str = BACK) -> None:
        self.shown = shown
        self._lost, self._back = lost, back
        self._now = now
        self._began: float | None = None
        self._good: float | None = None

    @property
    def told_of(self) -> bool:
        """Whether its warning was given, and the line of its end not yet."""
        return self._began is not None

    @property
    def lasts(self) -> bool:
        """Whether the last round failed."""
        return self._began is not None and self._good is None

    def told(self, trouble: str) -> None:
        """Take note of a round; `trouble` is empty where it went well."""
        now = self._now()
        if trouble:
            if self._began is None:
                self._began = now
                _log.warning(self._lost, self.shown, trouble)
            self._good = None
            return
        if self._began is None:
            return
        if self._good is None:
            self._good = now
        if now - self._good >= STEADY:
            _log.info(self._back, self.shown, self._good - self._began)
            self._began = self._good = None
