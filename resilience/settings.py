"""The numbers of all policies, in one frozen object; where they come from is not known here."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from operator import le

__all__ = ["Problem", "ResilienceSettings"]

Problem = tuple[str, object, str]
"""A field, its value, and what is allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResilienceSettings:
    """What each policy may do. All durations are seconds; `problems()` says what is not allowed."""

    total_timeout: float = 30.0
    """Seconds for one call with all its attempts and pauses (.NET standard handler: 30)."""
    attempt_timeout: float = 10.0
    """Seconds for one attempt where the calling code names no timeout (.NET standard handler: 10)."""
    attempts: int = 3
    """Attempts in all, the first included; 1 switches retries off (gRPC A6, AWS standard mode: 3)."""
    backoff_base: float = 0.1
    """Seconds, doubled with each attempt; the pause is a draw from 0 to that (full jitter)."""
    backoff_cap: float = 5.0
    """Seconds that no drawn pause exceeds."""
    breaker_failure_rate: float = 0.5
    """Share of failed calls, above 0 and up to 1, that opens the breaker (resilience4j: 0.5)."""
    breaker_minimum_calls: int = 10
    """Calls in the window below which the breaker never opens: low enough for a quiet service (Kevlar: 10)."""
    breaker_window: float = 30.0
    """Seconds that the failure rate looks back (.NET standard handler: 30)."""
    breaker_open_for: float = 15.0
    """Seconds that an open breaker refuses calls before it lets one probe through (Kevlar: 15)."""
    max_origins: int = 1024
    """Origins (scheme, host, port) whose state is kept at a time."""

    def problems(self) -> list[Problem]:
        """Every value that is out of range or contradicts another; empty when all is well."""
        found = [
            (name, getattr(self, name), text)
            for name, (kind, low, high, text) in _RANGES.items()
            if not _within(getattr(self, name), kind, low, high)
        ]
        broken = {name for name, _, _ in found}
        for name, partner, fits, text in _TOGETHER:
            value, other = getattr(self, name), getattr(self, partner)
            if not {name, partner} & broken and not fits(value, other):
                found.append((name, value, text.format(other)))
        return found


_DAY = 86_400.0
_RANGES: dict[str, tuple[type, float, float, str]] = {
    "total_timeout": (float, 0.001, _DAY, "seconds from 0.001 to 86400"),
    "attempt_timeout": (float, 0.001, _DAY, "seconds from 0.001 to 86400"),
    "attempts": (int, 1, 20, "a whole number from 1 (no retries) to 20"),
    "backoff_base": (float, 0.0, 3600.0, "seconds from 0 to 3600"),
    "backoff_cap": (float, 0.0, 3600.0, "seconds from 0 to 3600"),
    "breaker_failure_rate": (float, 0.01, 1.0, "a share from 0.01 to 1"),
    "breaker_minimum_calls": (int, 1, 1_000_000, "a whole number from 1 to 1000000"),
    "breaker_window": (float, 0.1, _DAY, "seconds from 0.1 to 86400"),
    "breaker_open_for": (float, 0.001, _DAY, "seconds from 0.001 to 86400"),
    "max_origins": (int, 1, 1_000_000, "a whole number from 1 to 1000000"),
}
assert set(_RANGES) == {field.name for field in fields(ResilienceSettings)}


def _twice(window: float, attempt: float) -> bool:
    return window >= 2 * attempt


_TOGETHER: list[tuple[str, str, Callable[[float, float], bool], str]] = [
    ("attempt_timeout", "total_timeout", le, "at most total_timeout, which is {:g} s"),
    ("backoff_base", "backoff_cap", le, "at most backoff_cap, which is {:g} s"),
    # Else calls that hang leave the window before enough of them have failed.
    ("breaker_window", "attempt_timeout", _twice, "at least twice attempt_timeout, which is {:g} s"),
]


def _within(value: object, kind: type, low: float, high: float) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float) if kind is float else int):
        return False
    return low <= value <= high  # false for nan too
