"""The parts of httpx that we use, looked up once: httpx2 has the same names, as classes of its own."""

import inspect
import ssl
from collections.abc import AsyncIterator, Iterator
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .. import errors
from ..classify import CANCELLED, CONNECT, FOREIGN, MISUSE, NETWORK, POOL, TIMEOUT, Verdict
from ..settings import ResilienceSettings
from ..stale import Snapshot
from ._httpx_bodies import AsyncBegun, AsyncChunks, SyncBegun, SyncChunks
from ._httpx_wishes import widened

if TYPE_CHECKING:
    import httpx

__all__ = ["Library"]

_DEFAULT = ResilienceSettings().attempt_timeout


class Library:
    """One of `httpx` and `httpx2`: its body classes, its errors, its default timeout."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module
        self.byte_stream: type = module.ByteStream
        self._sync_body: Any = type("HeldBody", (SyncChunks, module.SyncByteStream), {})
        self._async_body: Any = type("HeldAsyncBody", (AsyncChunks, module.AsyncByteStream), {})
        self._sync_begun: Any = type("BegunBody", (SyncBegun, module.SyncByteStream), {})
        self._async_begun: Any = type("BegunAsyncBody", (AsyncBegun, module.AsyncByteStream), {})
        self._consumed = module.StreamConsumed
        default = inspect.signature(module.Client.__init__).parameters["timeout"].default
        self.unsaid_timeout: dict[str, float | None] = default.as_dict()
        self._patient: dict[float, dict[str, float | None] | None] = {}
        self._verdicts: tuple[tuple[tuple[type[Exception], ...], Verdict], ...] = (
            ((module.ConnectError, module.ConnectTimeout), CONNECT),
            ((module.PoolTimeout,), POOL),
            ((module.TimeoutException,), TIMEOUT),
            ((module.NetworkError, module.RemoteProtocolError, module.ProxyError), NETWORK),
            ((module.HTTPError, module.InvalidURL, module.StreamError), MISUSE),
        )
        self._dressed = _dressed(module)

    def held_async(self, chunks: list[bytes]) -> "httpx.AsyncByteStream":
        """A response stream on a loop, of chunks already read."""
        body: httpx.AsyncByteStream = self._async_body(chunks, self._consumed)
        return body

    def held_sync(self, chunks: list[bytes]) -> "httpx.SyncByteStream":
        """The same on a thread."""
        body: httpx.SyncByteStream = self._sync_body(chunks, self._consumed)
        return body

    def begun_async(
        self, chunks: list[bytes], rest: AsyncIterator[bytes], stream: "httpx.AsyncByteStream"
    ) -> "httpx.AsyncByteStream":
        """A response stream on a loop whose first chunks were read already; closed with `stream`."""
        body: httpx.AsyncByteStream = self._async_begun(chunks, rest, stream)
        return body

    def begun_sync(
        self, chunks: list[bytes], rest: Iterator[bytes], stream: "httpx.SyncByteStream"
    ) -> "httpx.SyncByteStream":
        """The same on a thread."""
        body: httpx.SyncByteStream = self._sync_begun(chunks, rest, stream)
        return body

    def restored(self, answer: Snapshot) -> "httpx.Response":
        """A response of parts that were kept; its body can be read on a loop and on a thread."""
        made: httpx.Response = self.module.Response(
            answer.status,
            headers=list(answer.headers),
            stream=self.byte_stream(answer.body),
            extensions=dict(answer.note) if isinstance(answer.note, dict) else None,
        )
        return made

    def patient(self, attempt: float) -> dict[str, float | None] | None:
        """The default timeouts with room for an attempt of so many seconds; None where they have it.

        Nor where nobody chose the seconds: `timeout=5` of the code looks like the default, and is to stay 5.
        """
        try:
            return self._patient[attempt]
        except KeyError:
            chosen = attempt != _DEFAULT
            found = self._patient[attempt] = widened(self.unsaid_timeout, attempt) if chosen else None
            return found

    def judge(self, error: BaseException) -> Verdict:
        """The verdict on what a transport raised."""
        if not isinstance(error, Exception):
            return CANCELLED  # asyncio's, trio's, or the end of the process: never the peer's doing
        if isinstance(error, errors.TimedOut):
            return TIMEOUT
        for kinds, verdict in self._verdicts:
            if isinstance(error, kinds):
                return MISUSE if verdict is CONNECT and _distrusts(error) else verdict
        return FOREIGN

    def dress(self, error: errors.HandrailError, request: "httpx.Request") -> None:
        """Make an error of ours the library's own kind too.

        The class of the object is changed, rather than a new object raised, so that its
        traceback, notes and causes stay, and listeners and callers see one and the same error.
        """
        dressed = self._dressed.get(type(error))
        if dressed is not None:
            error.__class__ = dressed
            error.__dict__["_request"] = request


@cache
def _dressed(module: ModuleType) -> dict[type[errors.HandrailError], type[errors.HandrailError]]:
    # Nothing was sent: as after a refused connection. A time limit: the peer may have acted.
    kinds: dict[type[errors.HandrailError], type[Exception]] = {
        errors.CircuitOpen: module.ConnectError,
        errors.BulkheadFull: module.ConnectError,
        errors.RetryBudgetSpent: module.ConnectError,
        errors.Throttled: module.ConnectError,
        errors.AttemptTimedOut: module.ReadTimeout,
        errors.DeadlineExceeded: module.ReadTimeout,
    }

    # The library's class first: where a handler is looked up along the class's bases, the app's
    # own one for httpx errors is found before one for HandrailError or TimeoutError.
    def both(theirs: type[Exception], ours: type[errors.HandrailError]) -> Any:
        def reduce(self: errors.HandrailError) -> tuple[object, ...]:
            return _restored, (module.__name__, ours, self.args), self.__dict__

        told = {"__doc__": ours.__doc__, "__module__": ours.__module__, "__reduce__": reduce}
        bases: tuple[Any, ...] = (theirs, ours)
        return type(ours.__name__, bases, told)

    return {ours: both(theirs, ours) for ours, theirs in kinds.items()}


def _restored(library: str, ours: type[errors.HandrailError], args: tuple[object, ...]) -> errors.HandrailError:
    # The class has no name that pickle could find, and another process may have handrail without having switched it on.
    try:
        kind = _dressed(import_module(library))[ours]
    except ImportError:
        kind = ours
    return errors.restored(kind, args)


def _distrusts(error: BaseException) -> bool:
    """Whether a certificate was refused, which no further attempt will change."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False
