"""urllib3: the guard sits on `HTTPConnectionPool.urlopen`, through which everything that uses urllib3 passes.

A call of `requests` (or of urllib3 itself, which calls `urlopen` again for its own retries and redirects) that has
its policies already passes; it only tells the peer of itself here. Pools that make their connections in their own way
(Unix sockets, mocks) are left alone.
"""

import inspect
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from math import inf
from types import ModuleType
from typing import TYPE_CHECKING, Any

import urllib3
from urllib3 import connectionpool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util.retry import Retry

from .._routes import path_of
from ..call import Resend, under_way
from ..errors import HandrailError, TimedOut
from . import _urllib3_library as library
from ._urllib3_body import bounding
from ._urllib3_wire import PoolCall, PoolWire, Sending, handler, origin, patched, resend_class, telling
from ._urllib3_wishes import of_pool
from .failure import Failure, concerns, mark

if TYPE_CHECKING:
    from ..registry import Entry, Registry

__all__ = ["install"]

_STOCK = Retry.DEFAULT
_MAKERS = (connectionpool.HTTPConnectionPool._new_conn, connectionpool.HTTPSConnectionPool._new_conn)
_CONNECTIONS = (HTTPConnection, HTTPSConnection)
_undo: Callable[[], None] | None = None


class _Redirects(Retry):
    """In the place of urllib3's default: follows redirects as that does, and leaves what failed to the pipeline."""


_OURS = _Redirects(3, connect=0, read=0, other=0, respect_retry_after_header=False)


class _Guard:
    """The registry, put around the pools. `on` is false once it was undone."""

    def __init__(self, registry: "Registry", left_alone: Callable[[], bool]) -> None:
        self.on = True
        self._registry = registry
        self._left_alone = left_alone

    def around(self, original: Any) -> Callable[..., Any]:
        """`urlopen` with the pipeline around it."""
        wire = PoolWire(original, self._registry.tools)
        handle = handler(original)
        tools = self._registry.tools
        unsaid = inspect.signature(original).parameters["timeout"].default

        @wraps(original)
        def urlopen(
            pool: Any,
            method: str,
            url: str,
            body: Any = None,
            headers: Any = None,
            retries: Any = None,
            redirect: bool = True,
            assert_same_host: bool = True,
            *more: Any,
            **rest: Any,
        ) -> Any:
            known = under_way.get()
            if isinstance(known, Sending):
                headers = telling(known, pool.headers if headers is None else headers, tools)
                entry = None
            else:
                entry = self._entry(pool, url)
            call = None
            if entry is not None and not more:
                with suppress(TypeError):  # urllib3 says better what is wrong with a timeout
                    call = self._call(wire, entry, pool, method, url, body, headers, retries, rest, unsaid)
            if entry is None or call is None:
                return handle(pool, method, url, body, headers, retries, redirect, assert_same_host, *more, **rest)
            call.redirect, call.same_host = redirect, assert_same_host
            try:
                response = entry.pipeline.run_sync(call)
            except Exception as error:
                if isinstance(error, HandrailError):
                    library.dress(error, pool, url)
                if concerns(call) or isinstance(error, TimedOut):
                    mark(error, Failure.of(call))
                raise
            if call.used_up:
                mark(response, Failure.of(call))
            return response

        return urlopen

    def _entry(self, pool: Any, url: str) -> "Entry | None":
        if not self.on or self._left_alone():
            return None
        if type(pool)._new_conn not in _MAKERS or taped(type(pool)):
            return None
        if url.startswith("/"):
            found = (pool.scheme, pool.host, pool.port) if pool.port else None
        else:
            scheme, _, rest = url.partition("://")
            found = origin(scheme, rest.partition("/")[0])
        if found is None:
            return None
        entry = self._registry.pipeline(*found)
        return entry.route(path_of(url)) if entry.routes else entry

    def _call(
        self,
        wire: PoolWire,
        entry: "Entry",
        pool: Any,
        method: str,
        url: str,
        body: Any,
        headers: Any,
        retries: Any,
        more: dict[str, Any],
        unsaid: object,
    ) -> PoolCall:
        name = method.upper()
        wish = of_pool(more.get("timeout", unsaid), unsaid, pool)
        default = _is_default(retries, pool)
        resend = resend_class(name, body, pool.headers if headers is None else headers) if default else Resend.THEIRS
        call = PoolCall(wire, entry.target, name, resend, wish)
        call.pool, call.method, call.url, call.body, call.headers = pool, method, url, body, headers
        call.more = more
        call.streamed = not more.get("preload_content", True)
        call.retries = _leading_on(retries) if default else retries
        several = not default and retrying(retries, pool)
        call.bound(entry.settings, streamed=call.streamed, several=several, chosen=entry.times_chosen)
        return call


def _is_default(retries: Any, pool: Any) -> bool:
    """Whether nobody said how to retry; what urllib3 1.26 makes of its default after redirects is that still."""
    if retries is None:
        return pool.retries is _STOCK
    if not isinstance(retries, Retry):
        return False
    if isinstance(retries, _Redirects):
        return True
    hops = retries.history
    if not hops or retries.total != (_STOCK.total or 0) - len(hops):
        return False
    return all(hop.redirect_location for hop in hops) and retries.connect is retries.read is retries.status is None


def _leading_on(retries: Retry | None) -> Retry:
    """What follows the redirects that are left, and knows of those that were."""
    if retries is None or isinstance(retries, _Redirects):
        return retries or _OURS
    return _OURS.new(total=retries.total, history=retries.history)


def taped(pool: Any) -> bool:
    """Whether pools of this class are vcr's for now, whose cassettes hold each request as often as the code asks."""
    kind = pool.ConnectionCls
    return kind not in _CONNECTIONS and kind.__module__.startswith("vcr.")


def retrying(retries: Any, pool: Any) -> bool:
    """Whether the code's own retries may send more than once."""
    if retries is None:
        retries = pool.retries
    total = retries.total if isinstance(retries, Retry) else retries
    return total is None or (total is not False and total > 0)


def _ends() -> float:
    """When the attempt under way must be over; infinity where there is none."""
    call = under_way.get()
    return call.attempt_ends if isinstance(call, Sending) else inf


def _bind(now: Callable[[], float]) -> Callable[[], None]:
    """Have the responses of urllib3's connections be read within their attempts; returns the undo."""
    kind: Any = HTTPConnection
    if "response_class" in vars(kind):
        return lambda: None  # somebody else's
    ours = staticmethod(bounding(kind.response_class, _ends, now))
    kind.response_class = ours

    def restore() -> None:
        if vars(kind).get("response_class") is ours:
            del kind.response_class

    return restore


def install(module: ModuleType, registry: "Registry", left_alone: Callable[[], bool]) -> Callable[[], None]:
    """Patch the class of the pools; see `outbound.install`."""
    global _undo
    assert module is urllib3
    if _undo is not None:
        return _undo
    guard = _Guard(registry, left_alone)
    restore = patched(connectionpool.HTTPConnectionPool, "urlopen", guard.around)
    unbind = _bind(registry.tools.clock.now)

    def undo() -> None:
        global _undo
        if _undo is undo:
            _undo = None
            guard.on = False  # also where a later wrapper still holds ours inside
            restore()
            unbind()

    _undo = undo
    return undo
