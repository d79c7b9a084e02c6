"""Every error of handrail, in one tree.

    HandrailError
    ├─ Rejected               not sent: .target .policy .retry_after
    │  ├─ CircuitOpen         the breaker of that origin is open
    │  ├─ BulkheadFull        too many calls to that origin are under way
    │  ├─ RetryBudgetSpent    retries to that origin are exhausted
    │  ├─ Throttled           that origin refuses most calls: some are not even sent
    │  └─ Undeclared          strict: a connection that goes round the policies   (also ConnectionError)
    ├─ TimedOut               .target .limit .elapsed   (also TimeoutError)
    │  ├─ AttemptTimedOut     one attempt took too long
    │  └─ DeadlineExceeded    the whole call, with its retries, took too long
    └─ SettingsError          (also ValueError)

There is no RetryError: the last original error goes up, with a note that says how many
attempts were made. Raised through a client library, an error is that library's own kind
as well (`httpx.TransportError`, `httpx.TimeoutException`), so `except httpx.HTTPError` works.
"""

from typing import ClassVar, TypeVar

__all__ = [
    "AttemptTimedOut",
    "BulkheadFull",
    "CircuitOpen",
    "DeadlineExceeded",
    "HandrailError",
    "Rejected",
    "RetryBudgetSpent",
    "SettingsError",
    "Throttled",
    "TimedOut",
    "Undeclared",
]

E = TypeVar("E", bound="HandrailError")


def restored(kind: type[E], args: tuple[object, ...]) -> E:
    """An error out of a pickle or for a copy: not made anew, since the classes differ in what they want to be told."""
    error = kind.__new__(kind)
    error.args = args
    return error


class HandrailError(Exception):
    """Base of all errors that handrail raises itself. Pickled and copied with attributes and notes."""

    def __reduce__(self) -> tuple[object, ...]:
        return restored, (type(self), self.args), self.__dict__


class Rejected(HandrailError):
    """The call was not sent.

    `target` is the origin, `policy` the policy that refused, `retry_after` the seconds
    after which another try makes sense, or None where nobody knows.
    """

    policy: ClassVar[str] = "rejected"

    def __init__(self, message: str, *, target: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.target = target
        self.retry_after = retry_after


class CircuitOpen(Rejected):
    """The origin failed too often; calls are refused until a probe succeeds."""

    policy = "circuit_breaker"


class BulkheadFull(Rejected):
    """As many calls as allowed are under way to that origin."""

    policy = "bulkhead"


class RetryBudgetSpent(Rejected):
    """Retries to that origin already make up their allowed share of calls."""

    policy = "retry_budget"


class Throttled(Rejected):
    """The origin accepts few calls, so this one was refused here (SRE book, chapter 21)."""

    policy = "throttle"


class Undeclared(Rejected, ConnectionError):
    """A connection past the policies, to a destination that is not among `destinations`, while `strict` is on.

    A ConnectionError too: whatever library was about to connect takes it for a connection that failed.
    """

    policy = "strict"


class TimedOut(HandrailError, TimeoutError):
    """A limit was reached. `limit` and `elapsed` are seconds; the call may have had an effect."""

    policy: ClassVar[str] = "timeout"

    def __init__(self, message: str, *, target: str, limit: float, elapsed: float) -> None:
        super().__init__(message)
        self.target = target
        self.limit = limit
        self.elapsed = elapsed


class AttemptTimedOut(TimedOut):
    """One attempt reached its own limit."""

    policy = "attempt_timeout"


class DeadlineExceeded(TimedOut):
    """The call reached its total limit or its caller's deadline."""

    policy = "total_timeout"


class SettingsError(HandrailError, ValueError):
    """A setting is unknown, malformed or contradicts another; the message says which and what is allowed.

    `problems` has each setting by itself, for tools; empty where it is not about single ones.
    """

    problems: tuple[object, ...] = ()


for _public in (
    HandrailError,
    Rejected,
    CircuitOpen,
    BulkheadFull,
    RetryBudgetSpent,
    Throttled,
    Undeclared,
    TimedOut,
    AttemptTimedOut,
    DeadlineExceeded,
    SettingsError,
):
    # By the name that users import: in tracebacks, in pickles, and in error.type, which alerts are written against.
    _public.__module__ = "handrail"
