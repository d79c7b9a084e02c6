"""What an attempt tells the peer: the time it has left, its number, and the key that handrail gave the call.

The first two are Envoy's (`x-envoy-expected-rq-timeout-ms`, `x-envoy-attempt-count`), so that meshes and other
handrails understand them; the key is draft-ietf-httpapi-idempotency-key-header.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any

from ..keyed import STORE

if TYPE_CHECKING:
    from ..call import Call
    from ..policy import Tools
    from ..service import ServiceSettings

__all__ = ["HeaderNames", "is_key", "milliseconds", "no_more_than", "outgoing"]

_LONGEST = 10
"""Digits of a written number of milliseconds that is still believed: 115 days."""


@dataclass(slots=True, eq=False)
class HeaderNames:
    """The names under which an attempt tells of itself, in lower case; empty: it does not.

    Whoever sends asks for them at each attempt: the settings may come to name others.
    """

    timeout: str = "x-envoy-expected-rq-timeout-ms"
    attempt: str = "x-envoy-attempt-count"
    key: str = "idempotency-key"
    encoded: bytes = field(init=False)
    """That of the timeout as it stands on the wire."""

    def __post_init__(self) -> None:
        self.encoded = self.timeout.encode()

    @classmethod
    def of(cls, service: "ServiceSettings") -> "HeaderNames":
        """Those that the settings of the service name. While deadlines are only observed, none is sent."""
        names = cls()
        names.follow(service)
        return names

    def follow(self, service: "ServiceSettings") -> None:
        """Those of other settings, from the next attempt on."""
        timeout, attempt = service.timeout_header.lower(), service.attempt_header.lower()
        told = timeout != "off" and service.deadline_mode != "observe"
        self.timeout = timeout if told else ""
        self.encoded = self.timeout.encode()
        self.attempt = "" if attempt == "off" else attempt


def outgoing(
    call: "Call[Any]", tools: "Tools", written: Callable[[str], str | None] | None = None
) -> list[tuple[str, str]]:
    """The headers of the attempt under way, by which those of the same names are replaced.

    `written` looks up what the code itself wrote (`headers.get`): the time told is never more than that.
    """
    names = tools.headers
    found: list[tuple[str, str]] = []
    if names.timeout and call.attempt_ends != inf:
        left = milliseconds(call.attempt_ends - tools.clock.now())
        text = None if written is None else written(names.timeout)
        found.append((names.timeout, str(left if text is None else no_more_than(text, left))))
    if call.attempt > 1 and names.attempt:
        found.append((names.attempt, str(call.attempt)))
    if call.key is not None and names.key:
        found.append((names.key, call.key))
        if call.key.store:
            found.append((STORE, f'"{call.key.store}"'))
    return found


def is_key(written: str | bytes | None) -> bool:
    """Whether a written Idempotency-Key says anything; blanks and an empty structured string do not."""
    text = written.decode("latin-1") if isinstance(written, bytes) else written
    return text is not None and text.strip(' \t"') != ""


def milliseconds(left: float) -> int:
    """Seconds in whole milliseconds, rounded down, and at least 1: 0 is no limit to Envoy."""
    return max(int(left * 1000), 1)


def no_more_than(text: str, left: int) -> int:
    """`left` milliseconds, or the fewer that `text` says; what is no number says nothing."""
    text = text.strip()
    if not text.isdigit() or not text.isascii() or len(text) > _LONGEST:
        return left
    return min(int(text) or left, left)
