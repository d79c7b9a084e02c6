"""One SERVER span per request, whoever else traces it, and in which order."""

import asyncio
from collections.abc import Iterator
from typing import Any, cast

import fastapi
import pytest
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware as Contrib
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.starlette import StarletteInstrumentor
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, get_current_span
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from handrail.tracing.inbound._exchange import App, Receive, Scope, Send
from handrail.tracing.inbound.server import ServerSpans
from handrail.tracing.testing import Spans, as_global
from tests.tracing.asgi_server import Server

PARENT = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}


@pytest.fixture(autouse=True)
def provider_is_global(spans: Spans) -> Iterator[None]:
    """The others find the same provider."""
    with as_global(spans.provider):
        yield


async def endpoint(request: Request) -> Response:
    return PlainTextResponse("ok")


def starlette(*middleware: Middleware) -> Starlette:
    return Starlette(routes=[Route("/items/{id}", endpoint)], middleware=list(middleware))


def fast() -> fastapi.FastAPI:
    app = fastapi.FastAPI()

    @app.get("/items/{item}")
    async def read(item: int) -> int:
        return item

    return app


def ours(app: object, spans: Spans) -> App:
    return ServerSpans(cast("App", app), tracing=spans.tracing, routes=app)


def the_one(spans: Spans) -> ReadableSpan:
    """The SERVER span, which everything else is below, in the trace of the caller."""
    server = spans.server
    assert server.context is not None
    assert server.parent is not None
    assert server.parent.span_id == int("b" * 16, 16)
    assert {span.context.trace_id for span in spans.finished if span.context} == {int("a" * 32, 16)}
    for span in spans.finished:
        assert span is server or (span.parent is not None and not span.parent.is_remote)
    return server


def test_fastapi_traces_natively_and_ours_silences_it(server: Server, spans: Spans) -> None:
    """FastAPI 0.165 traces once a provider exists: alone it makes a SERVER span, with ours outside it makes none."""
    server.get(cast("App", fast()), "/items/7", PARENT)
    assert the_one(spans).instrumentation_scope is not None
    spans.clear()
    server.get(ours(fast(), spans), "/items/7", PARENT)
    assert the_one(spans).name == "GET /items/{item}"
    assert [span.instrumentation_scope.name for span in spans.finished if span.instrumentation_scope] == ["handrail"]


def test_under_fastapis_own_span_we_make_none(server: Server, spans: Spans) -> None:
    """Where our layer sits inside FastAPI, its span is there first."""
    app = fast()
    app.add_middleware(cast("Any", ServerSpans), tracing=spans.tracing, routes=app)
    server.get(cast("App", app), "/items/7", PARENT)
    span = the_one(spans)
    assert (span.name, span.instrumentation_scope and span.instrumentation_scope.name) == (
        "GET /items/{item}",
        "fastapi",
    )


def test_contrib_asgi_outside(server: Server, spans: Spans) -> None:
    """Their SERVER span is current when we are called: we make none."""
    app = Contrib(ours(starlette(), spans), tracer_provider=spans.provider)
    server.get(cast("App", app), "/items/7", PARENT)
    span = the_one(spans)
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.name == "opentelemetry.instrumentation.asgi"


def test_contrib_asgi_inside(server: Server, spans: Spans) -> None:
    """Ours is current when they are called: they make none."""
    inner = starlette()
    app = ServerSpans(cast("App", Contrib(inner, tracer_provider=spans.provider)), tracing=spans.tracing, routes=inner)
    server.get(app, "/items/7", PARENT)
    assert the_one(spans).name == "GET /items/{id}"


def test_contrib_starlette_and_fastapi_inside(server: Server, spans: Spans) -> None:
    """Instrumented applications: one SERVER span, ours, named by the route."""
    app = starlette()
    StarletteInstrumentor.instrument_app(app, tracer_provider=spans.provider)
    server.get(ours(app, spans), "/items/7", PARENT)
    assert the_one(spans).name == "GET /items/{id}"
    spans.clear()
    api = fast()
    FastAPIInstrumentor.instrument_app(api, tracer_provider=spans.provider)
    server.get(ours(api, spans), "/items/7", PARENT)
    assert the_one(spans).name == "GET /items/{item}"


def test_starlettes_own_middleware_inside_and_outside(server: Server, spans: Spans) -> None:
    """It makes an unrelated second root under another tracer; told by its own mark, it makes none."""
    native = pytest.importorskip("starlette.middleware.opentelemetry").OpenTelemetryMiddleware
    server.get(ours(starlette(Middleware(native)), spans), "/items/7", PARENT)
    span = the_one(spans)
    assert span.instrumentation_scope is not None
    assert (span.name, span.instrumentation_scope.name) == ("GET /items/{id}", "handrail")
    spans.clear()
    server.get(native(ours(starlette(), spans)), "/items/7")
    assert spans.server.instrumentation_scope is not None
    assert spans.server.instrumentation_scope.name == "starlette"
    assert len(spans.finished) == 1


def test_a_call_in_process_is_a_request_of_its_own(server: Server, spans: Spans) -> None:
    """A handler that calls another application without a socket: two requests, two SERVER spans, one trace."""
    inner = ours(starlette(), spans)
    own = Server()

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        await own.call(inner, "/items/7")
        await endpoint_response(scope, receive, send)

    server.get(ours(outer, spans), "/outer", PARENT)
    inside, outside = spans.of_kind(SpanKind.SERVER)
    assert (inside.name, outside.name) == ("GET /items/{id}", "GET")
    assert inside.parent is not None
    assert outside.context is not None
    assert inside.parent.span_id == outside.context.span_id


def test_a_call_in_process_under_somebody_elses_server_span_is_one_too(server: Server, spans: Spans) -> None:
    """Another path than the one that their SERVER span is about."""
    inner = ours(starlette(), spans)
    own = Server()

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        await own.call(inner, "/items/7")
        await endpoint_response(scope, receive, send)

    server.get(cast("App", Contrib(outer, tracer_provider=spans.provider)), "/outer")
    assert len(spans.of_kind(SpanKind.SERVER)) == 2


def test_a_pipelined_request_is_no_child_of_the_one_before(server: Server, spans: Spans) -> None:
    """A server may start the next request from within the last send of the one before, in its context."""
    app = ours(starlette(), spans)
    tasks: list[asyncio.Task[None]] = []

    async def main() -> None:
        async def send(message: Any) -> None:
            if message["type"] == "http.response.body" and not tasks:
                tasks.append(asyncio.ensure_future(Server().call(app, "/items/8")))

        await app(server.scope("/items/7"), server.receive, send)
        await tasks[0]

    asyncio.run(main())
    first, second = spans.of_kind(SpanKind.SERVER)
    assert first.parent is second.parent is None
    assert first.context is not None
    assert second.context is not None
    assert first.context.trace_id != second.context.trace_id


def test_a_span_that_is_no_server_span_is_the_parent(server: Server, spans: Spans) -> None:
    """In tests and scripts a request may run under a span of the caller."""
    app = ours(starlette(), spans)

    async def main() -> None:
        with spans.provider.get_tracer("script").start_as_current_span("script"):
            await server.call(app, "/items/7")
            assert get_current_span().is_recording()

    asyncio.run(main())
    assert spans.server.parent is not None


async def endpoint_response(scope: Scope, receive: Receive, send: Send) -> None:
    await cast("App", PlainTextResponse("ok"))(scope, receive, send)


def test_a_secret_in_the_path_is_hidden_on_their_span_too(server: Server, spans: Spans) -> None:
    """Contrib's span tells the path in several attributes: where the route calls a part of it a token, it goes."""
    app = Starlette(routes=[Route("/reset/{token}", endpoint)])
    server.get(Contrib(ours(app, spans)), "/reset/sesame", query_string=b"page=2")
    assert spans.server.name == "GET /reset/{token}"
    assert "sesame" not in str(dict(spans.server.attributes or {}))
    assert "/reset/REDACTED" in str(dict(spans.server.attributes or {}))
