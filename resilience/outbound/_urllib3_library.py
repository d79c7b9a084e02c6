"""What urllib3 raises, judged, and errors of ours as its own kind."""

import re
from functools import cache

from urllib3 import exceptions as theirs

from .. import errors
from ..classify import CANCELLED, CONNECT, FOREIGN, MISUSE, NETWORK, POOL, TIMEOUT, Verdict, of_status
from ._dressing import Kinds, distrusts, dressed, in_place

__all__ = ["dress", "judge", "kinds"]

_VERDICTS: tuple[tuple[tuple[type[Exception], ...], Verdict], ...] = (
    ((theirs.ConnectTimeoutError, theirs.NewConnectionError), CONNECT),
    ((theirs.ReadTimeoutError,), TIMEOUT),
    ((theirs.EmptyPoolError,), POOL),
    ((theirs.SSLError, theirs.ProtocolError, theirs.IncompleteRead), NETWORK),
    ((theirs.HTTPError,), MISUSE),
)
_STATUS = re.compile(r"too many (\d{3}) error responses")
_DEPTH = 8


def judge(error: BaseException) -> Verdict:
    """The verdict on what a pool raised; what it wraps decides."""
    if not isinstance(error, Exception):
        return CANCELLED
    if isinstance(error, errors.TimedOut):
        return TIMEOUT
    error = _within(error)
    if isinstance(error, theirs.ResponseError):  # the code's own retries were spent on a status
        found = _STATUS.search(str(error))
        return of_status(int(found[1])) if found else MISUSE
    for kinds_, verdict in _VERDICTS:
        if isinstance(error, kinds_):
            return MISUSE if verdict in (CONNECT, NETWORK) and distrusts(error) else verdict
    return FOREIGN


def _within(error: Exception) -> Exception:
    """What happened, under MaxRetryError and ProxyError."""
    for _ in range(_DEPTH):
        inner = getattr(error, "reason", None) if isinstance(error, theirs.MaxRetryError) else None
        if isinstance(error, theirs.ProxyError):
            inner = error.original_error
            if not isinstance(inner, theirs.HTTPError):
                return theirs.ProtocolError("the proxy broke off")
        if not isinstance(inner, Exception):
            return error
        error = inner
    return error


@cache
def kinds() -> Kinds:
    """The classes by which our errors leave through urllib3."""
    return dressed(__name__, theirs.MaxRetryError, theirs.ReadTimeoutError)


def dress(error: errors.HandrailError, pool: object, url: str) -> None:
    """Make an error of ours urllib3's own kind too, the same object."""
    in_place(kinds(), error)
    error.__dict__.update(pool=pool, url=url, reason=None)
