"""aiohttp: the guard is the innermost client middleware, so that one call is one hop, below the service's own ones.

    ClientSession._request   adds the guard to the middlewares of the request; sessions made earlier are covered too
      redirects, cookies, the service's middlewares     aiohttp's
        the guard            one logical call through the pipeline of its origin
          what was there     called once for each attempt; a tracer's middleware, or aiohttp itself

An attempt ends with its headers: aiohttp hands the body over as a stream, whose reading is the service's.
Connectors that are neither TCP nor a socket of this machine (mocks, ASGI) are untouched.
"""

import inspect
import logging
from asyncio import CancelledError
from collections.abc import Awaitable, Callable
from functools import wraps
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..call import Resend
from ..classify import TIMEOUT
from ..errors import HandrailError, TimedOut
from ._aiohttp_library import Library
from ._aiohttp_wire import AiohttpWire
from ._aiohttp_wishes import limits
from .failure import Failure, concerns, mark

if TYPE_CHECKING:
    import aiohttp
    from yarl import URL

    from ..registry import Entry, Registry

__all__ = ["install"]

_log = logging.getLogger("handrail")

_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
Handler = Callable[["aiohttp.ClientRequest"], Awaitable["aiohttp.ClientResponse"]]

_undo: dict[type, Callable[[], None]] = {}


class _Guard:
    """The registry, put under the sessions. `on` is false once it was undone."""

    def __init__(self, module: ModuleType, registry: "Registry") -> None:
        self.on = True
        self.library = Library(module)
        self.tools = registry.tools
        self.now = registry.tools.clock.now
        self._registry = registry
        self._tcp: type = module.TCPConnector
        self._local: tuple[type, ...] = (module.UnixConnector, module.NamedPipeConnector)

    def entry(self, connector: object, url: "URL") -> "Entry | None":
        """What is kept for the origin; None where there is nothing to guard."""
        scheme, host, port = _SCHEMES.get(url.scheme), url.host, url.port
        if not self.on or scheme is None or host is None or port is None:
            return None
        if not isinstance(connector, self._tcp):
            if not isinstance(connector, self._local):
                return None
            host = f"{host}@{getattr(connector, 'path', '')}"  # the URL's host is a mere name then
        entry = self._registry.pipeline(scheme, host, port)
        return entry.route(url.path) if entry.routes else entry

    def around(self, original: Any) -> Any:
        """`ClientSession._request` with the guard among its middlewares."""

        # No coroutine function of ours: aiohttp's warnings name a line of the service by counting frames.
        @wraps(original)
        def _request(session: Any, method: str, str_or_url: Any, **options: Any) -> Any:
            if self.on:
                theirs = options.get("middlewares")
                above = session._middlewares if theirs is None else theirs
                options["middlewares"] = (*above, _Hops(self, session, options))
            return original(session, method, str_or_url, **options)

        return _request


class _Hops:
    """The guard of one request of the service, called for each of its hops."""

    __slots__ = ("_began", "_guard", "_timeout", "_told", "decompress", "session")

    def __init__(self, guard: _Guard, session: Any, options: dict[str, Any]) -> None:
        self._guard = guard
        self.session = session
        self.decompress: object = options.get("auto_decompress")
        self._timeout = options.get("timeout", session._timeout)
        self._began = guard.now()
        self._told: tuple[Exception, object] | None = None

    async def __call__(self, request: "aiohttp.ClientRequest", handler: Handler) -> "aiohttp.ClientResponse":
        guard, session = self._guard, self.session
        entry = guard.entry(session._connector, request.url)
        if entry is None:
            return await handler(request)
        if self._told is not None:
            self._tell_again(request)
        call = AiohttpWire(guard.library, guard.tools, request, handler, self).call(entry.target)
        wish = guard.library.written(self._timeout, session._timeout)
        if wish is not None and not entry.times_chosen:
            call.attempt_timeout, call.total_timeout = limits(wish, entry.settings, guard.now() - self._began)
        try:
            answer = await entry.pipeline.run(call)
        except CancelledError as error:
            if getattr(request._timer, "_cancelled", False):  # a busy loop saw both bounds at once; see `failure_of`
                mark(error, Failure(call.target, call.attempt, TIMEOUT.cause, call.attempt > 1))
            raise
        except Exception as error:
            if isinstance(error, HandrailError):
                guard.library.dress(error)
            if concerns(call) or isinstance(error, TimedOut):
                mark(error, Failure.of(call))
            if entry.settings.attempts > 1 and call.resend is not Resend.ONE_SHOT and self._resent(error, request):
                self._told = (error, request)
            raise
        if call.used_up:
            # What the error of `raise_for_status()` has of its response; a fallback may give anything.
            mark(getattr(answer, "request_info", answer), Failure.of(call))
        return answer

    def _resent(self, error: Exception, request: "aiohttp.ClientRequest") -> bool:
        """Whether aiohttp is about to send the request anew; the retries of the pipeline stand in for that."""
        known = self._guard.library
        return self.session._retry_connection and request.method in known.resent and isinstance(error, known.stale)

    def _tell_again(self, request: object) -> None:
        told, self._told = self._told, None
        # The same request once more is a wish of a middleware of the service; a new one is aiohttp's.
        if told is not None and told[1] is not request:
            try:
                raise told[0]
            finally:
                del told


def install(module: ModuleType, registry: "Registry") -> Callable[[], None]:
    """Patch the session class of `module`; see `outbound.install`."""
    session: Any = module.ClientSession
    known = _undo.get(session)
    if known is not None:
        return known
    original = vars(session)["_request"]
    if "middlewares" not in inspect.signature(original).parameters:
        _log.warning("aiohttp %s has no client middlewares, 3.12 has: its calls are not guarded", module.__version__)
        return _nothing
    guard = _Guard(module, registry)
    ours = guard.around(original)
    session._request = ours

    def undo() -> None:
        if _undo.pop(session, None) is None:
            return
        guard.on = False  # also where a later wrapper still holds ours inside
        guard.library.keeper.undo()
        if vars(session).get("_request") is ours:
            session._request = original

    _undo[session] = undo
    return undo


def _nothing() -> None:
    """Nothing was installed."""
