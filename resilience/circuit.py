"""The circuit breaker of one origin: pybreaker's states, and a gate of our own in front.

pybreaker's `call()` holds a lock while the call runs and its `calling()` lets every concurrent
call through in half-open; so its state object, storage and listeners are used, and admission,
counting and time are decided here.
"""

import threading
from typing import TypeVar

import pybreaker

from .call import Call
from .classify import Count
from .errors import CircuitOpen, Rejected
from .events import CallRejected, CircuitChanged
from .policy import Next, NextSync, Tools
from .window import Window

__all__ = ["CircuitBreaker"]

R = TypeVar("R")


class _Probe:
    """The permit of the one call that may try a half-open circuit."""

    __slots__ = ()


_Permit = Window | _Probe
"""What an admitted call holds. Permits are compared by identity: each closed period has a window
of its own, each probe is its own object, so a result that comes after its period counts nowhere."""


class CircuitBreaker:
    """Refuses calls to an origin that fails too often.

    Closed: opens when at least `failure_rate` (0..1) of the calls of the last `window` seconds
    failed, and there were at least `minimum_calls`. Open: refuses for `open_for` seconds.
    Half-open: one call is the probe, the others are refused; its success closes the circuit, its
    failure opens it again, and a neutral outcome (cancelled, misuse) lets the next call be the
    probe. A probe that is not heard of for `open_for` seconds no longer blocks another.

    Raises `CircuitOpen`. What counts as a failure is said in `classify`.
    """

    def __init__(
        self,
        target: str,
        *,
        failure_rate: float = 0.5,
        minimum_calls: int = 10,
        window: float = 30.0,
        open_for: float = 15.0,
        tools: Tools | None = None,
    ) -> None:
        self.target = target
        self._limit = failure_rate
        self._minimum = minimum_calls
        self._seconds = window
        self._open_for = open_for
        self._tools = tools or Tools()
        self._now = self._tools.clock.now
        self._lock = threading.Lock()
        # The window of the closed period; None while closed it is not.
        self._window: Window | None = Window(window)
        self._probe: _Probe | None = None
        self._next_probe = 0.0
        self._last_rate = 0.0
        self._last_calls = 0
        self._noted = _Noted()
        self._machine = pybreaker.CircuitBreaker(name=target, listeners=[self._noted])

    @property
    def state(self) -> str:
        """closed, open or half_open; an open circuit turns half-open with the call that probes it."""
        return _spelled(self._machine.current_state)

    def failure_rate(self) -> float:
        """The share of failures (0..1) in the window, or that which opened the circuit."""
        return self.counts()[0]

    def counts(self) -> tuple[float, int]:
        """The failure rate (0..1) and the number of calls it is taken from."""
        with self._lock:
            if (window := self._window) is None:
                return self._last_rate, self._last_calls
            bad, calls = window.counts(self._now())
            return (bad / calls if calls else 0.0), calls

    def retry_after(self) -> float:
        """Seconds until the next probe may go out; 0 where a call would be admitted now."""
        with self._lock:
            return 0.0 if self._window is not None else max(0.0, self._next_probe - self._now())

    def force_open(self, seconds: float, cause: str = "shared") -> bool:
        """Open a closed circuit for `seconds`, with one probe after; True where it was closed.

        One that is open already keeps its own time. Safe for threads.
        """
        with self._lock:
            if self._window is None:
                return False
            bad, calls = self._window.counts(self._now())
            self._window = None
            self._next_probe = self._now() + seconds
            self._last_rate, self._last_calls = (bad / calls if calls else 0.0), calls
            self._machine.open()
            changed = CircuitChanged(
                self.target,
                "",
                before=self._noted.before,
                after=self._noted.after,
                failure_rate=self._last_rate,
                calls=self._last_calls,
                open_for=seconds,
                cause=cause,
            )
        self._tools.emit(changed)
        return True

    def wrap(self, call_next: Next[R]) -> Next[R]:
        """The step for an event loop."""
        now, success = self._now, Count.SUCCESS

        async def run(call: Call[R]) -> R:
            window = self._window
            permit = window or self._admit(call)
            try:
                result = await call_next(call)
            except BaseException as error:
                self._settle(permit, call, _count(call, error))
                raise
            if window and window is self._window and call.verdict.count is success and now() < window.ends:
                window.fresh += 1  # no lock: nearly every call ends here
            else:
                self._settle(permit, call, call.verdict.count)
            return result

        return run

    def wrap_sync(self, call_next: NextSync[R]) -> NextSync[R]:
        """The step for a thread; shares all state with the other."""
        now, success = self._now, Count.SUCCESS

        def run(call: Call[R]) -> R:
            window = self._window
            permit = window or self._admit(call)
            try:
                result = call_next(call)
            except BaseException as error:
                self._settle(permit, call, _count(call, error))
                raise
            if window and window is self._window and call.verdict.count is success and now() < window.ends:
                window.fresh += 1  # no lock: nearly every call ends here
            else:
                self._settle(permit, call, call.verdict.count)
            return result

        return run

    def _admit(self, call: Call[R]) -> _Permit:
        """A permit, while the circuit is not closed; raises CircuitOpen."""
        with self._lock:
            if self._window is not None:
                return self._window
            now = self._now()
            permit = changed = None
            wait = self._next_probe - now
            if wait <= 0:
                permit = self._probe = _Probe()
                self._next_probe = now + self._open_for
                if self.state != "half_open":
                    self._machine.half_open()
                    changed = self._change(call)
        if changed is not None:
            self._tools.emit(changed)
        if permit is None:
            raise self._refuse(call, wait)
        return permit

    def _settle(self, permit: _Permit, call: Call[R], count: Count) -> None:
        changed = None
        with self._lock:
            window = self._window
            if window is not None:
                if permit is not window:
                    pass
                elif count is Count.SUCCESS:
                    window.add_good(self._now())
                elif count is Count.FAILURE:
                    changed = self._failed(window, call)
            elif permit is self._probe:
                changed = self._probed(call, count)
            if self._window is None:
                call.held_until = self._next_probe
        if changed is not None:
            self._tools.emit(changed)

    def _failed(self, window: Window, call: Call[R]) -> CircuitChanged | None:
        now = self._now()
        window.add_bad(now)
        bad, calls = window.counts(now)
        if calls < self._minimum or bad < self._limit * calls:
            return None
        return self._open(call, bad / calls, calls)

    def _probed(self, call: Call[R], count: Count) -> CircuitChanged | None:
        self._probe = None
        if count is Count.NEUTRAL:
            self._next_probe = self._now()
            return None
        if count is Count.FAILURE:
            return self._open(call, 1.0, 1)
        self._window = Window(self._seconds)
        self._last_rate, self._last_calls = 0.0, 1
        self._machine.close()
        return self._change(call)

    def _open(self, call: Call[R], rate: float, calls: int) -> CircuitChanged:
        self._window = None
        self._next_probe = self._now() + self._open_for
        self._last_rate, self._last_calls = rate, calls
        self._machine.open()
        return self._change(call)

    def _change(self, call: Call[R]) -> CircuitChanged:
        return CircuitChanged(
            self.target,
            call.operation,
            before=self._noted.before,
            after=self._noted.after,
            failure_rate=self._last_rate,
            calls=self._last_calls,
            open_for=self._open_for,
        )

    def _refuse(self, call: Call[R], wait: float) -> CircuitOpen:
        if self._probe is not None:
            text = f"circuit half-open for {self.target}: a probe is under way; next probe in {wait:.1f} s at most"
        else:
            calls = f"{_percent(self._last_rate)} of {self._last_calls} calls failed"
            what = "the probe failed" if self._last_calls == 1 else f"{calls} in the last {self._seconds:g} s"
            text = f"circuit open for {self.target}: {what}; next probe in {wait:.1f} s"
        if call.attempt == 1:
            # A refused resend is told by Retry: that call was sent, and its own outcome goes up.
            self._tools.emit(
                CallRejected(self.target, call.operation, CircuitOpen.policy, "handrail.CircuitOpen", wait)
            )
        return CircuitOpen(text, target=self.target, retry_after=wait)

    def __repr__(self) -> str:
        return (
            f"CircuitBreaker({_percent(self._limit)} of >= {self._minimum} calls in {self._seconds:g} s, "
            f"open {self._open_for:g} s, 1 probe)"
        )


def _count(call: Call[R], error: BaseException) -> Count:
    # A refusal by a policy further in, and whatever ends the task, say nothing about the peer.
    if isinstance(error, Rejected) or not isinstance(error, Exception):
        return Count.NEUTRAL
    return call.verdict.count


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %"


def _spelled(state: str) -> str:
    return state.replace("-", "_")


class _Noted(pybreaker.CircuitBreakerListener):
    """Keeps the last change that pybreaker told; it is passed on once the locks are free."""

    before = after = "closed"

    def state_change(
        self,
        cb: pybreaker.CircuitBreaker,  # noqa: ARG002 (pybreaker's signature)
        old_state: pybreaker.CircuitBreakerState | None,
        new_state: pybreaker.CircuitBreakerState,
    ) -> None:
        self.before = _spelled(old_state.name) if old_state is not None else self.after
        self.after = _spelled(new_state.name)
