"""The one list that states which policies stand around an outbound call, and in which order."""

import threading
from copy import copy

from ._circuit_rules import Rules
from ._permits import Permits
from .adaptive import Gradient2
from .budget import Budget
from .bulkhead import Bulkhead
from .circuit import CircuitBreaker
from .hedge import Hedge
from .keys import Keys
from .pipeline import Pipeline
from .policy import Policy, Tools
from .retry import Retry
from .settings import ResilienceSettings
from .stale import Answers, StaleOnError
from .throttle import Tally, Throttle
from .timeouts import AttemptTimeout, TotalTimeout

__all__ = ["OriginState", "standard"]


class OriginState:
    """What is remembered of one origin: shared by all pipelines to it, whatever their settings."""

    __slots__ = ("adaptive", "answers", "breaker", "budget", "keys", "permits", "routes", "tally", "target")

    def __init__(self, target: str, settings: ResilienceSettings, tools: Tools) -> None:
        self.target = target
        self.budget = Budget(
            ratio=settings.retry_budget, window=settings.retry_budget_window, floor=settings.retry_budget_floor
        )
        self.keys = Keys(target, tools)
        self.permits = Permits()
        self.adaptive: Gradient2 | None = None
        """The limit found for it, from the first pipeline on that asks for one."""
        self.tally: Tally | None = None
        """What calls came to, likewise for the throttle."""
        self.answers: Answers | None = None
        """The last good answers of it, likewise for stale-on-error."""
        self.breaker = CircuitBreaker(target, Rules.of(settings), tools=tools)
        self.routes: dict[str, CircuitBreaker] = {}
        """The breakers of single paths of it, by the pattern in `breaker_routes`, from the first call on."""

    def route(self, pattern: str, settings: ResilienceSettings, tools: Tools) -> CircuitBreaker:
        """The breaker of one of the `breaker_routes`; all else is shared with the origin."""
        found = self.routes.get(pattern)
        if found is None:
            made = CircuitBreaker(f"{self.target}{pattern}", Rules.of(settings), tools=tools)
            found = self.routes.setdefault(pattern, made)  # one of two threads that cross wins
        return found

    def in_child(self) -> "OriginState":
        """The same after a fork, with new locks; another one, with free places, where the parent's calls hold some."""
        for circuit in (self.breaker, *self.routes.values()):
            circuit._lock = threading.RLock()
        for one in (self.budget, self.tally, self.answers, self.adaptive):
            if one is not None:
                one._lock = threading.Lock()
        if not self.permits.held and not self.permits.waiting:
            self.permits._lock = threading.RLock()
            return self
        # The one that forked may itself be such a call, and gives its place back to the old permits.
        child = copy(self)
        child.permits = Permits()
        return child


def standard(
    target: str,
    settings: ResilienceSettings | None = None,
    tools: Tools | None = None,
    state: OriginState | None = None,
    breaker: CircuitBreaker | None = None,
) -> Pipeline:
    """The pipeline of one origin, outermost first.

    The total binds everything, pauses too. Each attempt passes the breaker, so that retries
    end where it opens, and an open breaker is not tried again. The attempt's own time is
    innermost: a timeout is a failure that the breaker counts and the retry may repeat. The bulkhead
    is just outside of it: it counts real calls, not pauses, and who waits in it spends the call's
    time, not the attempt's. What is off by its setting is not in the list.
    """
    given = settings or ResilienceSettings()
    tools = tools or Tools()
    state = state or OriginState(target, given, tools)
    breaker = breaker or state.breaker
    bulkhead = _bulkhead(target, given, tools, state)
    return Pipeline(
        *_stale(given, tools, state),
        TotalTimeout(given.total_timeout, tools=tools),
        Retry(
            attempts=given.attempts,
            backoff_base=given.backoff_base,
            backoff_cap=given.backoff_cap,
            longest_wait=given.total_timeout,
            budget=state.budget,
            keys=state.keys,
            key_mode=given.idempotency_keys,
            tools=tools,
        ),
        *_hedge(given, tools, state, breaker, bulkhead),
        breaker,
        *_throttle(target, given, tools, state),
        bulkhead,
        AttemptTimeout(given.attempt_timeout, tools=tools),
    )


def _stale(given: ResilienceSettings, tools: Tools, state: OriginState) -> list[Policy]:
    if not given.stale_on_error:
        return []
    state.answers = state.answers or Answers()
    return [StaleOnError(given.stale_on_error, answers=state.answers, tools=tools)]


def _hedge(
    given: ResilienceSettings, tools: Tools, state: OriginState, breaker: CircuitBreaker, bulkhead: Bulkhead
) -> list[Policy]:
    if not given.hedge_after:
        return []

    def free() -> bool:
        # A second request is for a peer that is slow now and then: none in trouble, and none that would wait.
        return breaker.state == "closed" and not breaker.recovering and bulkhead.has_room()

    return [Hedge(given.hedge_after, budget=state.budget, free=free, tools=tools)]


def _throttle(target: str, given: ResilienceSettings, tools: Tools, state: OriginState) -> list[Policy]:
    if not given.throttle:
        return []
    state.tally = state.tally or Tally()
    return [Throttle(target, given.throttle, tally=state.tally, tools=tools)]


def _bulkhead(target: str, given: ResilienceSettings, tools: Tools, state: OriginState) -> Bulkhead:
    if given.adaptive_concurrency:
        state.adaptive = state.adaptive or Gradient2()
    return Bulkhead(
        target,
        limit=given.bulkhead_limit,
        queue=given.bulkhead_queue,
        wait=given.bulkhead_wait,
        permits=state.permits,
        adaptive=state.adaptive if given.adaptive_concurrency else None,
        tools=tools,
    )
