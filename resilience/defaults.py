"""The one list that states which policies stand around an outbound call, and in which order."""

from ._circuit_rules import Rules
from .budget import Budget
from .circuit import CircuitBreaker
from .keys import Keys
from .pipeline import Pipeline
from .policy import Tools
from .retry import Retry
from .settings import ResilienceSettings
from .timeouts import AttemptTimeout, TotalTimeout

__all__ = ["OriginState", "standard"]


class OriginState:
    """What is remembered of one origin: shared by all pipelines to it, whatever their settings."""

    __slots__ = ("breaker", "budget", "keys", "target")

    def __init__(self, target: str, settings: ResilienceSettings, tools: Tools) -> None:
        self.target = target
        self.budget = Budget(
            ratio=settings.retry_budget, window=settings.retry_budget_window, floor=settings.retry_budget_floor
        )
        self.keys = Keys(target, tools)
        self.breaker = CircuitBreaker(target, Rules.of(settings), tools=tools)


def standard(
    target: str,
    settings: ResilienceSettings | None = None,
    tools: Tools | None = None,
    state: OriginState | None = None,
) -> Pipeline:
    """The pipeline of one origin, outermost first.

    The total binds everything, pauses too. Each attempt passes the breaker, so that retries
    end where it opens, and an open breaker is not tried again. The attempt's own time is
    innermost: a timeout is a failure that the breaker counts and the retry may repeat.
    """
    given = settings or ResilienceSettings()
    tools = tools or Tools()
    state = state or OriginState(target, given, tools)
    return Pipeline(
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
        state.breaker,
        AttemptTimeout(given.attempt_timeout, tools=tools),
    )
