"""Retries: when another attempt may be made, and when it is made.

The first attempt runs bare. Only a failure that may be repeated hands the call to tenacity, as a
new object for each call: a shared one mixes up the attempts of concurrent tasks.
"""

from typing import Any, Generic, TypeVar

from tenacity import AsyncRetrying, Future, RetryCallState, Retrying

from .backoff import full_jitter, retry_after_seconds
from .call import Call, Resend, discard_stale, discard_stale_sync
from .classify import Verdict
from .errors import Rejected
from .events import NotRetried, RetriesExhausted, RetryScheduled
from .policy import Next, NextSync, Tools

__all__ = ["Retry", "may_resend"]

R = TypeVar("R")

FLOOR = 0.005
"""Seconds that must be left of the deadline for another attempt to be worth its beginning."""

_EXHAUSTED = "exhausted"

_REASONS = {Resend.ONE_SHOT: "one_shot_body", Resend.ONE_TIME: "one_time_credentials"}


def may_resend(verdict: Verdict, resend: Resend) -> bool:
    """Whether a request that came to `verdict` may be sent again.

    | the failure                                  | SAFE | KEYED | UNSAFE | ONE_SHOT |
    |----------------------------------------------|------|-------|--------|----------|
    | request never left (connect, pool)           | yes  | yes   | yes    | no       |
    | 408, 429, 502, 503, 504, timeout, broken off | yes  | yes   | no     | no       |
    | 500                                          | yes  | no    | no     | no       |
    | anything else                                | no   | no    | no     | no       |

    SAFE are the idempotent methods of RFC 9110, 9.2.2. ONE_TIME is as UNSAFE.
    """
    if not verdict.transient or resend is Resend.ONE_SHOT:
        return False
    if verdict.never_left or resend is Resend.SAFE:
        return True
    return resend is Resend.KEYED and not verdict.safe_only


class Retry:
    """Sends again what failed, where that is safe and there is time for it.

    `attempts` counts the first one. The pause after attempt n is drawn from 0 to
    min(`backoff_cap`, `backoff_base` * 2**(n - 1)) seconds; a `Retry-After` is waited out in full
    and the draw added, so that clients told the same do not come back together. One that asks
    for more than `longest_wait` seconds, or past the deadline, ends the retries.

    There is no error of its own: the last real outcome goes up, an exception with a note that
    counts the attempts. A further attempt that another policy refuses was never an outcome.
    """

    def __init__(
        self,
        *,
        attempts: int = 3,
        backoff_base: float = 0.1,
        backoff_cap: float = 5.0,
        longest_wait: float = 30.0,
        tools: Tools | None = None,
    ) -> None:
        self.attempts = attempts
        self.backoff_base = backoff_base
        self.backoff_cap = backoff_cap
        self.longest_wait = longest_wait
        self.tools = tools or Tools()

    def wrap(self, call_next: Next[R]) -> Next[R]:
        """The step for an event loop."""

        async def run(call: Call[R]) -> R:
            try:
                result = await call_next(call)
            except Exception as error:
                if not self._takes_over(call):
                    raise
                first = Future.construct(1, error, has_exception=True)
            else:
                if not call.verdict.transient or not self._takes_over(call):
                    return result
                first = Future.construct(1, result, has_exception=False)
            return await _Resends(self, call, first).run(call_next)

        return run

    def wrap_sync(self, call_next: NextSync[R]) -> NextSync[R]:
        """The step for a thread."""

        def run(call: Call[R]) -> R:
            try:
                result = call_next(call)
            except Exception as error:
                if not self._takes_over(call):
                    raise
                first = Future.construct(1, error, has_exception=True)
            else:
                if not call.verdict.transient or not self._takes_over(call):
                    return result
                first = Future.construct(1, result, has_exception=False)
            return _Resends(self, call, first).run_sync(call_next)

        return run

    def _takes_over(self, call: Call[R]) -> bool:
        return self.attempts > 1 and self.allows(call)

    def allows(self, call: Call[R]) -> bool:
        """Whether what the last attempt came to may be sent again; tells a refusal of what was transient."""
        if may_resend(call.verdict, call.resend):
            return True
        if call.verdict.transient:
            self.refuse(call, _REASONS.get(call.resend, "unsafe_method"))
        return False

    def refuse(self, call: Call[R], reason: str) -> None:
        """Tell that there is no further attempt, and why."""
        self.tools.emit(NotRetried(call.target, call.operation, call.attempt, call.verdict.cause, reason))

    def __repr__(self) -> str:
        return f"Retry({self.attempts} attempts, full jitter {self.backoff_base:g} s to {self.backoff_cap:g} s)"


class _Resends(Generic[R]):
    """What follows the first failure of one call: the answers to tenacity's questions, in its order."""

    def __init__(self, policy: Retry, call: Call[R], first: Future) -> None:
        self._policy = policy
        self._call = call
        self._last = first
        self._begun = False
        self._refused = False
        self._hindrance: str | None = None
        self._asked: float | None = None
        self._clock = policy.tools.clock
        self._started = call.started or self._clock.now()

    async def run(self, call_next: Next[R]) -> R:
        async def attempt() -> R:
            if not self._begins():
                return self._outcome()
            try:
                return await call_next(self._call)
            except Rejected as refusal:
                self._take_back(refusal)
            return self._outcome()

        try:
            result: R = await AsyncRetrying(sleep=self._clock.sleep, **self._answers())(attempt)
            return result
        finally:
            await discard_stale(self._call)

    def run_sync(self, call_next: NextSync[R]) -> R:
        def attempt() -> R:
            if not self._begins():
                return self._outcome()
            try:
                return call_next(self._call)
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

    def _begins(self) -> bool:
        # tenacity calls before it asks: its first call is handed the outcome that is already there.
        if not self._begun:
            self._begun = True
            return False
        self._call.attempt += 1
        return True

    def _take_back(self, refusal: Rejected) -> None:
        call = self._call
        call.attempt -= 1
        call.stale = None  # it is the caller's now
        self._refused = True
        self._policy.refuse(call, refusal.policy)

    def _wanted(self, state: RetryCallState) -> bool:
        outcome = state.outcome
        if outcome is None or not isinstance(outcome.exception(), Exception | None):
            return False  # cancelled, or the interpreter ends
        self._last = outcome
        wanted = not self._refused and self._policy.allows(self._call)
        if not wanted:
            self._note()
        return wanted

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
        if error is not None and self._call.attempt > 1:
            elapsed = self._clock.now() - self._started
            error.add_note(f"handrail: {self._call.attempt} attempts in {elapsed:.2f} s to {self._call.target}")
