"""What may happen next: retry, break, refuse, in time. Knows nothing of tracing.

`print(standard("http://payment:8003"))` shows what stands around a call, outermost first.
"""

if __name__ == "resilience":
    raise ImportError("this folder is handrail.resilience: import it by that name")

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
    TimedOut,
)
from .pipeline import Pipeline
from .policy import Next, NextSync, Policy, Tools
from .registry import Entry, Registry
from .retry import Retry, may_resend
from .settings import ResilienceSettings
from .timeouts import AttemptTimeout, TotalTimeout

__all__ = [
    "AttemptTimedOut",
    "AttemptTimeout",
    "BulkheadFull",
    "Call",
    "CircuitBreaker",
    "CircuitOpen",
    "Clock",
    "Count",
    "DeadlineExceeded",
    "Entry",
    "HandrailError",
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
    "SystemClock",
    "TimedOut",
    "Tools",
    "TotalTimeout",
    "Verdict",
    "Wire",
    "current_deadline",
    "deadline",
    "may_resend",
    "of_status",
    "standard",
]
