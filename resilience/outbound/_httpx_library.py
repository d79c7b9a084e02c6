"""The parts of httpx that we use, looked up once: httpx2 has the same names, as classes of its own."""

import inspect
from collections.abc import AsyncIterator, Iterator
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .. import errors
from ..classify import CANCELLED, CONNECT, FOREIGN, MISUSE, NETWORK, POOL, TIMEOUT, Verdict
from ..settings import ResilienceSettings
from ..stale import Snapshot
from ._dressing import Kinds, distrusts, dressed, in_place
from ._httpx_bodies import AsyncBegun, AsyncChunks, SyncBegun, SyncChunks
from ._httpx_wishes import widened

if TYPE_CHECKING:
    import httpx

__all__ = ["Library", "kinds"]

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
        self._kinds = kinds(module.__name__)

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
        for theirs, verdict in self._verdicts:
            if isinstance(error, theirs):
                return MISUSE if verdict is CONNECT and distrusts(error) else verdict
        return FOREIGN

    def dress(self, error: errors.HandrailError, request: "httpx.Request") -> None:
        """Make an error of ours the library's own kind too.

        The class of the object is changed, rather than a new object raised, so that its
        traceback, notes and causes stay, and listeners and callers see one and the same error.
        """
        if type(error) in self._kinds:
            in_place(self._kinds, error).__dict__["_request"] = request


@cache
def kinds(library: str) -> Kinds:
    """The classes by which our errors leave through httpx or httpx2."""
    module = import_module(library)
    return dressed(__name__, module.ConnectError, module.ReadTimeout, library)
