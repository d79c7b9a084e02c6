"""What an outcome means: the breaker's view, the retry's view, and safe-to-send-again. One table.

Retried (where it is safe, see `may_resend`): connection errors, attempt timeouts, 408, 429,
502, 503, 504; 500 for methods that are safe by definition. Counted by the breaker: 408, 429,
every 5xx, network errors and timeouts (but for those that our own event loop made, see `counted`
in circuit.py); never a cancellation, a mistake of ours (bad URL, bad
certificate) or an exception that the client library does not know. An answer by which a peer under
handrail says that not it but a dependency of its own failed counts as a success of that peer:
else one dead service would open all breakers on the way to it, and each would wait for the next.
"""

from dataclasses import dataclass, replace
from enum import Enum

__all__ = [
    "BUSY",
    "CANCELLED",
    "CONNECT",
    "CUT_SHORT",
    "FOREIGN",
    "MISDIRECTED",
    "MISUSE",
    "NETWORK",
    "OK",
    "POOL",
    "TIMEOUT",
    "Count",
    "Verdict",
    "of_status",
    "relayed",
]


class Count(Enum):
    """How the breaker takes an outcome."""

    SUCCESS = "success"
    FAILURE = "failure"
    NEUTRAL = "neutral"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one attempt came to.

    `transient`: another attempt may do better. `never_left`: the peer provably saw nothing.
    `safe_only`: transient only where the method is safe to repeat by definition (status 500).
    """

    cause: str
    count: Count
    transient: bool = False
    never_left: bool = False
    safe_only: bool = False


OK = Verdict("ok", Count.SUCCESS)
CONNECT = Verdict("connect", Count.FAILURE, transient=True, never_left=True)
"""Refused, unreachable, name not found, or not connected in time."""
POOL = Verdict("pool", Count.NEUTRAL, transient=True, never_left=True)
"""No free connection in our own pool: says nothing about the peer."""
TIMEOUT = Verdict("timeout", Count.FAILURE, transient=True)
CUT_SHORT = Verdict("deadline", Count.NEUTRAL)
"""Ended by the deadline before the peer had half of an attempt's time: an impatient caller is no proof."""
NETWORK = Verdict("network", Count.FAILURE, transient=True)
"""Broken off after the request may have been read."""
MISUSE = Verdict("misuse", Count.NEUTRAL)
"""Bad URL, bad certificate, bad protocol on our side: another attempt fails the same way."""
FOREIGN = Verdict("foreign", Count.NEUTRAL)
"""An exception that is not the client library's own."""
CANCELLED = Verdict("cancelled", Count.NEUTRAL)

BUSY = Verdict("409", Count.SUCCESS)
"""An answer like any other; to a request sent again with its key it may say that the first is still at work."""

MISDIRECTED = Verdict("421", Count.SUCCESS, transient=True, never_left=True)
"""The peer refused a key of ours, which relies on the store of another instance, before it did anything."""

_BY_STATUS: dict[int, Verdict] = {
    409: BUSY,
    421: Verdict("421", Count.SUCCESS),
    **{status: Verdict(str(status), Count.FAILURE, transient=True) for status in (408, 429, 502, 503, 504)},
    **{status: Verdict(str(status), Count.FAILURE) for status in range(505, 600)},
    500: Verdict("500", Count.FAILURE, transient=True, safe_only=True),
    501: Verdict("501", Count.FAILURE),
}


def of_status(status: int) -> Verdict:
    """The verdict on an HTTP status; everything not in the table is a success to us."""
    return _BY_STATUS.get(status, OK)


PROXY_STATUS = "proxy-status"
"""RFC 9209: who between the origin and us made this answer, and why."""
RELAYED = "handrail; error="
"""How handrail's own answers for a failed dependency begin it."""

_RELAYED = {
    verdict.cause: replace(verdict, count=Count.SUCCESS)
    for verdict in (of_status(status) for status in (502, 503, 504))
}


def relayed(verdict: Verdict, proxy_status: str | None) -> Verdict:
    """The verdict on a failed answer, once more, in the light of what its `Proxy-Status` says."""
    if proxy_status is None or not proxy_status.startswith(RELAYED):
        return verdict
    return _RELAYED.get(verdict.cause, verdict)
