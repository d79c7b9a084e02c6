"""Defects of contrib's ASGI instrumentation, by their number in the list of peers (A1): none of them is here.

A1-9 is in the tests of redaction, A1-17 (cost) in the bench.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import fastapi
import pytest
from opentelemetry.trace import SpanKind, StatusCode, get_current_span
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Host, Mount, Route, Router
from starlette.types import ASGIApp

from handrail.tracing.inbound._exchange import App, Receive, Scope, Send
from handrail.tracing.inbound.server import ServerSpans
from handrail.tracing.testing import Spans
from tests.tracing.asgi_server import Server


def traced(app: object, spans: Spans) -> ServerSpans:
    return ServerSpans(cast("App", app), tracing=spans.tracing, routes=app)


async def endpoint(request: Request) -> Response:
    return PlainTextResponse("ok")


def test_a1_1_a_stream_is_one_span(server: Server, spans: Spans) -> None:
    """A1-1: no INTERNAL spans for receive and send, none for a chunk."""

    async def stream(request: Request) -> Response:
        await request.body()

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(10):
                yield b"x"

        return StreamingResponse(chunks())

    server.get(traced(Starlette(routes=[Route("/", stream)]), spans))
    assert len(spans.finished) == 1


def test_a1_4_nothing_of_a_request_is_kept_on_the_instance(spans: Spans) -> None:
    """A1-4: one ServerSpans serves many requests at once; after them it is what it was before."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await gate.wait()
        await PlainTextResponse("x", status_code=int(scope["path"][1:]))(scope, receive, send)

    gate = asyncio.Event()
    wrapped = traced(app, spans)

    async def main() -> None:
        calls = [asyncio.ensure_future(Server().call(wrapped, f"/{status}")) for status in range(200, 260)]
        gate.set()
        await asyncio.gather(*calls)
        before = dict(vars(wrapped))
        await Server().call(wrapped, "/299")
        assert vars(wrapped) == before

    asyncio.run(main())
    for span in spans.finished:
        found = dict(span.attributes or {})
        assert found["url.path"] == f"/{found['http.response.status_code']}"


def test_a1_6_exception_handlers_see_the_span(server: Server, spans: Spans) -> None:
    """A1-6: also the handler of Exception, which runs in the outermost middleware of the framework."""
    seen: list[int] = []

    async def broken(request: Request) -> Response:
        raise request.app.state.error

    async def handler(request: Request, error: Exception) -> Response:
        seen.append(get_current_span().get_span_context().span_id)
        return PlainTextResponse("sorry", 500)

    for error in (ValueError("no stock"), fastapi.HTTPException(503)):
        app = fastapi.FastAPI(routes=[Route("/", broken)], exception_handlers={Exception: handler, 503: handler})
        app.state.error = error
        spans.clear()
        seen.clear()
        try:
            server.get(traced(app, spans))
        except ValueError:
            assert isinstance(error, ValueError)
        assert spans.server.context is not None
        assert seen == [spans.server.context.span_id]
        assert len(spans.finished) == 1


def everything() -> Starlette:
    sub = fastapi.FastAPI()
    router = fastapi.APIRouter(prefix="/{shop}")

    @router.get("/items/{item}")
    async def read(shop: str, item: str) -> str:
        return item

    sub.include_router(router, prefix="/v2")
    return Starlette(
        routes=[
            Route("/orders/{id}", endpoint, methods=["GET"]),
            Mount("/t/{tenant}", routes=[Mount("/u/{user}", routes=[Route("/x/{x}", endpoint)])]),
            Mount("/api", app=sub),
            Host("{shop}.example", app=cast("ASGIApp", Router([Route("/cart/{id}", endpoint)]))),
        ]
    )


SECRET = "s3cr3t42"


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "BREW", "get", "PROPFIND", "", "G\tT"])
@pytest.mark.parametrize(
    "path",
    [
        f"/orders/{SECRET}",
        f"/t/{SECRET}/u/{SECRET}/x/{SECRET}",
        f"/t/{SECRET}/nowhere",
        f"/api/v2/{SECRET}/items/{SECRET}",
        f"/api/v2/{SECRET}",
        f"/api/{SECRET}",
        f"/cart/{SECRET}",
        f"/{SECRET}",
        f"//{SECRET}",
        f"/orders/{SECRET}/",
    ],
)
def test_a1_7_no_name_and_no_route_holds_a_value(server: Server, spans: Spans, method: str, path: str) -> None:
    """A1-7: for routes, mounts, 404, 405, redirects, and methods that nobody knows; the name is bounded."""
    headers = {"host": "acme.example"} if path.startswith("/cart") else {"host": "shop"}
    server.get(traced(everything(), spans), path, headers, method=method)
    name, _, route = spans.server.name.partition(" ")
    found = spans.server.attributes or {}
    assert SECRET not in spans.server.name
    assert SECRET not in str(found.get("http.route"))
    assert name == ("HTTP" if method.upper() not in ("GET", "POST", "OPTIONS") else method.upper())
    assert route == found.get("http.route", "")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/orders/1", "GET /orders/{id}"),
        ("/t/1/u/2/x/3", "GET /t/{tenant}/u/{user}/x/{x}"),
        ("/api/v2/1/items/2", "GET /api/v2/{shop}/items/{item}"),
    ],
)
def test_a1_7_mounted_routes_have_their_whole_template(server: Server, spans: Spans, path: str, name: str) -> None:
    """A1-7: not only the mount point, and no values of a mount's parameters."""
    server.get(traced(everything(), spans), path)
    assert spans.server.name == name


def test_a1_8_no_header_is_recorded(server: Server, spans: Spans) -> None:
    """A1-8: neither credentials nor anything else but the user agent."""
    headers = {"host": "shop", "authorization": f"Bearer {SECRET}", "cookie": f"session={SECRET}", "x-key": SECRET}
    server.get(traced(everything(), spans), "/orders/1", headers)
    assert SECRET not in repr(spans.server.attributes)
    assert not [name for name in spans.server.attributes or {} if ".header." in name]


def test_a1_12_a_cancelled_stream_is_no_error(spans: Spans) -> None:
    """A1-12: the server cancels where the client has gone: no exception, no error, the cancellation passes."""

    async def stream(request: Request) -> Response:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"data: 1\n\n"
            entered.set()
            await asyncio.Event().wait()

        return StreamingResponse(chunks(), media_type="text/event-stream")

    entered = asyncio.Event()

    async def main() -> None:
        task = asyncio.ensure_future(Server().call(traced(Starlette(routes=[Route("/", stream)]), spans)))
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert spans.server.status.status_code is StatusCode.UNSET
    assert "error.type" not in (spans.server.attributes or {})
    assert not [event for event in spans.server.events if event.name == "exception"]


@pytest.mark.parametrize("spec_version", ["2.3", "2.4"])
def test_a1_12_a_client_that_leaves_ends_an_event_stream(spans: Spans, spec_version: str) -> None:
    """A1-12: told by http.disconnect, or by an OSError from send (2.4): an event, no error, one span."""

    async def stream(request: Request) -> Response:
        async def chunks() -> AsyncIterator[bytes]:
            while True:
                yield b"data: 1\n\n"
                await entered()

        return StreamingResponse(chunks(), media_type="text/event-stream")

    server = Server()

    async def entered() -> None:
        server.gone = True
        if spec_version == "2.3":
            left.set()
            await asyncio.Event().wait()

    left = asyncio.Event()

    async def receive() -> Any:
        if spec_version == "2.3":
            await left.wait()
            return {"type": "http.disconnect"}
        return await asyncio.Event().wait()

    app = traced(Starlette(routes=[Route("/", stream)]), spans)
    scope = server.scope("/", asgi={"version": "3.0", "spec_version": spec_version})
    try:
        asyncio.run(app(scope, receive, server.send))
    except Exception as error:
        assert type(error).__name__ == "ClientDisconnect"  # noqa: PT017  # only for one of the two
    assert spans.server.status.status_code is StatusCode.UNSET
    (event,) = spans.server.events
    assert (event.name, event.timestamp) == ("handrail.client.disconnected", spans.server.end_time)
    assert len(spans.finished) == 1


def test_a1_13_of_two_traceparents_none_is_believed(server: Server, spans: Spans) -> None:
    """A1-13: test_traceparent_duplicated of the W3C harness: a new trace."""
    one, two = (f"00-{digit * 32}-{digit * 16}-01".encode() for digit in "ab")
    scope = server.scope("/") | {"headers": [(b"traceparent", one), (b"traceparent", two)]}
    asyncio.run(traced(everything(), spans)(scope, server.receive, server.send))
    assert spans.server.parent is None


def test_a1_14_class_based_endpoints_work(server: Server, spans: Spans) -> None:
    """A1-14: an application that is a class is called with three arguments, as ASGI 3 has it."""

    class Endpoint:
        def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
            self.call = PlainTextResponse("ok")(scope, receive, send)

        def __await__(self) -> Any:
            return self.call.__await__()

    assert server.get(traced(Endpoint, spans)) == 200
    assert spans.server.kind is SpanKind.SERVER


def test_a1_16_a_current_span_does_not_make_it_internal(server: Server, spans: Spans) -> None:
    """A1-16: a request in process is a SERVER span below the span of the test or of the client."""

    async def main() -> None:
        with spans.provider.get_tracer("test").start_as_current_span("a test", kind=SpanKind.CLIENT):
            await server.call(traced(everything(), spans), "/orders/1")

    asyncio.run(main())
    client = next(span for span in spans.finished if span.kind is SpanKind.CLIENT)
    assert spans.server.parent == client.context
