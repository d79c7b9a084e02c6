"""What a service asked of contrib's ASGI middleware, with that middleware inside our SERVER span, or around it."""

import asyncio
from collections.abc import Iterator
from typing import Any, cast

import fastapi
import pytest
from opentelemetry import metrics as api
from opentelemetry import trace
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware as Contrib
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.propagators import (
    TraceResponsePropagator,
    get_global_response_propagator,
    set_global_response_propagator,
)
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.trace import SpanKind
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from handrail.tracing import metrics
from handrail.tracing import others as _others
from handrail.tracing.inbound._exchange import App
from handrail.tracing.inbound.server import ServerSpans
from handrail.tracing.others import _metrics as _others_metrics
from handrail.tracing.testing import Spans, as_global
from tests.tracing.asgi_server import Server
from tests.tracing_metrics.meters import by_name, no_provider, settings


@pytest.fixture
def spans() -> Iterator[Spans]:
    found = Spans()
    with as_global(found.provider):
        yield found
    _others_metrics.listening("nobody")


async def _ok(request: Request) -> Response:
    return PlainTextResponse("ok", headers={"x-answer": "42"})


def _app() -> Starlette:
    return Starlette(routes=[Route("/items/{id}", _ok), Mount("/sub", routes=[Route("/items/{id}", _ok)])])


def _traced(app: Any, spans: Spans, **more: Any) -> App:
    return ServerSpans(cast("App", app), tracing=spans.tracing, routes=app, **more)


def test_hooks_headers_and_attributes_go_to_our_span(spans: Spans) -> None:
    """Three hooks, two lists of captured headers, the service's own attributes: all on the one span."""
    seen: list[str] = []

    def hook(span: Any, scope: Any, message: Any = None) -> None:
        seen.append(message["type"] if message else scope["type"])
        span.set_attribute(f"hook.{seen[-1]}", True)

    inner = _app()
    app = Contrib(
        inner,
        server_request_hook=hook,
        client_request_hook=hook,
        client_response_hook=hook,
        default_span_details=lambda scope: ("mine", {"tenant": "acme"}),
        http_capture_headers_server_request=["x-tenant", "authorization"],
        http_capture_headers_server_response=["x-answer"],
    )
    headers = {"host": "shop", "x-tenant": "acme", "authorization": "Bearer s3cr3t"}
    Server().get(_traced(app, spans), "/items/7", headers)
    (span,) = spans.finished
    found = dict(span.attributes or {})
    assert (span.name, span.kind, found["tenant"]) == ("GET /items/{id}", SpanKind.SERVER, "acme")
    assert found["http.request.header.x-tenant"] == ("acme",)
    assert found["http.response.header.x-answer"] == ("42",)
    assert "s3cr3t" not in repr(found)
    assert seen == ["http", "http.response.start", "http.response.body"]
    assert all(found[f"hook.{kind}"] for kind in seen)


def test_a_hook_that_raises_changes_nothing(spans: Spans) -> None:
    """As contrib has it: the exception is on the span, the request goes on."""

    def hook(span: Any, scope: Any) -> None:
        raise ValueError("no")

    assert Server().get(_traced(Contrib(_app(), server_request_hook=hook), spans), "/items/7") == 200
    assert [event.name for event in spans.server.events] == ["exception"]


def test_what_it_excludes_gets_no_hook(spans: Spans) -> None:
    """The URLs that contrib was told to leave alone: its hooks stay out, our span is made."""
    seen: list[Any] = []
    app = Contrib(_app(), excluded_urls="items", server_request_hook=lambda span, scope: seen.append(scope))
    Server().get(_traced(app, spans), "/items/7")
    assert (seen, spans.server.name) == ([], "GET /items/{id}")


def test_response_headers_name_our_span(spans: Spans) -> None:
    """A global response propagator writes the trace of the one SERVER span, once."""
    before = get_global_response_propagator()
    set_global_response_propagator(TraceResponsePropagator())
    try:
        server = Server()
        server.get(_traced(Contrib(_app()), spans), "/items/7")
    finally:
        set_global_response_propagator(cast("Any", before))
    context = spans.server.context
    assert context is not None
    told = [value for name, value in server.sent[0]["headers"] if name == b"traceresponse"]
    assert told == [f"00-{context.trace_id:032x}-{context.span_id:016x}-03".encode()]


def test_instrumented_mounts_are_silent_too(spans: Spans) -> None:
    """A mounted application with a middleware of its own: one span, by the whole route."""
    inner = Starlette(routes=[Route("/items/{id}", _ok)])
    outer = Starlette(routes=[Mount("/v2", app=Contrib(inner))])
    Server().get(_traced(outer, spans), "/v2/items/7")
    assert [span.name for span in spans.finished] == ["GET /v2/items/{id}"]


def test_a_call_in_process_keeps_contribs_span(spans: Spans) -> None:
    """Another application, called without a socket, that only contrib instruments, is its own request: theirs."""
    other = Contrib(_app())

    async def outer(scope: Any, receive: Any, send: Any) -> None:
        await Server().call(other, "/items/7")
        await PlainTextResponse("ok")(scope, receive, send)

    Server().get(_traced(outer, spans), "/outer")
    names = [(span.name, span.kind) for span in spans.finished]
    assert ("GET /items/7", SpanKind.INTERNAL) in names
    assert spans.server.name == "GET"


def test_install_twice_and_undo(spans: Spans) -> None:
    """Idempotent; afterwards the class is what it was."""
    _others.undo()
    before = Contrib.__call__
    undo = _others.install()
    ours = Contrib.__call__
    assert ours is not before
    _others.install()
    assert Contrib.__call__ is ours
    undo()
    assert Contrib.__call__ is before


def test_around_us_its_span_is_completed(spans: Spans) -> None:
    """Theirs is the SERVER span: it gets route, name and error.type, and keeps a name that the service gave it."""

    async def broken(request: Request) -> Response:
        return PlainTextResponse("no", 503)

    async def raising(request: Request) -> Response:
        raise LookupError("no")

    async def named(request: Request) -> Response:
        trace.get_current_span().update_name("mine")
        return PlainTextResponse("ok")

    routes = [Route("/b/{id}", broken), Route("/r/{id}", raising), Route("/n/{id}", named)]
    app = Contrib(_traced(Starlette(routes=routes), spans))
    told = []
    for path in ("/b/1", "/r/1", "/n/1"):
        spans.clear()
        try:
            Server().get(cast("App", app), path)
        except LookupError:
            assert path == "/r/1"
        (span,) = spans.finished
        found = span.attributes or {}
        told.append((span.name, found["http.route"], found.get("error.type")))
    assert told == [
        ("GET /b/{id}", "/b/{id}", "503"),
        ("GET /r/{id}", "/r/{id}", "LookupError"),
        ("mine", "/n/{id}", None),
    ]


def test_metrics_of_concurrent_responses_are_not_mixed() -> None:
    """A1-4: contrib keeps the length of a response on its object; what it counts within ours is each request's own."""
    reader = InMemoryMetricReader()
    spans = Spans()

    async def sized(scope: Any, receive: Any, send: Any) -> None:
        size = int(scope["path"][1:])
        headers = [(b"content-length", str(size).encode())] if size else []
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        entered.append(size)
        while len(entered) < 3:
            await asyncio.wait([asyncio.ensure_future(_turn())])
        await send({"type": "http.response.body", "body": b"x" * size})

    entered: list[int] = []
    with no_provider():
        provider = MeterProvider([reader])
        api.set_meter_provider(provider)
        measured = metrics.start(settings())
        app = _traced(Contrib(sized), spans, measure=measured.server)

        async def main() -> None:
            await asyncio.gather(*(Server().call(app, f"/{size}") for size in (10, 200, 0)))

        asyncio.run(main())
        data = reader.get_metrics_data()
        assert data is not None
        (point,) = by_name(data)["http.server.response.size"]
        provider.shutdown()
    _others_metrics.listening("nobody")
    assert (point.count, point.sum) == (2, 210)


async def _turn() -> None:
    """One turn of the event loop."""


@pytest.mark.parametrize("where", ["in ours", "after the response"])
def test_metrics_of_the_service_begin_no_work(spans: Spans, where: str) -> None:
    """An observation asks for the current span, for its exemplar: no span of background work comes of that."""
    reader = InMemoryMetricReader()
    with no_provider():
        provider = MeterProvider([reader])
        api.set_meter_provider(provider)
        counter = api.get_meter("service").create_counter("orders")
        measured = metrics.start(settings())

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await PlainTextResponse("ok")(scope, receive, send)
            if where == "after the response":
                counter.add(1)

        Server().get(_traced(app, spans, measure=measured.server), "/")
        provider.shutdown()
    _others_metrics.listening("nobody")
    assert [span.kind for span in spans.finished] == [SpanKind.SERVER]


def test_an_exception_is_told_once(spans: Spans) -> None:
    """Contrib's FastAPI layer records what goes up through it; at the end of the request it is there already."""
    app = fastapi.FastAPI()

    @app.get("/items/{item}")
    def broken(item: int) -> int:
        raise LookupError("no stock")

    FastAPIInstrumentor.instrument_app(app)
    try:
        with pytest.raises(LookupError):
            Server().get(_traced(app, spans), "/items/7")
    finally:
        FastAPIInstrumentor.uninstrument_app(app)
    assert [event.name for event in spans.server.events] == ["exception"]
    assert (spans.server.attributes or {})["error.type"] == "LookupError"
