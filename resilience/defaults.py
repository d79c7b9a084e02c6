"""The one list that states which policies stand around an outbound call, and in which order."""

from ._circuit_rules import Rules
from ._origin_state import OriginState
from .adaptive import Gradient2
from .budget import Budget
from .bulkhead import Bulkhead
from .circuit import CircuitBreaker
from .hedge import Hedge
from .overrides import Override
from .pipeline import Pipeline
from .policy import Policy, Tools
from .retry import Retry
from .settings import ResilienceSettings
from .stale import Answers, StaleOnError
from .throttle import Tally, Throttle
from .timeouts import AttemptTimeout, TotalTimeout

__all__ = ["Plan", "standard"]

_VARIANTS = 32
"""Plans under different policies of the code, kept at a time for each plan."""


class Plan:
    """What origins with the same settings share. Immutable, but for what it keeps of what it has made.

    A policy that remembers nothing of an origin stands in all pipelines; of those that do there is a pattern here,
    and each origin gets its own `of` it.
    """

    __slots__ = (
        "_breaker",
        "_budget",
        "_bulkhead",
        "_innermost",
        "_retry",
        "_total",
        "_under",
        "rules",
        "settings",
        "tools",
    )

    def __init__(self, settings: ResilienceSettings, tools: Tools) -> None:
        self.settings = settings
        self.tools = tools
        self.rules = Rules.of(settings)
        """Those of the breakers."""
        self._total = TotalTimeout(settings.total_timeout, tools=tools)
        self._retry = Retry(
            attempts=settings.attempts,
            backoff_base=settings.backoff_base,
            backoff_cap=settings.backoff_cap,
            longest_wait=settings.total_timeout,
            key_mode=settings.idempotency_keys,
            tools=tools,
        )
        self._budget = Budget(
            ratio=settings.retry_budget, window=settings.retry_budget_window, floor=settings.retry_budget_floor
        )
        self._breaker = CircuitBreaker("", self.rules, tools=tools)
        self._bulkhead = Bulkhead(
            "",
            limit=settings.bulkhead_limit,
            queue=settings.bulkhead_queue,
            wait=settings.bulkhead_wait,
            tools=tools,
        )
        self._innermost = Pipeline(AttemptTimeout(settings.attempt_timeout, tools=tools))
        self._under: dict[object, Plan] = {}

    def under(self, override: Override) -> "Plan":
        """The plan of the same settings under an override."""
        found = self._under.get(override.key)
        if found is None:
            # Without a lock: two threads that cross make two of them, which are the same in all that counts.
            found = Plan(override.over(self.settings), self.tools)
            if len(self._under) >= _VARIANTS:
                self._under = {}
            self._under[override.key] = found
        return found

    def state(self, target: str) -> OriginState:
        """What is remembered of an origin, at first."""
        return OriginState(target, self._breaker, self._budget, self.tools)

    def pipeline(self, state: OriginState, breaker: CircuitBreaker) -> Pipeline:
        """The pipeline of one origin, outermost first.

        The total binds everything, pauses too. Each attempt passes the breaker, so that retries
        end where it opens, and an open breaker is not tried again. The attempt's own time is
        innermost: a timeout is a failure that the breaker counts and the retry may repeat. The bulkhead
        is just outside of it: it counts real calls, not pauses, and who waits in it spends the call's
        time, not the attempt's. What is off by its setting is not in the list.
        """
        given = self.settings
        bulkhead = self._places(state)
        return self._innermost.within(
            *(_stale(given, self.tools, state) if given.stale_on_error else ()),
            self._total,
            self._retry.of(state.budget, state),
            *(_hedge(given, self.tools, state, breaker, bulkhead) if given.hedge_after else ()),
            breaker,
            *(_throttle(given, self.tools, state) if given.throttle else ()),
            bulkhead,
        )

    def _places(self, state: OriginState) -> Bulkhead:
        given = self.settings
        if not given.adaptive_concurrency:
            return self._bulkhead.of(state.target, state.permits)
        state.adaptive = state.adaptive or Gradient2()
        return Bulkhead(
            state.target,
            limit=given.bulkhead_limit,
            queue=given.bulkhead_queue,
            wait=given.bulkhead_wait,
            permits=state.permits,
            adaptive=state.adaptive,
            tools=self.tools,
        )


def standard(
    target: str,
    settings: ResilienceSettings | None = None,
    tools: Tools | None = None,
    state: OriginState | None = None,
) -> Pipeline:
    """The pipeline of one origin; without a `state` by itself: nothing else shares its breaker, budget and places."""
    plan = Plan(settings or ResilienceSettings(), tools or Tools())
    state = state or plan.state(target)
    return plan.pipeline(state, state.breaker)


def _stale(given: ResilienceSettings, tools: Tools, state: OriginState) -> tuple[Policy, ...]:
    state.answers = state.answers or Answers()
    return (StaleOnError(given.stale_on_error, answers=state.answers, tools=tools),)


def _hedge(
    given: ResilienceSettings, tools: Tools, state: OriginState, breaker: CircuitBreaker, bulkhead: Bulkhead
) -> tuple[Policy, ...]:
    def free() -> bool:
        # A second request is for a peer that is slow now and then: none in trouble, and none that would wait.
        return breaker.state == "closed" and not breaker.recovering and bulkhead.has_room()

    return (Hedge(given.hedge_after, budget=state.budget, free=free, tools=tools),)


def _throttle(given: ResilienceSettings, tools: Tools, state: OriginState) -> tuple[Policy, ...]:
    state.tally = state.tally or Tally()
    return (Throttle(state.target, given.throttle, tally=state.tally, tools=tools),)
