"""The header `handrail-chaos`: faults that a request brings with it, signed, and good for a while.

`<payload>.<signature>`: base64url of JSON `{"faults": [line], "until": seconds since the epoch}`, and the HMAC-SHA256
of that text in hex. There is no nonce: a request meets its faults at each hop and on each attempt, so that the same
header must be good more than once; it is its end, an hour away at most, that bounds what a copy of it is good for.
"""

import hashlib
import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable

from .fault import Fault
from .text import parsed

__all__ = ["FROM", "LONGEST", "NAME", "SHORTEST_SECRET", "Refused", "signed", "verified"]

NAME = "handrail-chaos"
FROM = "handrail-chaos-from"
"""Which service a call comes from; sent where faults are switched on, so that a partition knows its other side."""

LONGEST = 3600.0
"""Seconds for which a header may be good."""
SHORTEST_SECRET = 16
_LONGEST_TEXT = 4096


class Refused(ValueError):
    """A header that is not followed: `why` is the same for all that have the same wrong."""

    def __init__(self, why: str, more: str = "") -> None:
        super().__init__(f"{why}{more}")
        self.why = why


def signed(faults: Iterable[Fault], secret: str, until: float) -> str:
    """The value of the header, good until `until`, in seconds since the epoch."""
    said = json.dumps({"faults": [str(fault) for fault in faults], "until": int(until)}, separators=(",", ":"))
    payload = urlsafe_b64encode(said.encode()).decode().rstrip("=")
    return f"{payload}.{_signature(payload, secret)}"


def verified(value: str, secret: str, wall: float) -> tuple[tuple[Fault, ...], float]:
    """The faults of a header, and until when it is good. Raises Refused."""
    payload, _, signature = value.partition(".")
    if len(value) > _LONGEST_TEXT or not value.isascii():
        raise Refused("it is no header of ours")
    if not secret:
        raise Refused("no chaos_secret is set")
    if not hmac.compare_digest(signature.encode(), _signature(payload, secret).encode()):
        raise Refused("its signature is wrong")
    try:
        said = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        faults, until = tuple(parsed(line) for line in said["faults"]), float(said["until"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refused("it cannot be read", f": {error}") from None
    if not wall < until:  # not a number is no time
        raise Refused("its time was up", f" {wall - until:.0f} s ago")
    if until - wall > LONGEST + 60:
        raise Refused(f"it is good for more than {LONGEST:g} s")
    return faults, until


def _signature(payload: str, secret: str) -> str:
    return hmac.new(secret.encode(), payload.encode(), hashlib.sha256).hexdigest()
