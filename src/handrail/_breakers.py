"""What people and admin endpoints do with breakers: look, hold one open, close it."""

import re
from collections.abc import Iterator, Mapping
from math import isinf
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from .resilience.origins import ascii_name

if TYPE_CHECKING:
    from .resilience.circuit import CircuitBreaker
    from .resilience.registry import Registry

__all__ = ["Breaker", "Breakers", "breakers"]

_PORTS = {"http": 80, "https": 443}


class Breaker:
    """The circuit breaker of one origin, or of one route of it, as it is at the moment of asking.

    Every method may be called from any thread. It is the breaker of this process: each worker has its own.
    """

    __slots__ = ("_breaker",)

    def __init__(self, breaker: "CircuitBreaker") -> None:
        self._breaker = breaker

    @property
    def target(self) -> str:
        """The origin, with the route's pattern where it is one of those: `http://payment:8003/charges/*`."""
        return self._breaker.target

    @property
    def state(self) -> str:
        """closed, open or half_open."""
        return self._breaker.state

    @property
    def isolated(self) -> bool:
        """Whether it is open by hand."""
        return self._breaker.isolated

    @property
    def recovering(self) -> bool:
        """Whether it has just closed and lets only some calls through at a time."""
        return self._breaker.recovering

    @property
    def reason(self) -> str:
        """What opened it, in words; empty while it is closed."""
        return self._breaker.reason

    @property
    def failure_rate(self) -> float:
        """The share of failures (0..1) in the window, or that which opened it."""
        return self._breaker.counts()[0]

    @property
    def calls(self) -> int:
        """How many calls that share is taken from."""
        return self._breaker.counts()[1]

    @property
    def retry_after(self) -> float | None:
        """Seconds until a call may go out, 0 where one may now; None while isolated."""
        seconds = self._breaker.retry_after()
        return None if isinf(seconds) else seconds

    def isolate(self) -> bool:
        """Refuse every call until somebody closes it; time never does. False where that was so already."""
        return self._breaker.isolate()

    def close(self) -> bool:
        """Let calls through again, few at a time at first; ends an isolation too. False where it was closed."""
        return self._breaker.close()

    def reset(self) -> bool:
        """Close it, let everything through at once and forget what was. False where it was closed."""
        return self._breaker.reset()

    def __repr__(self) -> str:
        about = f": {self.reason}" if self.reason else " (recovering)" if self.recovering else ""
        return f"<Breaker {self.target} {self.state}{about}>"


class Breakers(Mapping[str, Breaker]):
    """The breakers of this process by target: those of the origins that were called, or asked for with `of`."""

    def __init__(self, registry: "Registry | None") -> None:
        self._registry = registry

    def of(self, url: str) -> Breaker:
        """The one that a call to this URL asks, made where none was made yet: so it can be isolated beforehand.

        Raises ValueError for what is no http or https URL, LookupError where handrail is off.
        """
        if self._registry is None:
            raise LookupError("handrail is not switched on: there are no breakers")
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ValueError(f"no http or https URL: {url!r}")
        entry = self._registry.pipeline(parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme])
        return Breaker(entry.route(parts.path).breaker)

    def _known(self) -> "dict[str, CircuitBreaker]":
        entries = [] if self._registry is None else self._registry.entries()
        return {breaker.target: breaker for entry in entries for breaker in entry.breakers()}

    def __getitem__(self, target: str) -> Breaker:
        known = self._known()
        if target not in known and not target.isascii():  # a name in letters; targets have it as the DNS has
            scheme, _, rest = target.partition("://")
            name = re.split("[:/]", rest, maxsplit=1)[0]
            target = f"{scheme}://{ascii_name(name)}{rest[len(name) :]}"
        if target not in known:
            raise KeyError(f"no breaker for {target!r}; there are: {', '.join(known) or 'none'}")
        return Breaker(known[target])

    def __iter__(self) -> Iterator[str]:
        return iter(self._known())

    def __len__(self) -> int:
        return len(self._known())

    def __repr__(self) -> str:
        return f"Breakers({list(self.values())!r})"


def breakers() -> Breakers:
    """The circuit breakers of this process, by origin: `breakers()["http://payment:8003"].isolate()`."""
    from . import _wire

    process = _wire.current()
    return Breakers(None if process is None else process.registry)
