"""urllib3, and requests above it: one CLIENT span for each sending, around `HTTPConnectionPool.urlopen`.

urllib3 calls `urlopen` again from within for its own retries and redirects. The sending that this replaces ends there,
by what urllib3 wrote into its history, so that each one is a span beside the others and not within them.
"""

from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from types import FunctionType
from typing import Any

import urllib3.connectionpool as pools
from opentelemetry import trace
from opentelemetry.instrumentation.utils import is_http_instrumentation_enabled
from opentelemetry.util.http import get_excluded_urls

from .. import semconv
from ..measure import ClientMeasure
from ..spans.tracer import light
from . import _urllib3_contrib as contrib
from ._urllib3_attempt import Attempt, Sent

__all__ = ["install"]

Measure = Callable[[], ClientMeasure | None]

_under_way: ContextVar[Attempt | None] = ContextVar("handrail_urllib3_attempt", default=None)
_undo: Callable[[], None] | None = None


class _Layer:
    """`on` is false once it was undone."""

    def __init__(self, measure: Measure | None, call: Callable[[], object]) -> None:
        self.on = True
        self._measure = measure
        self._call = call
        self._tracer = light(trace.get_tracer(semconv.SCOPE, schema_url=semconv.SCHEMA_URL))
        self._excluded = {name: get_excluded_urls(name) for name in ("REQUESTS", "URLLIB3")}

    def around(self, original: Any) -> Callable[..., Any]:
        """`urlopen` with a span around it."""
        plain = type(original) is FunctionType

        @wraps(original)
        def urlopen(
            pool: Any, method: str, url: str, body: Any = None, headers: Any = None, retries: Any = None, *more: Any,
            **rest: Any,
        ) -> Any:  # fmt: skip
            send = original if plain else original.__get__(pool, type(pool))
            me = (pool,) if plain else ()
            if not self.on or not is_http_instrumentation_enabled():
                return send(*me, method, url, body, headers, retries, *more, **rest)
            call = self._call()
            sent = Sent(pool, method, url, pool.headers if headers is None else headers, body, call)
            if self._left_out(sent):
                return send(*me, method, url, body, headers, retries, *more, **rest)
            attempt = self._begin(sent, retries)
            token = _under_way.set(attempt)
            response = None
            try:
                response = send(*me, method, url, body, sent.headers, retries, *more, **rest)
            except BaseException as error:
                attempt.failed(error)
                raise
            finally:
                _under_way.reset(token)
                attempt.left(response)
            return response

        return urlopen

    def beside(self, original: Any) -> Callable[..., Any]:
        """`_make_request`, which alone knows the connection."""

        @wraps(original)
        def _make_request(pool: Any, connection: Any, *args: Any, **kwargs: Any) -> Any:
            response = original(pool, connection, *args, **kwargs)
            attempt = _under_way.get()
            if attempt is not None and attempt.pool is pool:
                attempt.answered(connection, response)
            return response

        return _make_request

    def _begin(self, sent: Sent, retries: Any) -> Attempt:
        """The attempt, begun; one of the same pool that is under way further out has come to its end."""
        history = getattr(retries, "history", None)
        before = _under_way.get() if history else None
        base = None
        if history:
            sent.resent(len(history))
            if before is not None and before.pool is sent.pool:
                before.replaced(history[-1])
                base = before.base
        return Attempt(self._tracer, self._measure, sent, base)

    def _left_out(self, sent: Sent) -> bool:
        hooks = contrib.hooks(sent.of_requests)
        excluded = self._excluded["REQUESTS" if sent.of_requests else "URLLIB3"]
        if hooks is not None and hooks.excluded is not None:
            excluded = hooks.excluded
        return bool(excluded._excluded_urls) and excluded.url_disabled(str(sent.url))


def install(measure: Measure | None = None, call: Callable[[], object] = lambda: None) -> Callable[[], None]:
    """Patch the class of the pools, once for requests and urllib3; see `outbound.install`."""
    global _undo
    if _undo is not None:
        return _undo
    layer = _Layer(measure, call)
    owner: Any = pools.HTTPConnectionPool
    found = {name: vars(owner)[name] for name in ("urlopen", "_make_request")}
    ours = {"urlopen": layer.around(found["urlopen"]), "_make_request": layer.beside(found["_make_request"])}
    for name, put in ours.items():
        setattr(owner, name, put)
    give_back = contrib.silence()

    def undo() -> None:
        global _undo
        if _undo is not undo:
            return
        _undo = None
        layer.on = False  # also where a later wrapper still holds ours inside
        give_back()
        for name, put in ours.items():
            if vars(owner).get(name) is put:
                setattr(owner, name, found[name])

    _undo = undo
    return undo
