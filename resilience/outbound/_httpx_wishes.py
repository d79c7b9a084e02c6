"""What the code that calls says about its request: how long it may take, and whether to send it twice."""

from collections.abc import Mapping
from math import inf
from typing import TYPE_CHECKING

from ..call import SAFE_METHODS, Resend
from .headers import is_key

if TYPE_CHECKING:
    import httpx

    from ..settings import ResilienceSettings

__all__ = ["bound_to", "cut_to", "limits", "resend_class", "widened"]

_PHASES = ("connect", "read", "write", "pool")

Timeouts = Mapping[str, float | None]
"""httpx's four phases in seconds, None for no bound."""


def limits(timeouts: Timeouts, settings: "ResilienceSettings", *, streamed: bool) -> tuple[float | None, float | None]:
    """Attempt and total timeout (seconds) for a call whose code wrote `timeouts`; None: the settings.

    httpx bounds each phase by itself, so an attempt may last the sum of them: that is never cut
    short. What the attempt gains, the total gains. None means no bound for a stream alone;
    elsewhere it is what people write without meaning "hang forever".
    """
    written = [seconds for phase in _PHASES if (seconds := timeouts.get(phase)) is not None]
    if streamed and len(written) < len(_PHASES):
        return inf, inf
    longer = sum(written) - settings.attempt_timeout
    if not longer > 0:  # nan too, which would spoil the order of the loop's timers
        return None, None
    return settings.attempt_timeout + longer, settings.total_timeout + longer


def widened(timeouts: Timeouts, attempt: float) -> dict[str, float | None] | None:
    """A copy that lets the peer be silent for as long as an attempt may last; None where it may already.

    httpx's default of 5 s is nobody's wish, and a peer that is told of more time would work on for nobody.
    """
    silent = {phase: timeouts.get(phase) for phase in ("read", "write")}
    wider = {phase: attempt for phase, seconds in silent.items() if seconds is not None and seconds < attempt}
    return {**timeouts, **wider} if wider else None


def cut_to(timeouts: Timeouts, left: float) -> dict[str, float | None]:
    """A copy in which no phase may last longer than `left` seconds."""
    return {phase: left if (seconds := timeouts.get(phase)) is None or seconds > left else seconds for phase in _PHASES}


def bound_to(timeouts: Timeouts, left: float) -> dict[str, float | None]:
    """A copy in which the phases without a bound last no longer than `left` seconds."""
    return {phase: left if (seconds := timeouts.get(phase)) is None else seconds for phase in _PHASES}


def resend_class(request: "httpx.Request", replayable: type) -> Resend:
    """May this request be sent again? RFC 9110, 9.2.2, and draft-ietf-httpapi-idempotency-key-header."""
    if not isinstance(request.stream, replayable) and not _form_in_memory(request.stream):
        return Resend.ONE_SHOT
    if request.method in SAFE_METHODS:
        return Resend.SAFE
    return Resend.KEYED if is_key(request.headers.get("idempotency-key")) else Resend.UNSAFE


def _form_in_memory(stream: object) -> bool:
    """Multipart form data that holds no open file."""
    fields = getattr(stream, "fields", None)
    return isinstance(fields, list) and all(isinstance(getattr(field, "file", b""), (bytes, str)) for field in fields)
