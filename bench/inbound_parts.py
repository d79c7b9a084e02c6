"""A request under `handrail.protect` with each inbound part, with all and with none, and under a stack by hand."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .inbound import contrib
from .load import ASGIApp, Message, requests, routed_app
from .providers import everything
from .work import Contender, Work

__all__ = ["CONTENDERS"]

OFF: dict[str, Any] = {
    "load_shedding": False,
    "deadline_cancel": False,
    "live_path": "off",
    "ready_path": "off",
    "body_max": 0,
    "headers_max": 0,
    "body_timeout": 0,
    "client_max": 0,
}
"""No inbound part but the end of a service and the count of streams, which have no switch."""
PARTS: dict[str, tuple[str, dict[str, Any]]] = {
    "load": ("load shedding", {"load_shedding": True}),
    "deadline": ("the cancelling of a spent deadline", {"deadline_cancel": True}),
    "health": ("the health paths", {"live_path": "/livez", "ready_path": "/readyz"}),
    "body": ("the bounds of a body", {"body_max": 104_857_600, "body_timeout": 30}),
    "headers": ("the bound of headers", {"headers_max": 100}),
    "client": ("the bound of a client", {"client_max": 1000}),
}
ALL: dict[str, Any] = {
    **{name: value for _, part in PARTS.values() for name, value in part.items()},
    "priority_routes": {"/checkout/*": "critical_plus", "/reports/*": "sheddable"},
    "priority_header": "x-priority",
    "single_flight_routes": ["/reports/*"],
}


def _protected(**settings: Any) -> Callable[[ASGIApp, TracerProvider], ASGIApp]:
    def around(app: ASGIApp, provider: TracerProvider) -> ASGIApp:
        from handrail import protect

        trace.set_tracer_provider(provider)
        return protect(app, **settings)

    return around


class _RequestId(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        request.state.request_id = request.headers.get("x-request-id") or uuid.uuid4().hex
        response = await call_next(request)
        response.headers["x-request-id"] = request.state.request_id
        return response


class _Bounded(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        try:
            return await asyncio.wait_for(call_next(request), 30)
        except TimeoutError:
            return JSONResponse({"error": "timed out"}, 504)


class _Shed(BaseHTTPMiddleware):
    places = asyncio.Semaphore(1000)

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        if self.places.locked():
            return JSONResponse({"error": "too busy"}, 503, {"retry-after": "1"})
        async with self.places:
            return await call_next(request)


def _by_hand(app: ASGIApp, provider: TracerProvider) -> ASGIApp:
    """What stands in services that others wrote: contrib's span, and three of Starlette's middlewares by hand."""
    for middleware in (_Bounded, _Shed, _RequestId):
        app.add_middleware(middleware)  # type: ignore[attr-defined] # the one application that this is asked for
    return contrib(app, provider)


def _work(around: Callable[[ASGIApp, TracerProvider], ASGIApp]) -> Callable[[SpanProcessor], Work]:
    return lambda processor: Work(requests(around(routed_app(), everything(processor))))


EVENTS = 200


async def _events(_scope: Message, _receive: object, send: Callable[[Message], Awaitable[None]]) -> None:
    """An event stream: what a layer costs each message, not each request."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    for _ in range(EVENTS):
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _streamed(name: str, title: str, around: Callable[[ASGIApp, TracerProvider], ASGIApp]) -> Contender:
    def make(processor: SpanProcessor) -> Work:
        return Work(requests(around(_events, everything(processor))))

    base = None if name == "stream-bare" else "stream-bare"
    return Contender(name, title, make, base, step=20, units=EVENTS)


CONTENDERS = [
    _streamed("stream-bare", "a message of an event stream", lambda app, _provider: app),
    _streamed("stream-contrib", "a message of an event stream, under contrib ASGI", contrib),
    _streamed("stream-protect", "a message of an event stream, under handrail.protect", _protected()),
    Contender("parts-none", "handrail.protect, no inbound part that can be off", _work(_protected(**OFF)), "bare"),
    Contender("parts-all", "handrail.protect, every inbound part", _work(_protected(**ALL)), "bare"),
    Contender("by-hand", "contrib ASGI, and three middlewares by hand", _work(_by_hand), "bare"),
    *(
        Contender(
            f"part-{name}",
            f"handrail.protect, of inbound parts only {title}",
            _work(_protected(**{**OFF, **part})),
            "bare",
        )
        for name, (title, part) in PARTS.items()
    ),
]
