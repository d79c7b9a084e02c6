"""One pipeline for each origin of this process, and never more than a set number of them."""

import threading

from .circuit import CircuitBreaker
from .defaults import OriginState, standard
from .pipeline import Pipeline
from .policy import Tools
from .settings import ResilienceSettings

__all__ = ["Entry", "Registry"]

_DEFAULT_PORTS = {"http": 80, "https": 443}
_ROOM = 8  # one sweep frees an eighth, so that a crawl does not sweep for every new origin


class Entry:
    """What is kept for one origin."""

    __slots__ = ("pipeline", "settings", "state", "target", "used")

    def __init__(self, target: str, settings: ResilienceSettings, tools: Tools) -> None:
        self.target = target
        """The origin as text, without its scheme's default port: `http://host:8003`."""
        self.settings = settings
        """Those of this origin."""
        self.state = OriginState(target, settings, tools)
        self.pipeline: Pipeline = standard(target, settings, tools, self.state)
        self.used = False
        """Asked for again since it was made, or since the last sweep."""

    @property
    def breaker(self) -> CircuitBreaker:
        """The circuit breaker of this origin."""
        return self.state.breaker

    def _worth(self) -> tuple[bool, bool, bool]:
        """Sorts what may be forgotten first to the front: an open breaker last, then failures seen, then use."""
        return self.breaker.retry_after() > 0, self.breaker.failure_rate() > 0, self.used


class Registry:
    """The pipelines of all origins, made when first asked for. Safe for threads."""

    def __init__(self, settings: ResilienceSettings | None = None, tools: Tools | None = None) -> None:
        self.settings = settings or ResilienceSettings()
        self.tools = tools or Tools()
        self._entries: dict[tuple[str, str, int], Entry] = {}
        self._lock = threading.Lock()

    def pipeline(self, scheme: str, host: str, port: int) -> Entry:
        """The entry of an origin; scheme and host in lower case, IPv6 without brackets."""
        entry = self._entries.get((scheme, host, port))
        if entry is None:
            return self._make(scheme, host, port)
        entry.used = True
        return entry

    def entries(self) -> list[Entry]:
        """All that is kept, by target."""
        with self._lock:
            return sorted(self._entries.values(), key=lambda entry: entry.target)

    def _make(self, scheme: str, host: str, port: int) -> Entry:
        key = (scheme, host, port)
        target = _target(scheme, host, port)
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                if len(self._entries) >= self.settings.max_origins:
                    self._sweep()
                entry = self._entries[key] = Entry(target, self.settings, self.tools)
            return entry

    def _sweep(self) -> None:
        # Calls under way keep the pipeline that they run in; only its memory of failures ends with it.
        worth = sorted(((entry._worth(), key) for key, entry in self._entries.items()), key=lambda pair: pair[0])
        for _, key in worth[: max(1, len(worth) // _ROOM)]:
            del self._entries[key]
        for entry in self._entries.values():
            entry.used = False


def _target(scheme: str, host: str, port: int) -> str:
    if ":" in host:
        host = f"[{host}]"
    return f"{scheme}://{host}" if _DEFAULT_PORTS.get(scheme) == port else f"{scheme}://{host}:{port}"
