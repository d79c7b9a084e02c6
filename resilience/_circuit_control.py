"""What can be seen of a circuit, and what hands and other instances may do to it."""

from math import inf

from ._circuit_rules import Reason, Rules
from ._circuit_state import Circuit
from .window import Window

__all__ = ["ControlledCircuit"]

_BY_HAND = Reason("manual", 0.0, 0, "isolated by hand, until it is closed by hand")


class ControlledCircuit(Circuit):
    """A circuit from the outside; every method may be called from any thread."""

    __slots__ = ()

    @property
    def isolated(self) -> bool:
        """Whether it is open by hand."""
        return self._isolated

    @property
    def recovering(self) -> bool:
        """Whether it is closed and lets only some calls through at a time."""
        ramp = self._ramp
        return ramp is not None and self._now() < ramp.ends

    @property
    def reason(self) -> str:
        """What opened it, in words; empty while it is closed."""
        return "" if self.state == "closed" else self._reason.text

    def failure_rate(self) -> float:
        """The share of failures (0..1) in the window, or that which opened the circuit."""
        return self.counts()[0]

    def counts(self) -> tuple[float, int]:
        """The failure rate (0..1) and the number of calls it is taken from."""
        with self._lock:
            window = self._counting()
            if window is None:
                return self._reason.rate, self._reason.calls
            bad, calls = window.counts(self._now())
            return (bad / calls if calls else 0.0), calls

    @property
    def calm(self) -> bool:
        """Whether it is closed, not recovering, and knows of no failure; a glance without a lock."""
        window = self._window
        return window is not None and window.clean

    def retry_after(self) -> float:
        """Seconds until a call may go out; 0 where one would be admitted now, infinite while isolated."""
        with self._lock:
            if self._window is not None:
                return 0.0
            now = self._now()
            if self._ramp is not None:
                return self._ramp.wait() if now < self._ramp.ends else 0.0
            return max(0.0, self._next_probe - now)

    def isolate(self) -> bool:
        """Refuse every call until `close` or `reset`. False where that was so already."""
        with self._lock:
            if self._isolated:
                return False
            self._isolated = True
            changed = self._opened(_BY_HAND, "", self._now(), inf)
        self._tools.emit(changed)
        return True

    def close(self) -> bool:
        """Let calls through again, along the ramp; ends an isolation too. False where it was closed."""
        with self._lock:
            if self._counting() is not None:
                return False
            changed = self._closed(_BY_HAND, "", self._now(), None)
        self._tools.emit(changed)
        return True

    def reset(self) -> bool:
        """Close, and forget all that was: counts, ramp and grown open time. False where it was closed."""
        with self._lock:
            changed = None
            if self._counting() is None:
                changed = self._closed(_BY_HAND, "", self._now(), None)
            self._ramp, self._window = None, Window(self._rules.window)
            self._nominal, self._closed_at = 0.0, -inf
        if changed is None:
            return False
        self._tools.emit(changed)
        return True

    def force_open(self, seconds: float, cause: str = "shared") -> bool:
        """Open a closed circuit for `seconds`, with one probe after; True where it was closed.

        One that is open already, by itself or by hand, keeps its own time.
        """
        with self._lock:
            window = self._counting()
            if window is None:
                return False
            now = self._now()
            bad, calls = window.counts(now)
            reason = Reason(cause, bad / calls if calls else 0.0, calls, "other instances opened theirs")
            changed = self._opened(reason, "", now, seconds)
        self._tools.emit(changed)
        return True

    def retune(self, rules: Rules) -> None:
        """Other numbers from now on. The state, an open time that runs and an isolation stay.

        Counts stay unless `window` changed. Whether calls are timed is settled when a pipeline is built.
        """
        with self._lock:
            if self._window is not None and rules.window != self._rules.window:
                self._window = Window(rules.window)
            self._rules = rules
