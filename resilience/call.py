"""One logical outbound call on its way through the pipeline, and what is known of the request that makes it."""

from collections.abc import Awaitable
from contextlib import suppress
from contextvars import ContextVar
from enum import Enum
from math import inf
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from .bound import current_deadline, deadline
from .classify import OK, Verdict

if TYPE_CHECKING:
    from .keyed import Key

__all__ = [
    "SAFE_METHODS",
    "Call",
    "Resend",
    "Wire",
    "current_deadline",
    "deadline",
    "discard_stale",
    "discard_stale_sync",
    "inbound_attempt",
    "under_way",
]

R = TypeVar("R")

inbound_attempt: ContextVar[int] = ContextVar("handrail_inbound_attempt", default=1)
"""Which attempt of its caller the request at hand is; 2 and more are retries of somebody further out."""
under_way: ContextVar["Call[Any] | None"] = ContextVar("handrail_under_way", default=None)
"""The call on whose behalf the code at hand runs, from the pipeline inwards: how a connection knows its policies."""


class Expirable(Protocol):
    """The part of a timer that we rely on."""

    def expired(self) -> bool:
        """Whether the time is up, also while the cancellation is still on its way."""
        ...

    def starved(self) -> bool:
        """Whether the event loop was late for half of the time since it began, or more."""
        ...


class Resend(Enum):
    """Whether the same request may be sent again after it may have reached the peer."""

    SAFE = "safe"
    """GET, HEAD, OPTIONS, PUT, DELETE, TRACE (RFC 9110, 9.2.2)."""
    KEYED = "keyed"
    """POST or PATCH with an Idempotency-Key."""
    UNSAFE = "unsafe"
    """Any other method: only where the request provably never left."""
    ONE_TIME = "one_time"
    """Its credentials are good for one request: only where it provably never left."""
    ONE_SHOT = "one_shot"
    """The body can be read only once: never."""
    THEIRS = "theirs"
    """The code gave its client retries of its own: those are its wish, and ours would multiply with them."""


SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})
"""Those that are idempotent by definition (RFC 9110, 9.2.2)."""


class Wire(Protocol[R]):
    """What a client library gives the pipeline: how to send, judge and throw away.

    One object for each request; it may keep the request as its own state.
    """

    def send(self, call: "Call[R]") -> Awaitable[R]:
        """Send once, on an event loop."""
        ...

    def send_sync(self, call: "Call[R]") -> R:
        """Send once, on a thread. `call.attempt_ends` is when it must be over."""
        ...

    def judge(self, result: R) -> Verdict:
        """The verdict on a result."""
        ...

    def judge_error(self, error: BaseException) -> Verdict:
        """The verdict on what `send` raised."""
        ...

    def retry_after(self, result: R) -> str | None:
        """The raw `Retry-After` of a result; asked only after a failure."""
        ...

    def header(self, result: R, name: str) -> str | None:
        """A header of a result, `name` in lower case; asked after a failure, and of answers to POST and PATCH."""
        ...

    def discard(self, result: R) -> Awaitable[None]:
        """Release a result that will not reach the caller."""
        ...

    def discard_sync(self, result: R) -> None:
        """The same on a thread."""
        ...


class Call(Generic[R]):
    """One logical call: one or several attempts at sending the same request.

    `target` is the origin as text, `operation` the HTTP method. `attempt_timeout` and
    `total_timeout` are seconds and replace the settings for this call: infinity where the
    code asked for no bound, None where it said nothing. Times are monotonic seconds of the
    pipeline's clock.
    """

    # What nearly every call has in common stands on the class: only what differs is written for each.
    attempt: int = 1
    verdict: Verdict = OK
    """What the last attempt came to; every policy outside it may read it."""
    attempt_timeout: float | None = None
    total_timeout: float | None = None
    started: float = 0.0
    ends: float = inf
    """When the whole call must be over: the total timeout or the caller's deadline."""
    attempt_ends: float = inf
    """When the attempt under way must be over; set by AttemptTimeout."""
    stale: R | None = None
    """The failed result of the attempt before; the innermost step discards it before it sends."""
    held_until: float = 0.0
    """Before this time no further attempt will be admitted; set by the policy that would refuse it."""
    used_up: bool = False
    """It failed for good, though the rules would let it be sent again: enough is enough, for whoever asks too."""
    key: "Key | None" = None
    """The Idempotency-Key that handrail gave this call: the same on every attempt."""
    timer: Expirable | None = None
    """The running attempt's timer: tells a timeout of ours from a cancellation."""

    def __init__(
        self,
        wire: Wire[R],
        *,
        target: str,
        operation: str,
        resend: Resend,
        attempt_timeout: float | None = None,
        total_timeout: float | None = None,
    ) -> None:
        self.wire = wire
        self.target = target
        self.operation = operation
        self.resend = resend
        if attempt_timeout is not None:
            self.attempt_timeout = attempt_timeout
        if total_timeout is not None:
            self.total_timeout = total_timeout

    def likeness(self) -> object:
        """Equal for the same request made again, to be kept for seconds; None where the library cannot tell.

        Asked only after all retries failed, and of the next call to the same origin.
        """
        return None

    def one_time(self) -> bool:
        """Whether its credentials are good for one request; asked only before another is sent beside the first."""
        return False

    @property
    def timed_out(self) -> bool:
        """Whether the attempt under way is being ended by its timer."""
        return self.timer is not None and self.timer.expired()


async def discard_stale(call: Call[R]) -> None:
    """Let go of the failed result of the attempt before; what that raises does not matter to anybody."""
    if call.stale is not None:
        # Cleared only afterwards: one that is cancelled on its way is begun again by whoever cleans up.
        with suppress(Exception):
            await call.wire.discard(call.stale)
        call.stale = None


def discard_stale_sync(call: Call[R]) -> None:
    """The same on a thread."""
    stale, call.stale = call.stale, None
    if stale is not None:
        with suppress(Exception):
            call.wire.discard_sync(stale)
