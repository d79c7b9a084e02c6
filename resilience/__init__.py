"""What may happen next: retry, break, refuse, in time. Knows nothing of tracing.

`print(standard("http://payment:8003"))` shows what stands around a call, outermost first.
"""

if __name__ == "resilience":
    raise ImportError("this folder is handrail.resilience: import it by that name")

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .budget import Budget
    from .bulkhead import Bulkhead
    from .call import Call, Resend, Wire, current_deadline, deadline
    from .circuit import CircuitBreaker
    from .classify import Count, Verdict, of_status
    from .clock import Clock, Jitter, SystemClock
    from .defaults import standard
    from .errors import (
        AttemptTimedOut,
        BulkheadFull,
        CircuitOpen,
        DeadlineExceeded,
        HandrailError,
        Rejected,
        RetryBudgetSpent,
        SettingsError,
        Throttled,
        TimedOut,
        Undeclared,
    )
    from .fallback import Fallback
    from .hedge import Hedge
    from .pipeline import Pipeline
    from .policy import Next, NextSync, Policy, Tools
    from .registry import Entry, Registry
    from .retry import Retry
    from .rules import may_resend
    from .settings import ResilienceSettings
    from .stale import StaleOnError
    from .throttle import Throttle
    from .timeouts import AttemptTimeout, TotalTimeout

__all__ = [
    "AttemptTimedOut",
    "AttemptTimeout",
    "Budget",
    "Bulkhead",
    "BulkheadFull",
    "Call",
    "CircuitBreaker",
    "CircuitOpen",
    "Clock",
    "Count",
    "DeadlineExceeded",
    "Entry",
    "Fallback",
    "HandrailError",
    "Hedge",
    "Jitter",
    "Next",
    "NextSync",
    "Pipeline",
    "Policy",
    "Registry",
    "Rejected",
    "Resend",
    "ResilienceSettings",
    "Retry",
    "RetryBudgetSpent",
    "SettingsError",
    "StaleOnError",
    "SystemClock",
    "Throttle",
    "Throttled",
    "TimedOut",
    "Tools",
    "TotalTimeout",
    "Undeclared",
    "Verdict",
    "Wire",
    "current_deadline",
    "deadline",
    "may_resend",
    "of_status",
    "standard",
]

_HOME = {
    name: module
    for module, names in {
        "budget": "Budget",
        "bulkhead": "Bulkhead",
        "call": "Call Resend Wire current_deadline deadline",
        "circuit": "CircuitBreaker",
        "classify": "Count Verdict of_status",
        "clock": "Clock Jitter SystemClock",
        "defaults": "standard",
        "errors": "AttemptTimedOut BulkheadFull CircuitOpen DeadlineExceeded HandrailError "
        "Rejected RetryBudgetSpent SettingsError Throttled TimedOut Undeclared",
        "fallback": "Fallback",
        "hedge": "Hedge",
        "pipeline": "Pipeline",
        "policy": "Next NextSync Policy Tools",
        "registry": "Entry Registry",
        "retry": "Retry",
        "rules": "may_resend",
        "settings": "ResilienceSettings",
        "stale": "StaleOnError",
        "throttle": "Throttle",
        "timeouts": "AttemptTimeout TotalTimeout",
    }.items()
    for name in names.split()
}


def __getattr__(name: str) -> object:
    """Load what is asked for: reading the settings must not load pybreaker, and with it a redis client."""
    if name in _HOME:
        return getattr(import_module(f".{_HOME[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
