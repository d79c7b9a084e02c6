"""What each number of `ResilienceSettings` may be, by itself and beside another."""

from collections.abc import Callable, Mapping
from operator import ge, le

from .settings import Problem, ResilienceSettings, each_checked

__all__ = ["BOUNDS", "disallowed", "problems", "together"]

_DAY = 86_400.0
_SECONDS = "seconds from 0.001 to 86400"
_OR_OFF = "seconds from 0 (off) to 86400"
_MILLION = 1_000_000

_RANGES: dict[str, tuple[type, float, float, str]] = {
    "total_timeout": (float, 0.001, _DAY, _SECONDS),
    "attempt_timeout": (float, 0.001, _DAY, _SECONDS),
    "attempts": (int, 1, 20, "a whole number from 1 (no retries) to 20"),
    "backoff_base": (float, 0.0, 3600.0, "seconds from 0 to 3600"),
    "backoff_cap": (float, 0.0, 3600.0, "seconds from 0 to 3600"),
    "retry_budget": (float, 0.0, 1.0, "a share from 0 to 1"),
    "retry_budget_window": (float, 0.1, 3600.0, "seconds from 0.1 to 3600"),
    "retry_budget_floor": (int, 0, _MILLION, "a whole number from 0 to 1000000"),
    "hedge_after": (float, 0.0, _DAY, _OR_OFF),
    "stale_on_error": (float, 0.0, _DAY, _OR_OFF),
    "bulkhead_limit": (int, 1, _MILLION, "a whole number from 1 to 1000000"),
    "bulkhead_queue": (int, 0, _MILLION, "a whole number from 0 to 1000000"),
    "bulkhead_wait": (float, 0.0, _DAY, "seconds from 0 to 86400"),
    "throttle": (float, 0.0, 100.0, "0 (off) or a number from 1 to 100"),
    "breaker_failure_rate": (float, 0.01, 1.0, "a share from 0.01 to 1"),
    "breaker_minimum_calls": (int, 1, _MILLION, "a whole number from 1 to 1000000"),
    "breaker_window": (float, 0.1, _DAY, "seconds from 0.1 to 86400"),
    "breaker_open_for": (float, 0.001, _DAY, _SECONDS),
    "breaker_open_max": (float, 0.001, _DAY, _SECONDS),
    "breaker_slow_call": (float, 0.0, _DAY, _OR_OFF),
    "breaker_slow_rate": (float, 0.01, 1.0, "a share from 0.01 to 1"),
    "breaker_ramp": (int, 0, _MILLION, "a whole number from 0 (off) to 1000000"),
    "max_origins": (int, 1, _MILLION, "a whole number from 1 to 1000000"),
}

_CHOICES: dict[str, tuple[object, ...]] = {
    "idempotency_keys": ("auto", "always", "off"),
    "adaptive_concurrency": (True, False),
}


def _twice(window: float, attempt: float) -> bool:
    return window >= 2 * attempt


_TOGETHER: list[tuple[str, str, Callable[[float, float], bool], str]] = [
    ("attempt_timeout", "total_timeout", le, "at most total_timeout, which is {:g} s"),
    ("backoff_base", "backoff_cap", le, "at most backoff_cap, which is {:g} s"),
    # Else calls that hang leave the window before enough of them have failed.
    ("breaker_window", "attempt_timeout", _twice, "at least twice attempt_timeout, which is {:g} s"),
    ("breaker_open_max", "breaker_open_for", ge, "at least breaker_open_for, which is {:g} s"),
]

_COMPARED = frozenset(name for pair in _TOGETHER for name in pair[:2])

BOUNDS: tuple[tuple[str, str, Callable[[float, float], float], float], ...] = (
    ("attempt_timeout", "total_timeout", min, 1.0),
    ("backoff_base", "backoff_cap", min, 1.0),
    ("breaker_window", "attempt_timeout", max, 2.0),
    ("breaker_open_max", "breaker_open_for", max, 1.0),
)
"""What gives way where it was not chosen: the field, what it gives way to, and how."""


def problems(settings: ResilienceSettings) -> list[Problem]:
    """Every value that is out of range or contradicts another; empty when all is well."""
    found = each_checked(settings, disallowed)
    broken = {name for name, _, _ in found}
    return found + together({name: getattr(settings, name) for name in _COMPARED - broken})


def together(values: Mapping[str, object]) -> list[Problem]:
    """The values that contradict each other; a pair of which one is missing does not."""
    found: list[Problem] = []
    for name, partner, fits, text in _TOGETHER:
        value, other = values.get(name), values.get(partner)
        if isinstance(value, int | float) and isinstance(other, int | float) and not fits(value, other):
            found.append((name, value, text.format(other)))
    return found


def disallowed(name: str, value: object) -> str | None:
    """What is allowed for a setting, where the value is not."""
    if name == "breaker_routes":
        whole = isinstance(value, tuple) and all(isinstance(path, str) and path.startswith("/") for path in value)
        return None if whole else "paths that begin with /"
    choices = _CHOICES.get(name)
    if choices is not None:
        allowed = any(value is choice or (isinstance(choice, str) and value == choice) for choice in choices)
        return None if allowed else " or ".join(str(choice).lower() for choice in choices)
    kind, low, high, text = _RANGES[name]
    return None if _within(value, kind, low, high) and (name != "throttle" or value == 0 or _atleast(value)) else text


def _atleast(value: object) -> bool:
    return isinstance(value, int | float) and value >= 1


def _within(value: object, kind: type, low: float, high: float) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float) if kind is float else int):
        return False
    return low <= value <= high  # false for nan too
