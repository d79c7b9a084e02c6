"""One warning a minute about a collector, whichever signal does not reach it."""

from urllib.parse import urlsplit

__all__ = ["Quiet", "of_collector"]

_QUIET_FOR = 60.0
"""Seconds between two warnings about the same destination."""

_known: dict[str, "Quiet"] = {}


class Quiet:
    """Says whether a warning is due; the clock is whoever asks."""

    def __init__(self) -> None:
        self._until = -1.0

    def due(self, now: float) -> bool:
        """Whether to warn at `now` (seconds); then not again for a minute."""
        if now < self._until:
            return False
        self._until = now + _QUIET_FOR
        return True


def of_collector(url: str) -> Quiet:
    """The one for the collector at `url`: spans and metrics fail together, and that is one piece of news."""
    return _known.setdefault(urlsplit(url).netloc or url, Quiet())
