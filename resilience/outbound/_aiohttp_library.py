"""The parts of aiohttp that we use, looked up once: its errors, its bodies, its default timeout."""

from functools import cache
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from .. import errors
from ..classify import CANCELLED, CONNECT, FOREIGN, MISUSE, NETWORK, OK, TIMEOUT, Count, Verdict, of_status
from ._aiohttp_keep import Keeper
from ._dressing import Kinds, distrusts, dressed, in_place

if TYPE_CHECKING:
    import aiohttp

__all__ = ["Library", "kinds"]

_OVER = Verdict("timeout", Count.FAILURE)
"""aiohttp's own total is up, and so is the call: nothing is left to try."""


class Library:
    """What is asked of `aiohttp` for each call."""

    def __init__(self, module: ModuleType) -> None:
        self.in_memory: type = module.payload.BytesPayload
        self.multipart: type = module.MultipartWriter
        self.stale: tuple[type[Exception], ...] = (module.ClientOSError, module.ServerDisconnectedError)
        """After these aiohttp sends once more by itself, except where it could not connect."""
        self.keeper = Keeper(module)
        """For the answers that may stand in for failed ones."""
        self._timeout: type[aiohttp.ClientTimeout] = module.ClientTimeout
        client = import_module("aiohttp.client")
        self.resent: frozenset[str] = getattr(client, "IDEMPOTENT_METHODS", frozenset())
        self._unsaid: object = getattr(client, "DEFAULT_TIMEOUT", None)
        self._kinds = kinds(module.__name__)
        # The first that fits: most of them are kinds of those further down.
        self._verdicts: tuple[tuple[type[Exception] | tuple[type[Exception], ...], Verdict], ...] = (
            ((module.ClientConnectorCertificateError, module.ServerFingerprintMismatch, module.InvalidURL), MISUSE),
            ((module.ConnectionTimeoutError, module.ClientConnectorError), CONNECT),
            (TimeoutError, TIMEOUT),
            ((module.ServerConnectionError, module.ClientPayloadError, OSError), NETWORK),
            (module.ClientError, MISUSE),
        )
        self._proxy: type[aiohttp.ClientHttpProxyError] = module.ClientHttpProxyError
        self._response: type[Exception] = module.ClientResponseError

    def written(self, timeout: object, of_session: "aiohttp.ClientTimeout") -> "aiohttp.ClientTimeout | None":
        """What the code says about time; None where that is aiohttp's default, so that nobody said it."""
        if isinstance(timeout, self._timeout):
            found = timeout
        elif timeout is None or isinstance(timeout, int | float):
            found = self._timeout(total=timeout)
        else:
            found = of_session  # aiohttp's mark for "not given"
        return None if found is self._unsaid or found == self._unsaid else found

    def judge(self, error: BaseException, request: "aiohttp.ClientRequest") -> Verdict:
        """The verdict on what an attempt raised."""
        if not isinstance(error, Exception):
            return CANCELLED
        if isinstance(error, errors.TimedOut):
            return TIMEOUT
        if type(error) is self._response:  # what came is no HTTP
            return NETWORK
        if isinstance(error, self._proxy):  # the tunnel was refused before there was a request
            return CONNECT if of_status(error.status) is not OK else MISUSE
        for theirs, verdict in self._verdicts:
            if isinstance(error, theirs):
                if verdict is TIMEOUT and getattr(request._timer, "_cancelled", False):
                    return _OVER
                return MISUSE if verdict is CONNECT and distrusts(error) else verdict
        return FOREIGN

    def dress(self, error: errors.HandrailError) -> None:
        """Make an error of ours aiohttp's own kind too: the very object, with its traceback, notes and causes."""
        in_place(self._kinds, error)


@cache
def kinds(library: str) -> Kinds:
    """The classes by which our errors leave through aiohttp."""
    module = import_module(library)
    # No ClientOSError: after one of those aiohttp sends again by itself.
    return dressed(__name__, module.ClientConnectionError, module.ServerTimeoutError, library)
