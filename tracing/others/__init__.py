"""Contrib's ASGI middleware inside our SERVER span: silent, and nothing that the service asked of it is lost.

`FastAPIInstrumentor`, `StarletteInstrumentor`, `logfire.instrument_*` and a hand-made `OpenTelemetryMiddleware` all
run this one class. In a request that has its SERVER span it makes no span of its own: its hooks, its captured
headers, its own attributes and its response headers go to that span, its metrics to where they went before. What it
is asked to exclude stays out of it. In any other request it is what it was.
"""

import functools
import sys
from collections.abc import Callable
from typing import Any

import wrapt
from opentelemetry.context import get_current
from opentelemetry.trace import Span, get_current_span, set_span_in_context

from .._asgi import BEGINS, SEEN
from ..inbound import _background
from ..inbound._exchange import Message, Receive, Scope, Send
from ..redact._headers import header_attributes
from . import _metrics as _others_metrics
from ._server import OUTER

__all__ = ["install", "undo"]

_MODULE = "opentelemetry.instrumentation.asgi"
_FASTAPI = "opentelemetry.instrumentation.fastapi"
_WRAPPED = "__handrail_wrapped__"


class _State:
    on = False


_state = _State()
_hooked = False


def install() -> Callable[[], None]:
    """Take hold of the class, now or when it is imported; a second time is the same as once. Returns the undo."""
    global _hooked
    _state.on = True
    if not _hooked:
        _hooked = True
        wrapt.register_post_import_hook(_middleware, _MODULE)
        wrapt.register_post_import_hook(_fastapi, _FASTAPI)
    elif _MODULE in sys.modules:
        _middleware(sys.modules[_MODULE])
    return undo


def undo() -> None:
    """Give the class back, unless somebody wrapped it since: then ours passes on."""
    _state.on = False
    kind: Any = getattr(sys.modules.get(_MODULE), "OpenTelemetryMiddleware", None)
    original = getattr(vars(kind).get("__call__"), _WRAPPED, None) if kind is not None else None
    if original is not None:
        kind.__call__ = original


def _middleware(module: Any) -> None:
    kind = module.OpenTelemetryMiddleware
    original = kind.__call__
    if not _state.on or hasattr(original, _WRAPPED):
        return

    async def call(self: Any, scope: Scope, receive: Receive, send: Send) -> None:
        if not _state.on or scope["type"] == "lifespan":
            await original(self, scope, receive, send)
            return
        if SEEN not in scope:
            scope[OUTER] = self
            await original(self, scope, receive, send)
            return
        if self.excluded_urls and self.excluded_urls.url_disabled(module.get_host_port_url_tuple(scope)[2]):
            await self.app(scope, receive, send)
            return
        span = _server_span()
        _at_start(self, span, scope)
        receive, send = _hooked_receive(self, span, scope, receive), _hooked_send(self, span, scope, send, module)
        if _others_metrics.wanted(self) and scope["type"] == "http":
            await _others_metrics.counted(original, self)(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    setattr(call, _WRAPPED, original)
    kind.__call__ = call


def _server_span() -> Span:
    """Ours, or that of whoever made one before us."""
    exchange: Any = get_current().get(_background.EXCHANGE)
    return get_current_span() if exchange is None else exchange.span


def _at_start(theirs: Any, span: Span, scope: Scope) -> None:
    if span.is_recording():
        details = theirs.default_span_details
        if not getattr(details, "__module__", "").startswith("opentelemetry."):
            span.set_attributes(details(scope)[1])  # the service's own; the name is the route's all the same
        wanted = theirs.http_capture_headers_server_request
        if wanted:
            span.set_attributes(_captured(theirs, scope["headers"], wanted, "request"))
    if theirs.server_request_hook is not None:
        theirs.server_request_hook(span, scope)


def _hooked_receive(theirs: Any, span: Span, scope: Scope, receive: Receive) -> Receive:
    hook = theirs.client_request_hook
    if hook is None:
        return receive

    async def hooked() -> Message:
        message = await receive()
        hook(span, scope, message)
        return message

    return hooked


def _hooked_send(theirs: Any, span: Span, scope: Scope, send: Send, module: Any) -> Send:
    hook, wanted = theirs.client_response_hook, theirs.http_capture_headers_server_response
    propagator = module.get_global_response_propagator()
    if hook is None and not wanted and propagator is None:
        return send

    async def hooked(message: Message) -> None:
        if hook is not None:
            hook(span, scope, message)
        if message["type"] in BEGINS:
            if wanted and span.is_recording():
                span.set_attributes(_captured(theirs, message.get("headers") or (), wanted, "response"))
            if propagator is not None:
                propagator.inject(message, context=set_span_in_context(span), setter=module.asgi_setter)
        await send(message)

    return hooked


def _captured(theirs: Any, headers: Any, wanted: list[str], direction: str) -> dict[str, list[str]]:
    """By the conventions' names, and redacted as all headers here are; contrib's own list hides more."""
    found: dict[str, list[str]] = {}
    for name, value in headers:
        found.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    hidden = getattr(theirs.http_capture_headers_sanitize_fields, "_sanitized_fields", None)
    return header_attributes(found, wanted, hidden, lambda name: f"http.{direction}.header.{name}")


def _fastapi(module: Any) -> None:
    """`instrument_app` puts a span around every background task; below ours it would be a second one."""
    kind = module.FastAPIInstrumentor
    for name in ("instrument_app", "uninstrument_app"):
        setattr(kind, name, staticmethod(_then_outermost(getattr(kind, name))))
    _background.outermost()


def _then_outermost(original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> None:
        original(*args, **kwargs)
        _background.outermost()

    return call
