"""The numbers of all policies, in one frozen object; where they come from is not known here."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["Problem", "ResilienceSettings", "each_checked"]

Problem = tuple[str, object, str]
"""A field, its value, and what is allowed."""


def each_checked(settings: "DataclassInstance", disallowed: Callable[[str, object], str | None]) -> list[Problem]:
    """Every value of which `disallowed` says what is allowed instead; empty when all is well."""
    return [
        (field.name, value, allowed)
        for field in fields(settings)
        if (allowed := disallowed(field.name, value := getattr(settings, field.name))) is not None
    ]


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
    retry_budget: float = 0.2
    """Retries that may be added to the calls of the window, as a share of them (Finagle, Linkerd: 0.2)."""
    retry_budget_window: float = 10.0
    """Seconds that the budget looks back (Finagle, tower: 10)."""
    retry_budget_floor: int = 100
    """Retries in the window that a quiet service may make all the same (Finagle, tower, Linkerd: 10 a second)."""
    idempotency_keys: str = "auto"
    """`auto`: POST and PATCH get a key where the peer says that it honours them; `always`; `off`."""
    hedge_after: float = 0.0
    """Seconds without an answer after which a safe call is sent a second time; 0: never."""
    stale_on_error: float = 0.0
    """Seconds for which the last good answer to a GET may stand in for a failed one (RFC 5861); 0: never."""
    bulkhead_limit: int = 1000
    """Calls to one origin that may be under way at a time (.NET standard handler: 1000)."""
    bulkhead_queue: int = 100
    """Calls that may wait for one of those to end."""
    bulkhead_wait: float = 1.0
    """Seconds that they wait at most; the deadline binds as well."""
    adaptive_concurrency: bool = False
    """Find the limit from the latency (Gradient2), at most `bulkhead_limit`."""
    throttle: float = 0.0
    """The K of client-side throttling (SRE book, chapter 21: 2); 0: off."""
    breaker_failure_rate: float = 0.5
    """Share of failed calls, above 0 and up to 1, that opens the breaker (resilience4j: 0.5)."""
    breaker_minimum_calls: int = 10
    """Calls in the window below which the breaker never opens, but for as many failures in a row (Kevlar: 10)."""
    breaker_window: float = 30.0
    """Seconds that the failure rate looks back (.NET standard handler: 30)."""
    breaker_open_for: float = 15.0
    """Seconds that an open breaker refuses calls before it lets one probe through (Kevlar: 15)."""
    breaker_open_max: float = 120.0
    """Seconds up to which that grows, doubled with each probe that fails (Envoy's ejection grows: up to 300)."""
    breaker_slow_call: float = 0.0
    """Seconds from which a call counts as slow; 0: none does."""
    breaker_slow_rate: float = 1.0
    """Share of slow calls, above 0 and up to 1, that opens the breaker (resilience4j: 1)."""
    breaker_ramp: int = 64
    """Calls at a time from which on a circuit that has just closed is free again; up to 2: at once (RFC 5681)."""
    breaker_routes: tuple[str, ...] = ()
    """Paths of the origin with breakers of their own, such as `/charges/*`."""
    max_origins: int = 1024
    """Origins (scheme, host, port) whose state is kept at a time."""

    def problems(self) -> list[Problem]:
        """Every value that is out of range or contradicts another; empty when all is well."""
        from ._ranges import problems  # it reads the fields of this class

        return problems(self)
