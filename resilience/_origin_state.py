"""What is remembered of one origin, whatever pipeline a call to it runs in."""

import threading
from copy import copy

from ._forked import ReentrantLock
from ._permits import Permits
from .adaptive import Gradient2
from .budget import Budget
from .circuit import CircuitBreaker
from .keys import Keys
from .policy import Tools
from .stale import Answers
from .throttle import Tally

__all__ = ["OriginState"]


class OriginState:
    """What is remembered of one origin: shared by all pipelines to it, whatever their settings.

    A service that crawls makes one for nearly every call, so each part is made when it is first needed, if its absence
    costs a call nothing. One lock serves breakers, budget and places: calls that go well take none.
    """

    __slots__ = (
        "_keys",
        "_tools",
        "adaptive",
        "answers",
        "breaker",
        "budget",
        "permits",
        "routes",
        "tally",
        "target",
    )

    def __init__(self, target: str, breaker: CircuitBreaker, budget: Budget, tools: Tools) -> None:
        """`breaker`, `budget`: patterns of its own, with the numbers of its settings."""
        # Reentrant: a collected coroutine gives back what it holds wherever the collector happens to run.
        lock = ReentrantLock()
        self.target = target
        self.budget = budget.of(tools.clock.now(), lock)
        self._tools = tools
        self._keys: Keys | None = None
        self.permits = Permits(lock)
        self.adaptive: Gradient2 | None = None
        """The limit found for it, from the first pipeline on that asks for one."""
        self.tally: Tally | None = None
        """What calls came to, likewise for the throttle."""
        self.answers: Answers | None = None
        """The last good answers of it, likewise for stale-on-error."""
        self.breaker = breaker.of(target, lock)
        self.routes: dict[str, CircuitBreaker] = {}
        """The breakers of single paths of it, by the pattern in `breaker_routes`, from the first call on."""

    @property
    def keys(self) -> Keys:
        """What it says of idempotency keys, from the first unsafe call on."""
        if self._keys is None:
            # Without a lock: of two threads that cross one may lose what it hears, and hears it again.
            self._keys = Keys(self.target, self._tools)
        return self._keys

    def route(self, pattern: str) -> CircuitBreaker:
        """The breaker of one of the `breaker_routes`; all else is shared with the origin."""
        found = self.routes.get(pattern)
        if found is None:
            made = self.breaker.of(f"{self.target}{pattern}", self.breaker._lock)
            found = self.routes.setdefault(pattern, made)  # one of two threads that cross wins
        return found

    def in_child(self) -> "OriginState":
        """The same after a fork, with new locks; another one, with free places, where the parent's calls hold some."""
        lock = ReentrantLock()
        self.budget._lock = lock
        for circuit in (self.breaker, *self.routes.values()):
            circuit._lock = lock
        for each in (self.tally, self.answers, self.adaptive):
            if each is not None:
                each._lock = threading.Lock()
        if not self.permits.held and not self.permits.waiting:
            self.permits._lock = lock
            return self
        # The one that forked may itself be such a call, and gives its place back to the old permits.
        child = copy(self)
        child.permits = Permits(lock)
        return child
