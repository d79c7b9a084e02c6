"""httpx and httpx2: the guard sits on the transport classes, so it does not matter who made a client, or when.

    Client.send            says how much of the body is read at once (a request extension)
    HTTPTransport          the guard: one logical call through the pipeline of its origin
      what was there       called once for each attempt; a tracer's wrapper, or the library itself

Mock, ASGI, WSGI and custom transports never come here; a subclass comes here by `super()`.
"""

from collections.abc import Callable
from functools import wraps
from math import inf
from sys import modules
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..errors import HandrailError, TimedOut
from ._httpx_hold import BEFORE_HOOKS
from ._httpx_library import Library
from ._httpx_way import noting
from ._httpx_whole import reading, reading_async
from ._httpx_wire import Exchange, Handler, HttpxWire
from ._httpx_wishes import limits, widened
from .failure import Failure, concerns, mark

if TYPE_CHECKING:
    import httpx

    from ..registry import Entry, Registry

__all__ = ["install"]

_BUFFERED = "handrail.buffered"
_PORTS = {"http": 80, "https": 443}
_RESPX = "respx.mocks"

_undo: dict[type, Callable[[], None]] = {}


class _Guard:
    """The registry, put around one library's transports. `on` is false once it was undone."""

    def __init__(self, module: ModuleType, registry: "Registry") -> None:
        self.on = True
        self._library = Library(module)
        self._registry = registry

    def around_async(self, original: Any) -> Handler:
        """`handle_async_request` with the pipeline around it."""
        wire = HttpxWire(self._library, original, self._registry.tools)

        @wraps(original)
        async def handle_async_request(transport: Any, request: "httpx.Request") -> "httpx.Response":
            entry = self._entry(transport, request.url)
            if entry is None:
                response: httpx.Response = await wire.handle(transport, request)
                return response
            call = self._call(wire, entry, transport, request)
            try:
                answer = await entry.pipeline.run(call)
            except Exception as error:
                self._leave(error, call, request)
                raise
            if call.used_up:
                mark(answer, Failure.of(call))
            return answer

        return handle_async_request

    def around_sync(self, original: Any) -> Handler:
        """`handle_request` with the pipeline around it."""
        wire = HttpxWire(self._library, original, self._registry.tools)

        @wraps(original)
        def handle_request(transport: Any, request: "httpx.Request") -> "httpx.Response":
            entry = self._entry(transport, request.url)
            if entry is None:
                response: httpx.Response = wire.handle(transport, request)
                return response
            call = self._call(wire, entry, transport, request)
            try:
                answer = entry.pipeline.run_sync(call)
            except Exception as error:
                self._leave(error, call, request)
                raise
            if call.used_up:
                mark(answer, Failure.of(call))
            return answer

        return handle_request

    def _entry(self, transport: Any, url: "httpx.URL") -> "Entry | None":
        """What is kept for the origin; None where there is nothing to guard (undone, or not HTTP)."""
        parts = getattr(url, "_uri_reference", url)  # what the properties are made of, without their calls
        scheme, host, port = parts.scheme, parts.host, parts.port
        if "xn--" in host:
            host = url.host
        if port is None:  # but 0 is a port, that nobody listens on: no failure of port 80
            port = _PORTS.get(scheme)
        if port is None or not self.on:
            return None
        pool = getattr(transport, "_pool", None)
        if _RESPX in modules and _mocked(pool):
            return None
        socket = getattr(pool, "_uds", None)
        if socket is not None:  # the URL's host is a mere name then, often that of somebody else
            host = f"{host}@{socket}"
        entry = self._registry.pipeline(scheme, host, port)
        return entry.route(url.path) if entry.routes else entry

    def _call(self, wire: HttpxWire, entry: "Entry", transport: object, request: "httpx.Request") -> Exchange:
        extensions = request.extensions
        hold = extensions.get(_BUFFERED, 0)
        call = Exchange(wire, entry.target, transport, request, hold=hold)
        unsaid = self._library.unsaid_timeout
        timeouts = extensions.get("timeout", unsaid)
        if entry.times_chosen:
            call.phases = widened(timeouts, entry.settings.attempt_timeout) if hold else None
        elif timeouts != unsaid:
            call.attempt_timeout, call.total_timeout = limits(timeouts, entry.settings, streamed=not hold)
        elif hold:
            call.phases = self._library.patient(entry.settings.attempt_timeout)
        return call

    def _leave(self, error: Exception, call: Exchange, request: "httpx.Request") -> None:
        if isinstance(error, HandrailError):
            self._library.dress(error, request)
        if concerns(call) or isinstance(error, TimedOut):
            mark(error, Failure.of(call))


def _mocked(pool: object) -> bool:
    """Whether respx answers in the place of this pool: a mock below the transport, which other mocks replace."""
    kind = type(pool)
    method = getattr(kind, "handle_async_request", None) or getattr(kind, "handle_request", None)
    return getattr(method, "__module__", "") == _RESPX


def _marking_async(send: Any) -> Handler:
    @wraps(send)
    async def marked(client: Any, request: "httpx.Request", **options: Any) -> "httpx.Response":
        _mark(client, request, options.get("stream", False))
        response: httpx.Response = await send(client, request, **options)
        return response

    return marked


def _marking_sync(send: Any) -> Handler:
    @wraps(send)
    def marked(client: Any, request: "httpx.Request", **options: Any) -> "httpx.Response":
        _mark(client, request, options.get("stream", False))
        response: httpx.Response = send(client, request, **options)
        return response

    return marked


def _mark(client: Any, request: "httpx.Request", stream: bool) -> None:
    # An extension, since redirects and auth flows hand it on to the requests that they make.
    # Never in place: the caller may have given one dict to several requests.
    if not stream:
        hold = BEFORE_HOOKS if client.event_hooks["response"] else inf
        request.extensions = {**request.extensions, _BUFFERED: hold}
    elif _BUFFERED in request.extensions:
        request.extensions = {name: value for name, value in request.extensions.items() if name != _BUFFERED}


def install(module: ModuleType, registry: "Registry") -> Callable[[], None]:
    """Patch the classes of `module`; see `outbound.install`."""
    known = _undo.get(module.AsyncHTTPTransport)
    if known is not None:
        return known
    guard = _Guard(module, registry)
    patched = [
        _patch(module.AsyncHTTPTransport, "handle_async_request", guard.around_async),
        _patch(module.HTTPTransport, "handle_request", guard.around_sync),
        _patch(module.AsyncClient, "send", _marking_async),
        _patch(module.Client, "send", _marking_sync),
        _patch(module.AsyncHTTPTransport, "__init__", noting),
        _patch(module.HTTPTransport, "__init__", noting),
        _patch(module.Response, "aread", reading_async),
        _patch(module.Response, "read", reading),
    ]

    def undo() -> None:
        if _undo.pop(module.AsyncHTTPTransport, None) is None:
            return
        guard.on = False  # also where a later wrapper still holds ours inside
        for restore in patched:
            restore()

    _undo[module.AsyncHTTPTransport] = undo
    return undo


def _patch(owner: type, name: str, wrap: Callable[[Any], Handler]) -> Callable[[], None]:
    original = vars(owner)[name]  # unbound, and a tracer's wrapper as it is
    ours = wrap(original)
    setattr(owner, name, ours)

    def restore() -> None:
        if vars(owner).get(name) is ours:
            setattr(owner, name, original)

    return restore
