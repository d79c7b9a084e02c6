"""What requests raises, judged, and errors of ours as its own kind."""

from functools import cache

from requests import exceptions as theirs

from .. import errors
from ..classify import CANCELLED, CONNECT, FOREIGN, MISUSE, NETWORK, TIMEOUT, Verdict
from . import _urllib3_library
from ._dressing import Kinds, dressed, renewed

__all__ = ["dress", "judge", "kinds"]

_VERDICTS: tuple[tuple[type[Exception], Verdict], ...] = (
    (theirs.ConnectTimeout, CONNECT),
    (theirs.ReadTimeout, TIMEOUT),
    (theirs.ConnectionError, NETWORK),
    (theirs.ChunkedEncodingError, NETWORK),
    (theirs.RequestException, MISUSE),
)


def judge(error: BaseException) -> Verdict:
    """The verdict on what an adapter raised; what of urllib3's it was made of decides."""
    if not isinstance(error, Exception):
        return CANCELLED
    if isinstance(error, errors.TimedOut):
        return TIMEOUT
    if not isinstance(error, theirs.RequestException):
        return _urllib3_library.judge(error)
    inner = error.args[0] if error.args else None
    if isinstance(inner, Exception):
        verdict = _urllib3_library.judge(inner)
        if verdict is not FOREIGN:
            return verdict
    for kind, found in _VERDICTS:
        if isinstance(error, kind):
            return found
    return FOREIGN


@cache
def kinds() -> Kinds:
    """The classes by which our errors leave through requests."""
    return dressed(__name__, theirs.ConnectionError, theirs.ReadTimeout)


def dress(error: errors.HandrailError, request: object) -> errors.HandrailError:
    """The error as requests' own kind too; the same object where that can be."""
    again = renewed(kinds(), error)
    again.__dict__.update(request=request, response=None)
    return again
