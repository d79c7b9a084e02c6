"""The state of one circuit: the permits that it gives, what it makes of an outcome, and when it changes."""

import threading
from math import inf, isinf
from typing import Any, Self, TypeVar

from ._circuit_machine import Machine
from ._circuit_ramp import Ramp
from ._circuit_rules import Reason, Rules
from ._forked import ReentrantLock
from .backoff import retry_after_seconds
from .call import Call
from .classify import Count
from .errors import CircuitOpen
from .events import CallRejected, CircuitChanged
from .policy import Tools
from .window import Window

__all__ = ["Circuit", "Permit"]

R = TypeVar("R")

_NONE = Reason("failures", 0.0, 0, "")
_PROBED = Reason("probe", 0.0, 1, "")


class _Probe:
    """The permit of the one call that may try a half-open circuit; `began`: when."""

    __slots__ = ("began",)

    def __init__(self, began: float) -> None:
        self.began = began


Permit = Window | Ramp | _Probe
"""What an admitted call holds. Permits are compared by identity: each closed period has a window
of its own, each probe is its own object, so a result that comes after its period counts nowhere."""


class Circuit:
    """Who may go, and what comes of it. Safe for threads; no lock is held during a call."""

    __slots__ = (
        "_closed_at",
        "_isolated",
        "_lock",
        "_made",
        "_next_probe",
        "_nominal",
        "_now",
        "_open_time",
        "_probe",
        "_ramp",
        "_reason",
        "_rules",
        "_tools",
        "_window",
        "target",
    )

    def __init__(
        self,
        target: str,
        rules: Rules | None = None,
        *,
        failure_rate: float = 0.5,
        minimum_calls: int = 10,
        window: float = 30.0,
        open_for: float = 15.0,
        tools: Tools | None = None,
    ) -> None:
        """All of the `rules`, or those that differ most often."""
        if rules is None:
            rules = Rules(failure_rate=failure_rate, minimum_calls=minimum_calls, window=window, open_for=open_for)
        self._begin(target, rules, tools or Tools(), ReentrantLock())

    def of(self, target: str, lock: threading.RLock) -> Self:
        """One by the same rules for another origin, closed, with a lock that others may share."""
        # By position: a constructor that is called with names costs as much again.
        other = object.__new__(type(self))
        other._begin(target, self._rules, self._tools, lock)
        return other

    def _begin(self, target: str, rules: Rules, tools: Tools, lock: threading.RLock) -> None:
        self.target = target
        self._rules = rules
        self._tools = tools
        self._now = tools.clock.now
        # Reentrant: a collected coroutine gives its permit back wherever the collector happens to run.
        self._lock = lock
        self._made: Machine | None = None
        # One of these while it is closed (free, or ramping), the third while a probe is under way, else none.
        self._window: Window | None = Window(rules.window, self._now())
        self._ramp: Ramp | None = None
        self._probe: _Probe | None = None
        self._isolated = False
        self._next_probe = 0.0
        self._open_time = self._nominal = 0.0  # the last one, and what it was before chance swayed it
        self._closed_at = -inf
        self._reason = _NONE

    @property
    def state(self) -> str:
        """closed, open or half_open; an open circuit turns half-open with the call that probes it."""
        return "closed" if self._made is None else self._made.state

    @property
    def _machine(self) -> Machine:
        """Made for the first change, under the lock: most origins are never seen to fail."""
        if self._made is None:
            self._made = Machine(self.target)
        return self._made

    def _counting(self) -> Window | None:
        """The window of the closed period; None while it is not closed."""
        return self._ramp.window if self._ramp is not None else self._window

    def _admit(self, call: Call[Any]) -> Permit:
        """A permit, while the circuit is not closed and free; raises CircuitOpen."""
        changed = None
        with self._lock:
            now = self._now()
            permit = self._permit(now)
            wait, text = self._refusal(now) if permit is None else (0.0, "")
            if permit is self._probe is not None and self.state != "half_open":
                self._machine.half_open()
                changed = self._change("probe", call.operation)
        if changed is not None:
            self._tools.emit(changed)
        if permit is None:
            raise self._refuse(call, wait, text)
        return permit

    def _permit(self, now: float) -> Permit | None:
        ramp = self._ramp
        if ramp is not None:
            if now < ramp.ends:
                return ramp if ramp.enters() else None
            self._window, self._ramp = ramp.window, None
        if self._window is not None:
            return self._window
        if now < self._next_probe:
            return None
        self._probe = _Probe(now)
        self._next_probe = now + self._rules.open_for
        return self._probe

    def _refusal(self, now: float) -> tuple[float, str]:
        """The seconds until another try makes sense, and what is said."""
        if self._ramp is not None:
            wait = self._ramp.wait()
            return wait, f"recovering for {self.target}: {self._ramp.limit} calls at a time; more in {wait:.2g} s"
        wait = self._next_probe - now
        if self._isolated:
            return wait, f"open for {self.target}: {self._reason.text}"
        if self._probe is not None:
            return wait, f"half-open for {self.target}: a probe is under way; next probe in {wait:.1f} s at most"
        return wait, f"open for {self.target}: {self._reason.text}; next probe in {wait:.1f} s"

    def _settle(self, permit: Permit, call: Call[R], count: Count, slow: bool = False, result: R | None = None) -> None:
        """Take the outcome of a call that was admitted, and what it came back with, if anything."""
        told = None
        if count is Count.FAILURE and isinstance(permit, _Probe) and result is not None:
            told = retry_after_seconds(call.wire.retry_after(result), self._tools.clock.wall())
        with self._lock:
            if isinstance(permit, _Probe):
                changed = self._probed(permit, call, count, slow, told) if permit is self._probe else None
            else:
                changed = self._counted(permit, call, count, slow)
            if self._window is None and self._ramp is None:
                call.held_until = self._next_probe
        if changed is not None:
            self._tools.emit(changed)

    def _counted(self, permit: Window | Ramp, call: Call[Any], count: Count, slow: bool) -> CircuitChanged | None:
        now = self._now()
        ramping = False
        if isinstance(permit, Ramp):
            window = permit.window
            limit = permit.leaves(count is Count.SUCCESS and not slow)
            ramping = permit is self._ramp and now < permit.ends
            if ramping and limit >= self._rules.ramp:
                self._window, self._ramp = window, None
        else:
            window = permit
        if count is Count.NEUTRAL or window is not self._counting():
            return None
        (window.add_good if count is Count.SUCCESS else window.add_bad)(now, slow)
        if count is Count.SUCCESS and not slow:
            return None
        reason = self._rules.against(window, now, ramping=ramping)
        return self._opened(reason, call.operation, now) if reason is not None else None

    def _probed(
        self, probe: _Probe, call: Call[Any], count: Count, slow: bool, told: float | None
    ) -> CircuitChanged | None:
        now = self._now()
        self._probe = None
        if count is Count.NEUTRAL:
            self._next_probe = now
            return None
        if count is Count.FAILURE or slow:
            reason = self._rules.against_probe(count is Count.FAILURE)
            # A peer whose own breaker is open says when it will probe: so a chain of services heals at once, and not
            # one by one, each waiting for a probe from the one before.
            return self._opened(reason, call.operation, now, min(told, self._rules.open_max) if told else None)
        return self._closed(_PROBED, call.operation, now, now - probe.began)

    def _opened(self, reason: Reason, operation: str, now: float, seconds: float | None = None) -> CircuitChanged:
        """Open for `seconds`, or as long as the rules say."""
        if self._counting() is not None and now - self._closed_at >= self._rules.window:
            self._nominal = 0.0  # it went well for long enough
        if seconds is None:
            self._nominal, seconds = self._rules.open_time(self._nominal, self._tools.jitter())
        self._window = self._ramp = self._probe = None
        self._reason, self._open_time, self._next_probe = reason, seconds, now + seconds
        self._machine.open()
        return self._change(reason.cause, operation)

    def _closed(self, reason: Reason, operation: str, now: float, trip: float | None) -> CircuitChanged:
        rules = self._rules
        window = Window(rules.window)
        if rules.ramps:
            self._ramp = Ramp(window, now + rules.window, trip)
        else:
            self._window = window
        self._probe, self._isolated, self._closed_at, self._reason = None, False, now, reason
        self._machine.close()
        return self._change(reason.cause, operation)

    def _change(self, cause: str, operation: str) -> CircuitChanged:
        reason, machine = self._reason, self._machine
        return CircuitChanged(
            self.target,
            operation,
            before=machine.before,
            after=machine.after,
            failure_rate=reason.rate,
            calls=reason.calls,
            open_for=0.0 if isinf(self._open_time) else self._open_time,
            cause=cause,
        )

    def _refuse(self, call: Call[Any], wait: float, text: str) -> CircuitOpen:
        after = None if isinf(wait) else wait
        if call.attempt == 1:
            # A refused resend is told by Retry: that call was sent, and its own outcome goes up.
            self._tools.emit(
                CallRejected(self.target, call.operation, CircuitOpen.policy, "handrail.CircuitOpen", after)
            )
        return CircuitOpen(f"circuit {text}", target=self.target, retry_after=after)
