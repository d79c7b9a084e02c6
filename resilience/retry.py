"""Retries: when another attempt may be made, and when it is made.

The first attempt runs bare. Only a failure that may be repeated hands the call to tenacity.
"""

from collections.abc import Callable
from typing import Protocol, TypeVar

from ._resends import Resends
from .budget import Budget
from .call import Call, Resend
from .classify import BUSY
from .events import NotRetried
from .keyed import IN_FLIGHT
from .keys import Keys
from .policy import Next, NextSync, Tools
from .rules import may_resend
from .second import SecondLayer, remembered
from .window import Window

__all__ = ["OVERLOADED", "Retry"]

R = TypeVar("R")

_used_up = remembered.get
"""By itself: each access makes an object."""

OVERLOADED = "x-envoy-overloaded"
"""`true` in an answer: do not retry (Envoy, router filter). Sent by Envoy, and by handrail on the other side."""

_REASONS = {Resend.ONE_SHOT: "one_shot_body", Resend.ONE_TIME: "one_time_credentials", Resend.THEIRS: "own_retries"}


class Known(Protocol):
    """Where the keys of one origin are: made for its first unsafe call."""

    @property
    def keys(self) -> Keys:
        """What the origin says of keys."""
        ...


class Retry:
    """Sends again what failed, where that is safe and there is time for it.

    `attempts` counts the first one. The pause after attempt n is drawn from 0 to
    min(`backoff_cap`, `backoff_base` * 2**(n - 1)) seconds; a `Retry-After` is waited out in full
    and the draw added, so that clients told the same do not come back together. One that asks
    for more than `longest_wait` seconds, or past the deadline, ends the retries; so does a peer
    that says that it is overloaded, and a `budget` that is spent. None means no budget.

    `keys` gives POST and PATCH an Idempotency-Key, by `key_mode` (auto, always, off).

    There is no error of its own: the last real outcome goes up, an exception with a note that
    counts the attempts. A further attempt that another policy refuses was never an outcome.
    """

    __slots__ = (
        "_key_mode",
        "_keys",
        "_known",
        "_second",
        "attempts",
        "backoff_base",
        "backoff_cap",
        "budget",
        "longest_wait",
        "tools",
    )

    def __init__(
        self,
        *,
        attempts: int = 3,
        backoff_base: float = 0.1,
        backoff_cap: float = 5.0,
        longest_wait: float = 30.0,
        budget: Budget | None = None,
        keys: Keys | None = None,
        key_mode: str = "auto",
        tools: Tools | None = None,
    ) -> None:
        self.attempts = attempts
        self.backoff_base = backoff_base
        self.backoff_cap = backoff_cap
        self.longest_wait = longest_wait
        self.budget = budget
        self.tools = tools or Tools()
        self._keys = keys
        self._known: Known | None = None
        self._key_mode = key_mode
        self._second = SecondLayer(attempts, self.tools)

    def of(self, budget: Budget, known: "Known") -> "Retry":
        """The same numbers for another origin."""
        other = object.__new__(Retry)
        other.attempts = self.attempts
        other.backoff_base = self.backoff_base
        other.backoff_cap = self.backoff_cap
        other.longest_wait = self.longest_wait
        other.budget = budget
        other.tools = self.tools
        other._keys = None
        other._known = known
        other._key_mode = self._key_mode
        other._second = self._second
        return other

    def wrap(self, call_next: Next[R]) -> Next[R]:
        """The step for an event loop."""
        window = (self.budget or Budget()).window

        async def run(
            call: "Call[R]",
            self: "Retry" = self,
            window: "Window" = window,
            safe: "Resend" = Resend.SAFE,
            used_up: "Callable[[], object]" = _used_up,
            call_next: "Next[R]" = call_next,
        ) -> "R":
            if call.started < window.ends:
                window.fresh += 1  # no lock: nearly every call begins here
            else:
                self._called(call)
            if used_up() is not None:
                self._second.look(call)
            if call.resend is not safe:
                self._give(call)
            try:
                result = await call_next(call)
            except Exception as error:
                if not self._takes_over(call, None):
                    raise
                resends = Resends[R](self, call, error=error)
            else:
                if call.resend is not safe:
                    self.learn(call, result)
                if not call.verdict.transient or not self._takes_over(call, result):
                    return result
                resends = Resends(self, call, result=result)
            try:
                return await resends.run(call_next)
            finally:
                if call.used_up:
                    self._second.remember(call)

        return run

    def wrap_sync(self, call_next: NextSync[R]) -> NextSync[R]:
        """The step for a thread."""
        window = (self.budget or Budget()).window

        def run(
            call: "Call[R]",
            self: "Retry" = self,
            window: "Window" = window,
            safe: "Resend" = Resend.SAFE,
            used_up: "Callable[[], object]" = _used_up,
            call_next: "NextSync[R]" = call_next,
        ) -> "R":
            if call.started < window.ends:
                window.fresh += 1  # no lock: nearly every call begins here
            else:
                self._called(call)
            if used_up() is not None:
                self._second.look(call)
            if call.resend is not safe:
                self._give(call)
            try:
                result = call_next(call)
            except Exception as error:
                if not self._takes_over(call, None):
                    raise
                resends = Resends[R](self, call, error=error)
            else:
                if call.resend is not safe:
                    self.learn(call, result)
                if not call.verdict.transient or not self._takes_over(call, result):
                    return result
                resends = Resends(self, call, result=result)
            try:
                return resends.run_sync(call_next)
            finally:
                if call.used_up:
                    self._second.remember(call)

        return run

    def _called(self, call: Call[R]) -> None:
        if self.budget is not None:
            self.budget.called(call.started or self.tools.clock.now())

    def _give(self, call: Call[R]) -> None:
        keys = self._asked()
        if keys is not None:
            keys.give(call, self._key_mode)

    def learn(self, call: Call[R], result: R) -> None:
        """Hear what an answer to an unsafe call says of idempotency keys."""
        keys = self._asked()
        if keys is not None and self._key_mode != "off":
            keys.learn(call, result)

    def _takes_over(self, call: Call[R], result: R | None) -> bool:
        if self.attempts == 1:
            return False
        refused = self.forbids(call, result)
        if refused == "overloaded":
            call.used_up = True
            self._second.remember(call)
        return refused is None

    def forbids(self, call: Call[R], result: R | None) -> str | None:
        """Why what the last attempt came to may not be sent again; None where it may. A refusal is told.

        `result` is None where the attempt ended by an error.
        """
        keys = None if call.key is None else self._asked()
        if keys is not None and keys.lapsed(call, self._key_mode):
            call.resend = Resend.UNSAFE
        if not call.verdict.transient:
            return None if call.verdict is BUSY and self._busy(call, result) else ""
        if not may_resend(call.verdict, call.resend):
            reason = _REASONS.get(call.resend, "unsafe_method")
        elif result is not None and (call.wire.header(result, OVERLOADED) or "").strip().lower() == "true":
            reason = "overloaded"
        else:
            return None
        self.refuse(call, reason)
        return reason

    def _busy(self, call: Call[R], result: R | None) -> bool:
        """Whether a 409 says that the peer is at work on the attempt before (the IETF draft)."""
        if call.attempt == 1 or call.resend is not Resend.KEYED:
            return False
        return self.refused_key(call, result) in (None, IN_FLIGHT)

    def refused_key(self, call: Call[R], result: R | None) -> str | None:
        """The reason for which an answer refuses our key; None where it is an answer to the request."""
        keys = self._asked()
        return None if keys is None or result is None else keys.refused(call, result)

    def _asked(self) -> Keys | None:
        return self._keys if self._known is None else self._known.keys

    def refuse(self, call: Call[R], reason: str) -> None:
        """Tell that there is no further attempt, and why."""
        self.tools.emit(NotRetried(call.target, call.operation, call.attempt, call.verdict.cause, reason))

    def __repr__(self) -> str:
        budget = "" if self.budget is None else f", {self.budget!r}"
        return f"Retry({self.attempts} attempts, full jitter {self.backoff_base:g} s to {self.backoff_cap:g} s{budget})"
