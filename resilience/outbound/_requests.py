"""requests: the guard sits on `HTTPAdapter.send`, so sessions made earlier and functions passed around are covered.

Redirects, authentication, cookies and hooks are above, in the session, and stay as they are: each hop is one logical
call. Adapters of somebody's own and mocks never come here; a subclass comes here by `super()`.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from types import ModuleType
from typing import TYPE_CHECKING, Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connectionpool import HTTPConnectionPool

from .._routes import path_of
from ..call import Resend
from ..errors import HandrailError, TimedOut
from . import _requests_library as library
from . import _urllib3
from ._requests_wire import AdapterCall, AdapterWire
from ._urllib3_wire import origin, patched, resend_class
from ._urllib3_wishes import of_requests
from .failure import Failure, concerns, mark

if TYPE_CHECKING:
    from ..registry import Entry, Registry

__all__ = ["install"]

_POSITIONAL = ("verify", "cert", "proxies")
_undo: Callable[[], None] | None = None


class _Guard:
    """The registry, put around the adapters. `on` is false once it was undone."""

    def __init__(self, registry: "Registry", left_alone: Callable[[], bool]) -> None:
        self.on = True
        self._registry = registry
        self._left_alone = left_alone

    def around(self, original: Any) -> Callable[..., Any]:
        """`send` with the pipeline around it."""
        wire = AdapterWire(original, self._registry.tools)

        @wraps(original)
        def send(
            adapter: Any, request: Any, stream: bool = False, timeout: Any = None, *more: Any, **options: Any
        ) -> "requests.Response":
            if more and not options and len(more) <= len(_POSITIONAL):  # an adapter that calls `super()`
                options, more = dict(zip(_POSITIONAL, more, strict=False)), ()
            entry = None if more else self._entry(request.url)
            call = None
            if entry is not None:
                with suppress(TypeError):  # requests says better what is wrong with a timeout
                    call = self._call(wire, entry, adapter, request, stream, timeout)
            if entry is None or call is None:
                response: requests.Response = wire.handle(adapter, request, stream, timeout, *more, **options)
                return response
            call.options = options
            try:
                answer = entry.pipeline.run_sync(call)
                if call.used_up:
                    mark(answer, Failure.of(call))
                return answer
            except HandrailError as error:
                raised = library.dress(error, request)
                if isinstance(error, TimedOut):
                    mark(raised, Failure.of(call))
            except Exception as error:
                if concerns(call):
                    mark(error, Failure.of(call))
                raise
            raise raised  # outside of the handler, so that it is not its own context

        return send

    def _entry(self, url: Any) -> "Entry | None":
        if not self.on or _urllib3.taped(HTTPConnectionPool) or self._left_alone():
            return None
        scheme, _, rest = str(url).partition("://")
        found = origin(scheme, rest.partition("/")[0])
        if found is None:
            return None
        entry = self._registry.pipeline(*found)
        return entry.route(path_of(str(url))) if entry.routes else entry

    def _call(
        self, wire: AdapterWire, entry: "Entry", adapter: Any, request: Any, stream: bool, timeout: Any
    ) -> AdapterCall:
        several = _urllib3.retrying(adapter.max_retries, None)
        resend = Resend.THEIRS if several else resend_class(request.method, request.body, request.headers)
        wish = of_requests(timeout)
        call = AdapterCall(wire, entry.target, request.method, resend, wish)
        call.adapter, call.request, call.stream, call.timeout = adapter, request, stream, timeout
        if several or wish is not None:
            call.bound(entry.settings, streamed=stream, several=several, chosen=entry.times_chosen)
        return call


def install(module: ModuleType, registry: "Registry", left_alone: Callable[[], bool]) -> Callable[[], None]:
    """Patch the class of the adapters, and the pools below them; see `outbound.install`."""
    global _undo
    assert module is requests
    if _undo is not None:
        return _undo
    below = _urllib3.install(urllib3, registry, left_alone)
    guard = _Guard(registry, left_alone)
    restore = patched(HTTPAdapter, "send", guard.around)

    def undo() -> None:
        global _undo
        if _undo is undo:
            _undo = None
            guard.on = False  # also where a later wrapper still holds ours inside
            restore()
            below()

    _undo = undo
    return undo
