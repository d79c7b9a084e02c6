"""Contrib's instrumentations of requests and urllib3 beside us: silent, with what a service asked of them kept.

Both ask a name of their own module, `is_http_instrumentation_enabled`, before they make a span; while we make the
spans the answer is no. Their hooks, captured headers and excluded URLs stand in the closure of their wrapper, and
apply to our spans. tests/tracing_outbound pins both.
"""

import sys
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from inspect import getclosurevars
from types import FunctionType
from typing import Any

import wrapt
from opentelemetry.trace import Span

from .._quietly import told as say
from ..redact._headers import header_attributes

__all__ = ["Hooks", "hooks", "silence"]

_ASKED = "is_http_instrumentation_enabled"
_TAKEN = "_handrail_taken"
_REQUESTS = "opentelemetry.instrumentation.requests"
_URLLIB3 = "opentelemetry.instrumentation.urllib3"


class Hooks:
    """What a service asked of one of the two."""

    def __init__(self, found: dict[str, Any], *, of_requests: bool) -> None:
        self._found = found
        self._of_requests = of_requests
        self.excluded: Any = found.get("excluded_urls")

    def before(self, span: Span, sent: Any) -> None:
        """Before it is sent: the request hook, and the request's headers."""
        self._capture(span, sent.headers, "request")
        hook = self._found.get("request_hook")
        if callable(hook):
            self._run(hook, span, *((sent.of_requests,) if self._of_requests else (sent.pool, self._info(sent))))

    def after(self, span: Span, sent: Any, response: Any) -> None:
        """The same for the answer; `response` is that of the library."""
        self._capture(span, response.headers, "response")
        hook = self._found.get("response_hook")
        if callable(hook):
            self._run(hook, span, sent.of_requests if self._of_requests else sent.pool, response)

    def _capture(self, span: Span, headers: Any, direction: str) -> None:
        wanted = self._found.get(f"captured_{direction}_headers")
        if not wanted or not span.is_recording():
            return
        told = {str(name): [str(value)] for name, value in headers.items()}
        hidden = self._found.get("sensitive_headers")
        span.set_attributes(header_attributes(told, wanted, hidden, lambda name: f"http.{direction}.header.{name}"))

    def _info(self, sent: Any) -> Any:
        return sys.modules[_URLLIB3].RequestInfo(sent.method, str(sent.url), sent.headers, sent.body)

    @staticmethod
    def _run(hook: Callable[..., Any], *args: Any) -> None:
        try:
            hook(*args)
        except Exception as error:  # of the service's own
            say("a hook of an instrumentation failed", error)


class _State:
    on = False
    hooked = False
    requests: Hooks | None = None
    urllib3: Hooks | None = None


_state = _State()


def hooks(of_requests: object) -> Hooks | None:
    """Those that apply, if any."""
    return _state.urllib3 if of_requests is None else _state.requests


def silence() -> Callable[[], None]:
    """Take hold of both, now or when they are imported; returns the undo."""
    _state.on = True
    if not _state.hooked:
        _state.hooked = True
        wrapt.register_post_import_hook(_take, _REQUESTS)
        wrapt.register_post_import_hook(_take, _URLLIB3)
    _read()

    def undo() -> None:
        _state.on = False

    return undo


def _take(module: Any) -> None:
    if _TAKEN in vars(module):
        return
    if not hasattr(module, "_uninstrument"):
        _take_later(module)
        return
    setattr(module, _TAKEN, True)
    asked = getattr(module, _ASKED)

    def enabled() -> bool:
        answer: bool = not _state.on and asked()
        return answer

    setattr(module, _ASKED, enabled)
    for name in ("_instrument", "_uninstrument"):
        setattr(module, name, _then_read(getattr(module, name)))
    _read()


def _take_later(module: Any) -> None:
    """It is being imported, and imports the library that we were waiting for: its turn comes before its first use."""
    kind = _every().BaseInstrumentor
    original = kind.instrument

    @wraps(original)
    def instrument(self: Any, **kwargs: Any) -> Any:
        if kind.instrument is instrument:
            kind.instrument = original
        _take(module)
        return original(self, **kwargs)

    kind.instrument = instrument


def _every() -> Any:
    return import_module("opentelemetry.instrumentation.instrumentor")


def _then_read(original: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        _read()
        return result

    return call


def _read() -> None:
    """Look for their wrappers where they put them."""
    pools = sys.modules.get("urllib3.connectionpool")
    sessions = sys.modules.get("requests.sessions")
    _state.requests = _asked(getattr(sessions, "Session", None), "send", _REQUESTS, of_requests=True)
    _state.urllib3 = _asked(getattr(pools, "HTTPConnectionPool", None), "urlopen", _URLLIB3, of_requests=False)


def _asked(owner: Any, name: str, module: str, *, of_requests: bool) -> Hooks | None:
    found = vars(owner).get(name) if owner is not None else None
    while found is not None:
        wrapper = getattr(found, "_self_wrapper", found)
        if (
            isinstance(wrapper, FunctionType)
            and wrapper.__globals__["__name__"] == module  # wraps() gave it the module of what it wraps
            and "request_hook" in wrapper.__code__.co_freevars
        ):
            asked = dict(getclosurevars(wrapper).nonlocals)
            telling = ("request_hook", "response_hook", "captured_request_headers", "captured_response_headers")
            excluded = getattr(asked.get("excluded_urls"), "_excluded_urls", None)
            return Hooks(asked, of_requests=of_requests) if excluded or any(asked.get(n) for n in telling) else None
        found = getattr(found, "__wrapped__", None)
    return None
