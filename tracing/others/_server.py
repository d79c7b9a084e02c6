"""A request whose SERVER span somebody else made before it came to us: that span is completed, not doubled.

Contrib's middleware around the whole application knows no routes, so it names its span after the raw path. Where the
routes are known, the span gets `http.route`, a name of the route, and the `error.type` that is missing; what runs
after the response is a span of its own below it. Its metrics stay what they are.
"""

import sys
from collections.abc import Mapping
from typing import Any

from opentelemetry.context import attach, detach, set_value
from opentelemetry.trace import Span, Tracer

from .. import redact, semconv
from .._asgi import BEGINS
from ..inbound import _outcome
from ..inbound._background import EXCHANGE
from ..inbound._exchange import App, Message, Receive, Scope, Send
from ..inbound.routes import Routes

__all__ = ["OUTER", "complete"]

OUTER = "handrail.tracing.outer"
"""In the scope: contrib's middleware around us, if it is that."""

_PATHS = (semconv.URL_PATH, "http.target", "http.url", "url.full")


class _Theirs:
    """What background work and calls in process ask of a request."""

    over = False

    def __init__(self, span: Span, tracer: Tracer, client: object) -> None:
        self.span = span
        self.tracer = tracer
        self.client = client

    def respond(self) -> None:
        """Their span has its own end."""

    def worked(self) -> None:
        """See `respond`."""


async def complete(
    span: Span, tracer: Tracer, routes: Routes, app: App, scope: Scope, receive: Receive, send: Send
) -> None:
    """Call the application below `span`, and tell `span` what the application knows."""

    def tell(status: int, raised: BaseException | None) -> None:
        if not span.is_recording():
            return
        route = routes.template(scope)
        if route is not None:
            _routed(span, route, scope)
        if raised is not None or status >= 500:
            error = _outcome.of_http(status, raised, complete=True, left=False)
            if (kind := _outcome.error_type(error)) is not None:
                span.set_attribute(semconv.ERROR_TYPE, kind)

    async def telling(message: Message) -> None:
        if message["type"] in BEGINS:
            status = message.get("status") or 0
            tell(status, sys.exception() if status >= 500 else None)
        await send(message)

    receive = _without_message_spans(scope.get(OUTER), receive)
    token = attach(set_value(EXCHANGE, _Theirs(span, tracer, scope.get("client"))))
    try:
        await app(scope, receive, telling)
    except GeneratorExit:
        raise  # thrown away with its event loop, in a context that is not ours to restore
    except BaseException as error:
        tell(0, error)
        detach(token)
        raise
    detach(token)


def _without_message_spans(outer: Any, receive: Receive) -> Receive:
    """No span for each message, of a stream or a websocket for instance, but where a hook wants them."""
    if outer is None or outer.client_request_hook is not None or outer.client_response_hook is not None:
        return receive
    outer.exclude_receive_span = outer.exclude_send_span = True  # send is asked at each message, receive at the start
    return getattr(receive, "__wrapped__", receive)


def _routed(span: Span, route: str, scope: Mapping[str, Any]) -> None:
    """Set the route; the name follows it unless the service gave the span a name of its own."""
    title = scope.get("method") or semconv.WEBSOCKET
    name = getattr(span, "name", None)
    found = getattr(span, "attributes", None) or {}
    known = found.get(semconv.HTTP_ROUTE)
    span.set_attribute(semconv.HTTP_ROUTE, route)
    for key in _PATHS:
        if isinstance(said := found.get(key), str):
            path, mark, query = said.partition("?")
            if (shown := redact.path(route, path)) != path:
                span.set_attribute(key, shown + mark + query)
    if not isinstance(name, str):
        return
    rest = name.removeprefix(title).removeprefix("HTTP").strip()
    if rest in ("", known, scope["path"], (scope.get("root_path") or "") + scope["path"]):
        span.update_name(f"{title} {route}")
