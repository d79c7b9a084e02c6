"""What the calling code says of its time, in urllib3's words: connect, read (silence between two reads), total."""

from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

from urllib3.util.timeout import Timeout

if TYPE_CHECKING:
    from ..settings import ResilienceSettings

__all__ = ["Wish", "cut", "limits", "of_pool", "of_requests"]


class Wish(NamedTuple):
    """Seconds; None where that phase has no bound of its own."""

    connect: float | None
    read: float | None
    total: float | None = None


_UNSAID = Timeout.DEFAULT_TIMEOUT
_NONE = Wish(None, None)


def of_requests(timeout: object) -> Wish | None:
    """What `timeout=` says to requests; None where the code said nothing.

    Raises TypeError for what requests will refuse.
    """
    if timeout is None:
        return None
    if isinstance(timeout, int | float):
        return Wish(timeout, timeout)
    if isinstance(timeout, Timeout):
        return _written(timeout)
    connect, read = _pair(timeout)
    return Wish(connect, read)


def _pair(timeout: object) -> tuple[float | None, float | None]:
    match timeout:
        case (int() | float() | None as connect, int() | float() | None as read) if isinstance(timeout, tuple):
            return connect, read
        case _:
            raise TypeError(timeout)


def of_pool(timeout: object, unsaid: object, pool: Any) -> Wish | None:
    """urllib3's `timeout=`, or the pool's own where the call names none. Raises TypeError likewise."""
    if timeout is unsaid:
        timeout = pool.timeout
    if isinstance(timeout, int | float):
        return Wish(timeout, timeout)
    if isinstance(timeout, Timeout):
        return _written(timeout)
    if timeout is None:
        return _NONE
    raise TypeError(timeout)


def _written(timeout: Timeout) -> Wish | None:
    connect, read, total = timeout._connect, timeout._read, timeout.total
    if total is None and connect is _UNSAID and read is _UNSAID:
        return None  # the socket's default, which is none
    return Wish(_seconds(connect), _seconds(read), _seconds(total))


def _seconds(value: object) -> float | None:
    return value if isinstance(value, int | float) else None


def limits(wish: Wish | None, settings: "ResilienceSettings", *, streamed: bool) -> tuple[float | None, float | None]:
    """Attempt and total timeout (seconds) for a call; None: the settings.

    A bound that the code wrote is never cut short: the attempt may last the sum of its phases,
    and what it gains the total gains. A written None means no bound for a stream alone.
    """
    if wish is None:
        return None, None
    connect, read, total = wish
    if total is None:
        if streamed and (connect is None or read is None):
            return inf, inf
        total = (connect or 0.0) + (read or 0.0)
    longer = total - settings.attempt_timeout
    if not longer > 0:  # nan too
        return None, None
    return settings.attempt_timeout + longer, settings.total_timeout + longer


def cut(wish: Wish | None, left: float) -> Timeout:
    """Bounds in which connecting, sending and waiting together last no longer than `left` seconds."""
    if wish is None:
        return Timeout(total=left, connect=left, read=left)
    connect, read, total = wish
    return Timeout(
        total=left if total is None or total > left else total,
        connect=left if connect is None or connect > left else connect,
        read=left if read is None or read > left else read,
    )
