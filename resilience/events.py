"""What the policies report: frozen facts, handed to listeners. Nothing here knows of tracing.

A listener runs on the request's path, in its context. It must be quick; what it raises is
logged once and never reaches the request. A call that goes well at once reports nothing.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

__all__ = [
    "AttemptFailed",
    "CallQueued",
    "CallRejected",
    "CallTimedOut",
    "CircuitChanged",
    "ConnectionUnguarded",
    "Event",
    "FallbackUsed",
    "FaultInjected",
    "HedgeSent",
    "HedgeWon",
    "IdempotencyMet",
    "KeysHonoured",
    "Listener",
    "Listeners",
    "LoadSheddingChanged",
    "NotRetried",
    "RequestExpired",
    "RequestRefused",
    "RequestShared",
    "RetriesExhausted",
    "RetryScheduled",
    "SecondRetry",
]

_log = logging.getLogger("handrail")


@dataclass(frozen=True, slots=True)
class Event:
    """A fact about one origin. `target` is the origin, `operation` the HTTP method."""

    target: str
    operation: str


@dataclass(frozen=True, slots=True)
class RetryScheduled(Event):
    """Attempt number `attempt` failed by `cause`; the next begins after `delay` seconds."""

    attempt: int
    delay: float
    cause: str
    retry_after: bool = False


@dataclass(frozen=True, slots=True)
class NotRetried(Event):
    """Attempt number `attempt` failed by `cause`, and `reason` forbids another."""

    attempt: int
    cause: str
    reason: str


@dataclass(frozen=True, slots=True)
class RetriesExhausted(Event):
    """All `attempts` failed, the last by `cause`, in `elapsed` seconds together."""

    attempts: int
    elapsed: float
    cause: str


@dataclass(frozen=True, slots=True)
class CircuitChanged(Event):
    """The breaker went from `before` to `after` (closed, open, half_open).

    `failure_rate` (0..1) and `calls` describe the window that led to it; `open_for` is seconds.
    `cause`: failures, slow_calls, probe, manual, or shared (enough other instances opened theirs).
    """

    before: str
    after: str
    failure_rate: float
    calls: int
    open_for: float
    cause: str = "failures"


@dataclass(frozen=True, slots=True)
class CallRejected(Event):
    """`policy` refused the call; nothing was sent. `error` is the name of what is raised, `retry_after` seconds."""

    policy: str
    error: str
    retry_after: float | None


@dataclass(frozen=True, slots=True)
class CallTimedOut(Event):
    """`policy` (attempt_timeout or total_timeout) ended attempt number `attempt`. Seconds."""

    policy: str
    attempt: int
    limit: float
    elapsed: float


@dataclass(frozen=True, slots=True)
class CallQueued(Event):
    """The call waited `seconds` in the bulkhead for another to end; `limit` may be under way at a time."""

    seconds: float
    limit: int


@dataclass(frozen=True, slots=True)
class HedgeSent(Event):
    """Nothing had come for `delay` seconds: the same request was sent a second time."""

    delay: float


@dataclass(frozen=True, slots=True)
class HedgeWon(Event):
    """Of the two the second answered first, `seconds` after it was sent; the first was cancelled."""

    seconds: float


@dataclass(frozen=True, slots=True)
class FallbackUsed(Event):
    """The call failed by `cause`; the caller got something else: `kind` is fallback or stale, `age` seconds."""

    kind: str
    cause: str
    age: float | None = None


@dataclass(frozen=True, slots=True)
class KeysHonoured(Event):
    """The peer began (or ceased) to say that it honours idempotency keys."""

    honoured: bool


@dataclass(frozen=True, slots=True)
class RequestExpired(Event):
    """A request came with a deadline that had passed; `late` seconds, `mode` the stage of the roll-out."""

    late: float
    mode: str


@dataclass(frozen=True, slots=True)
class RequestRefused(Event):
    """A request that came was answered by `policy` in place of the app, or cut off on its way, with `status`.

    `policy`: load_shedding, streams, deadline, drain, body_max, body_timeout, headers_max or client_max; `reason` says
    more in one word (limit, queue, delay, ...), empty where there is no more to say.
    """

    policy: str
    reason: str
    status: int


@dataclass(frozen=True, slots=True)
class RequestShared(Event):
    """A request was given the answer to one like it that was under way; `trace`: that one's, empty where unknown."""

    trace: str


@dataclass(frozen=True, slots=True)
class LoadSheddingChanged(Event):
    """The service began to refuse requests, or ended it. `reason` is that of the first (limit, queue, delay).

    `under_way` requests at a time, of the `limit` that was found; `refused` in `seconds`, when it has ended.
    """

    began: bool
    reason: str
    under_way: int
    limit: int
    refused: int
    seconds: float


@dataclass(frozen=True, slots=True)
class IdempotencyMet(Event):
    """A request with an `Idempotency-Key` came that was not simply carried out. `key`: of the key's digest, in hex.

    `outcome`: replayed, in_flight, mismatch, interrupted, not_kept, misdirected, invalid, body_slow,
    refused_store_away, ran_unguarded or ran_again; `trace`: the trace of the first request, empty where unknown.
    """

    key: str
    outcome: str
    trace: str = ""


@dataclass(frozen=True, slots=True)
class ConnectionUnguarded(Event):
    """A connection was made that no policy saw: `target` is host:port, `place` the code's file:line."""

    place: str
    refused: bool


@dataclass(frozen=True, slots=True)
class SecondRetry(Event):
    """A call that had its retries was made again by `layer` (tenacity, ..., or hand-written) at `place`."""

    layer: str
    place: str


@dataclass(frozen=True, slots=True)
class AttemptFailed(Event):
    """Attempt number `attempt` broke off by `cause` after its headers had come (body lost or hanging)."""

    attempt: int
    cause: str


@dataclass(frozen=True, slots=True)
class FaultInjected(Event):
    """A fault that was asked for (chaos): `fault` is its kind, `direction` in or out, `rule` all of it as written."""

    fault: str
    direction: str
    rule: str


Listener = Callable[[Event], None]


class Listeners:
    """Hands each event to every listener; one that raises is named in the log once."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = listeners
        self._blamed: set[int] = set()

    def add(self, listener: Listener) -> None:
        """Append a listener; one that is already there is not added again."""
        if listener not in self._listeners:
            self._listeners = (*self._listeners, listener)

    def remove(self, listener: Listener) -> None:
        """Take a listener away; unknown ones are ignored."""
        self._listeners = tuple(known for known in self._listeners if known != listener)

    def __call__(self, event: Event) -> None:
        for listener in self._listeners:
            try:
                listener(event)
            except Exception:
                if id(listener) not in self._blamed:
                    self._blamed.add(id(listener))
                    _log.exception("listener %r failed on %r; said once", listener, event)
