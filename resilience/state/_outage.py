"""One warning for each outage of a store, and one line when it is over."""

import logging
from collections.abc import Callable

__all__ = ["Outage"]

STEADY = 2.0
"""Seconds of good rounds after which an outage is over: a server that comes and goes is one outage."""

_log = logging.getLogger("handrail")


class Outage:
    """Told after every round how it went."""

    def __init__(self, shown: str, now: Callable[[], float]) -> None:
        self._shown = shown
        self._now = now
        self._began: float | None = None
        self._good: float | None = None

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
                _log.warning(
                    "breakers are not shared through %s: %s; each goes by its own calls, no call is affected or "
                    "waits (said once until it works again)",
                    self._shown,
                    trouble,
                )
            self._good = None
            return
        if self._began is None:
            return
        if self._good is None:
            self._good = now
        if now - self._good >= STEADY:
            _log.info("breakers are shared through %s again, after %.0f s", self._shown, self._good - self._began)
            self._began = self._good = None
