"""How long to wait before the next attempt."""

from datetime import UTC
from email.utils import parsedate_to_datetime

from .clock import Jitter

__all__ = ["full_jitter", "retry_after_seconds"]

_LONGEST_HEADER = 64
_DOUBLINGS = 64  # beyond any cap; keeps 2**n a float


def full_jitter(attempt: int, *, base: float, cap: float, jitter: Jitter) -> float:
    """Seconds to wait after failure number `attempt` (1, 2, ...): a draw from [0, min(cap, base * 2**(attempt - 1))).

    Full jitter spreads the herd best for its cost (AWS Architecture Blog, "Exponential
    Backoff And Jitter").
    """
    return jitter() * min(cap, base * 2.0 ** min(attempt - 1, _DOUBLINGS))


def retry_after_seconds(raw: str | None, wall: float) -> float | None:
    """Seconds that a `Retry-After` field asks for (RFC 9110, 10.2.3), or None where it says nothing usable.

    `wall` is the time now in seconds since the epoch. A date gone by asks for 0 seconds.
    """
    if raw is None or len(raw) > _LONGEST_HEADER:
        return None
    raw = raw.strip()
    if raw.isascii() and raw.isdigit():
        return float(raw)
    try:
        date = parsedate_to_datetime(raw)
        # "-0000" and a missing zone give a naive date, which timestamp() would take for local time.
        seconds = (date if date.tzinfo is not None else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError, OSError):
        return None
    return max(0.0, seconds - wall)
