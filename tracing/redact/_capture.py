"""Request and response headers on the SERVER span; where none is asked for, nothing stands in the way."""

from collections.abc import Mapping

from opentelemetry.trace import Span, get_current_span

from .._asgi import BEGINS
from ..inbound._exchange import App, Message, Receive, Scope, Send
from ._headers import HeaderCapture, captures

__all__ = ["capturing"]


def capturing(app: App, environ: Mapping[str, str]) -> App:
    """The app, or a layer around it, right inside the SERVER span, that notes the headers which the variables name."""
    request, response = captures(environ, "SERVER_REQUEST"), captures(environ, "SERVER_RESPONSE")
    if request is None and response is None:
        return app

    async def layer(scope: Scope, receive: Receive, send: Send) -> None:
        span = get_current_span()
        if scope["type"] == "lifespan" or not span.is_recording():
            await app(scope, receive, send)
            return
        if request is not None:
            span.set_attributes(request(scope["headers"]))
        await app(scope, receive, send if response is None else _noting(span, response, send))

    return layer


def _noting(span: Span, capture: HeaderCapture, send: Send) -> Send:
    async def noting(message: Message) -> None:
        if message["type"] in BEGINS:
            span.set_attributes(capture(message.get("headers") or ()))
        await send(message)

    return noting
