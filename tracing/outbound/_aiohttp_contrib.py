"""opentelemetry-instrumentation-aiohttp-client beside us: its trace configs taken out of sessions, its hooks kept.

It hooks sessions by a trace config each, whether by its instrumentor or by hand (`create_trace_config`). A config is
known by the module of its first callback; tests/tracing_outbound pins that and the names in its closure.
"""

import inspect
import weakref
from types import ModuleType
from typing import Any

from opentelemetry.trace import Span

from .._quietly import told as say

__all__ = ["Contrib", "Hooks"]

_MODULE = "opentelemetry.instrumentation.aiohttp_client"


class Hooks:
    """What a service asked contrib to call around a request; here it is called around each attempt."""

    def __init__(self, module: ModuleType, given: list[tuple[Any, Any]]) -> None:
        self._module = module
        self._given = given

    def before(self, span: Span, request: Any) -> None:
        """The request hooks."""
        params = self._module.TraceRequestStartParams(request.method, request.url, request.headers)
        for hook, _ in self._given:
            _call(hook, span, params)

    def after(self, span: Span, request: Any, response: Any) -> None:
        """The response hooks."""
        params = self._module.TraceRequestEndParams(request.method, request.url, request.headers, response)
        for _, hook in self._given:
            _call(hook, span, params)

    def broken(self, span: Span, request: Any, error: BaseException) -> None:
        """The response hooks, where there is none."""
        params = self._module.TraceRequestExceptionParams(request.method, request.url, request.headers, error)
        for _, hook in self._given:
            _call(hook, span, params)


class Contrib:
    """The trace configs of contrib that sessions had, and the hooks in them."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module
        self._taken: weakref.WeakKeyDictionary[Any, tuple[list[Any], Hooks | None]] = weakref.WeakKeyDictionary()

    def take(self, session: Any) -> None:
        """Take contrib's out of a session; those of others stay."""
        theirs = [config for config in session._trace_configs if _is_contribs(config)]
        if not theirs:
            return
        session._trace_configs = [config for config in session._trace_configs if config not in theirs]
        given = [hooks for config in theirs if any(hooks := _hooks(config))]
        self._taken[session] = (theirs, Hooks(self._module, given) if given else None)

    def hooks(self, session: Any) -> Hooks | None:
        """What is to be called around the attempts of a session."""
        if not self._taken:
            return None
        found = self._taken.get(session)
        return None if found is None else found[1]

    def give_back(self) -> None:
        """Put every session's back."""
        for session, (theirs, _) in list(self._taken.items()):
            session._trace_configs = [*session._trace_configs, *theirs]
        self._taken.clear()


def _is_contribs(config: Any) -> bool:
    return any(getattr(callback, "__module__", "") == _MODULE for callback in config.on_request_start)


def _hooks(config: Any) -> tuple[Any, Any]:
    """The request hook and the response hook."""
    request = _closed_over(config.on_request_start, "request_hook")
    return request, _closed_over(config.on_request_end, "response_hook")


def _closed_over(callbacks: Any, name: str) -> Any:
    for callback in callbacks:
        if inspect.isfunction(callback) and callback.__module__ == _MODULE:
            return inspect.getclosurevars(callback).nonlocals.get(name)
    return None


def _call(hook: Any, span: Span, params: object) -> None:
    if callable(hook):
        try:
            hook(span, params)
        except Exception as error:
            say("a hook of the aiohttp instrumentation failed", error)
