"""The numbers of a circuit breaker, and what they make of a window of calls."""

from dataclasses import dataclass

from .settings import ResilienceSettings
from .window import Window

__all__ = ["Reason", "Rules"]

_SWAY = 0.2
"""The open time is drawn from 0.9 to 1.1 times itself, so that many workers do not probe in step."""
_FIRST = 2
"""Calls at a time with which a ramp begins, and failures (or slow calls) that end it."""
_DEAD = 2
"""Times `minimum_calls`: so many failures in a row are no chance, whatever went well before them."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a circuit changed. `cause` as in `CircuitChanged`; `rate` (0..1) of `calls` led to it; `text` says so."""

    cause: str
    rate: float
    calls: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What each number means is said in `CircuitBreaker`. Durations are seconds."""

    failure_rate: float = 0.5
    minimum_calls: int = 10
    window: float = 30.0
    open_for: float = 15.0
    open_max: float = 120.0
    slow_call: float = 0.0
    slow_rate: float = 1.0
    ramp: int = 64

    @classmethod
    def of(cls, settings: ResilienceSettings) -> "Rules":
        """Those of an origin's settings."""
        return cls(
            failure_rate=settings.breaker_failure_rate,
            minimum_calls=settings.breaker_minimum_calls,
            window=settings.breaker_window,
            open_for=settings.breaker_open_for,
            open_max=settings.breaker_open_max,
            slow_call=settings.breaker_slow_call,
            slow_rate=settings.breaker_slow_rate,
            ramp=settings.breaker_ramp,
        )

    def against(self, window: Window, now: float, *, ramping: bool = False) -> Reason | None:
        """What speaks for opening the circuit, now that a call failed or was slow."""
        minimum = min(_FIRST, self.minimum_calls) if ramping else self.minimum_calls
        bad, calls = window.counts(now)
        if calls < minimum:
            # A window too short for so quiet a service: the same number of calls in a row says as much.
            if window.streak < minimum:
                return None
            return Reason("failures", 1.0, window.streak, f"the last {window.streak} calls failed")
        floor = minimum if ramping else 1
        if bad >= max(self.failure_rate * calls, floor):
            text = f"{percent(bad / calls)} of {calls} calls failed in the last {self.window:g} s"
            return Reason("failures", bad / calls, calls, text)
        if self.slow_call and (slow := window.slow(now)) >= max(self.slow_rate * calls, floor):
            text = f"{percent(slow / calls)} of {calls} calls in the last {self.window:g} s took {self._long}"
            return Reason("slow_calls", bad / calls, calls, text)
        if window.streak >= _DEAD * self.minimum_calls:
            # Half of a busy service's window is seconds of failures alone: who answers nobody is known sooner.
            return Reason("failures", 1.0, window.streak, f"the last {window.streak} calls failed")
        return None

    def against_probe(self, failed: bool) -> Reason:
        """The same after a probe that `failed`, or else was slow."""
        text = "the probe failed" if failed else f"the probe took {self._long}"
        return Reason("probe", 1.0 if failed else 0.0, 1, text)

    @property
    def _long(self) -> str:
        return f"{self.slow_call:g} s or longer"

    def open_time(self, last: float, draw: float) -> tuple[float, float]:
        """The seconds to stay open, before and after `draw` (0..1) sways them; `last` were those before, or 0."""
        nominal = min(max(2 * last, self.open_for), max(self.open_max, self.open_for))
        return nominal, nominal * (1 - _SWAY / 2 + _SWAY * draw)

    @property
    def ramps(self) -> bool:
        """Whether a circuit that has just closed lets only some calls through at first."""
        return self.ramp > _FIRST

    def __str__(self) -> str:
        slow = f", {percent(self.slow_rate)} slow from {self.slow_call:g} s" if self.slow_call else ""
        longest = f" to {self.open_max:g} s" if self.open_max > self.open_for else ""
        return (
            f"{percent(self.failure_rate)} of >= {self.minimum_calls} calls in {self.window:g} s{slow}, "
            f"open {self.open_for:g} s{longest}, 1 probe"
        )


def percent(share: float) -> str:
    """As people read it."""
    return f"{share * 100:.0f} %"
