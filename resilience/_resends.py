"""What follows the first failure of one call: the answers to tenacity's questions, in its order."""

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tenacity import AsyncRetrying, Future, RetryCallState, Retrying

from .backoff import full_jitter, retry_after_seconds
from .call import Call, Resend, discard_stale, discard_stale_sync
from .errors import Rejected, RetryBudgetSpent
from .events import RetriesExhausted, RetryScheduled
from .keyed import IN_FLIGHT
from .policy import Next, NextSync

if TYPE_CHECKING:
    from .retry import Retry

__all__ = ["FLOOR", "Resends"]

R = TypeVar("R")

FLOOR = 0.005
"""Seconds that must be left of the deadline for another attempt to be worth its beginning."""

_EXHAUSTED = "exhausted"
_BUDGET = RetryBudgetSpent.policy


class Resends(Generic[R]):
    """A new object, and a new tenacity, for each call that failed: a shared one mixes up concurrent tasks."""

    def __init__(
        self, policy: "Retry", call: Call[R], *, error: Exception | None = None, result: R | None = None
    ) -> None:
        self._policy = policy
        self._call = call
        self._last = Future.construct(1, result if error is None else error, has_exception=error is not None)
        self._failed = self._last if self._last.failed else None
        self._begun = False
        self._refused = False
        self._hindrance: str | None = None
        self._asked: float | None = None
        self._clock = policy.tools.clock
        self._started = call.started or self._clock.now()

    async def run(self, call_next: Next[R]) -> R:
        """The pauses and the further attempts, on a loop."""

        async def attempt() -> R:
            if not self._begins():
                return self._outcome()
            try:
                return self._learned(await call_next(self._call))
            except Rejected as refusal:
                self._take_back(refusal)
            return self._outcome()

        try:
            result: R = await AsyncRetrying(sleep=self._clock.sleep, **self._answers())(attempt)
            return result
        finally:
            await discard_stale(self._call)

    def run_sync(self, call_next: NextSync[R]) -> R:
        """The same on a thread."""

        def attempt() -> R:
            if not self._begins():
                return self._outcome()
            try:
                return self._learned(call_next(self._call))
            except Rejected as refusal:
                self._take_back(refusal)
            return self._outcome()

        try:
            return Retrying(sleep=self._clock.sleep_sync, **self._answers())(attempt)
        finally:
            discard_stale_sync(self._call)

    def _answers(self) -> dict[str, Any]:
        return {
            "retry": self._wanted,
            "wait": self._plan,
            "stop": self._hindered,
            "before_sleep": self._announce,
            "retry_error_callback": self._give_up,
        }

    def _outcome(self) -> R:
        """The last real outcome, once more."""
        result: R = self._last.result()
        return result

    def _learned(self, result: R) -> R:
        call = self._call
        if call.resend is Resend.SAFE:
            return result
        self._policy.learn(call, result)
        reason = self._policy.refused_key(call, result)
        if reason is not None and self._failed and (reason != IN_FLIGHT or call.attempt >= self._policy.attempts):
            # The code gave no key, and would not understand: what became of its request is what happened before.
            call.stale = result
            self._last = self._failed
            self._refused = True
            self._policy.refuse(call, f"key_{reason.replace('-', '_')}")
            return self._outcome()
        return result

    def _begins(self) -> bool:
        # tenacity calls before it asks: its first call is handed the outcome that is already there.
        if not self._begun:
            self._begun = True
            return False
        if self._call.key is not None and self._lapsed():
            return False
        self._call.attempt += 1
        return True

    def _lapsed(self) -> bool:
        """Whether what another call was told during the pause forbids this attempt."""
        if self._policy.forbids(self._call, None) is None:
            return False
        self._call.stale = None  # it is the caller's now
        self._refused = True
        return True

    def _take_back(self, refusal: Rejected) -> None:
        call = self._call
        call.attempt -= 1
        call.stale = None  # it is the caller's now
        self._refused = call.used_up = True
        self._policy.refuse(call, refusal.policy)

    def _wanted(self, state: RetryCallState) -> bool:
        outcome = state.outcome
        if outcome is None or not isinstance(outcome.exception(), Exception | None):
            return False  # cancelled, or the interpreter ends
        self._last = outcome
        if outcome.failed:
            self._failed = outcome
        result = None if outcome.failed else outcome.result()
        refused = "" if self._refused else self._policy.forbids(self._call, result)
        if refused is None:
            return True
        if refused == "overloaded":
            self._call.used_up = True
        self._note()
        return False

    def _plan(self, _: RetryCallState) -> float:
        """The pause before the next attempt, and what hinders it."""
        call, policy = self._call, self._policy
        self._asked = None
        if call.attempt >= policy.attempts:
            self._hindrance = _EXHAUSTED
            return 0.0
        now = self._clock.now()
        left = call.ends - FLOOR - now
        pause = full_jitter(call.attempt, base=policy.backoff_base, cap=policy.backoff_cap, jitter=policy.tools.jitter)
        if not self._last.failed:
            self._asked = retry_after_seconds(call.wire.retry_after(self._last.result()), self._clock.wall())
        if self._asked is not None:
            if self._asked > policy.longest_wait:
                self._hindrance = "retry_after"
            pause = max(self._asked, min(self._asked + pause, left))
        if pause > left:
            self._hindrance = "deadline"
        elif now + pause < call.held_until:
            self._hindrance = "circuit_breaker"
        elif self._hindrance is None and policy.budget is not None and not policy.budget.take(now):
            self._hindrance = _BUDGET  # asked last: what something else forbids costs nothing
        return pause

    def _hindered(self, _: RetryCallState) -> bool:
        return self._hindrance is not None

    def _announce(self, state: RetryCallState) -> None:
        call = self._call
        if not self._last.failed:
            call.stale = self._last.result()
        self._policy.tools.emit(
            RetryScheduled(
                call.target,
                call.operation,
                attempt=call.attempt,
                delay=state.upcoming_sleep,
                cause=call.verdict.cause,
                retry_after=self._asked is not None,
            )
        )

    def _give_up(self, _: RetryCallState) -> R:
        call = self._call
        call.used_up = True
        if self._hindrance is _EXHAUSTED:
            elapsed = self._clock.now() - self._started
            cause = call.verdict.cause
            self._policy.tools.emit(RetriesExhausted(call.target, call.operation, call.attempt, elapsed, cause))
        else:
            self._policy.refuse(call, self._hindrance or "")
        self._note()
        return self._outcome()

    def _note(self) -> None:
        error = self._last.exception()
        if error is None:
            return
        call = self._call
        if call.attempt > 1:
            elapsed = self._clock.now() - self._started
            error.add_note(f"handrail: {call.attempt} attempts in {elapsed:.2f} s to {call.target}")
        if self._hindrance is _BUDGET:
            error.add_note(f"handrail: not sent again: {call.target} has had its retries: {self._policy.budget!r}")
