"""What the metrics and the watch of the event loop are told of requests: once at the start, once at the end."""

import asyncio
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import Span

from handrail.tracing.inbound._exchange import App, Receive, Scope, Send
from handrail.tracing.inbound.server import ServerSpans
from handrail.tracing.metrics._http import ServerInstruments
from handrail.tracing.testing import Spans
from tests.tracing.asgi_server import Server


class Measure:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, str]] = []
        self.ended: list[tuple[Any, ...]] = []
        self.seconds: list[float] = []
        self.spans: list[Span] = []

    def begin(self, method: str, scheme: str) -> None:
        self.begun.append((method, scheme))

    def end(
        self,
        method: str,
        scheme: str,
        route: str | None,
        status: int,
        error_type: str | None,
        version: str,
        seconds: float,
        span: Span,
    ) -> None:
        self.ended.append((method, scheme, route, status, error_type, version))
        self.seconds.append(seconds)
        self.spans.append(span)


def answering(status: int) -> App:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["path_template"] = "/orders/{id}"
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body"})

    return app


def told(app: App, spans: Spans, path: str = "/x", **more: Any) -> Measure:
    measure = Measure()
    Server().get(ServerSpans(app, tracing=spans.tracing, routes=app, measure=measure), path, **more)
    return measure


@pytest.mark.parametrize(("status", "error"), [(200, None), (404, None), (503, "503")])
def test_one_begin_and_one_end(spans: Spans, status: int, error: str | None) -> None:
    """http-metrics: the attributes of the span, error.type the same; A1-5: the route and the status are there."""
    measure = told(answering(status), spans, method="POST", scheme="https", http_version="2")
    assert measure.begun == [("POST", "https")]
    assert measure.ended == [("POST", "https", "/orders/{id}", status, error, "2")]
    assert [span.get_span_context() for span in measure.spans] == [spans.server.context]


def test_the_duration_is_that_of_the_span(spans: Spans) -> None:
    """http-metrics: the value should equal the span's duration; A1-2: without the work behind the response."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answering(200)(scope, receive, send)
        spans.provider.get_tracer("app").start_span("child").end()
        assert len(measure.ended) == 1

    measure = Measure()
    Server().get(ServerSpans(app, tracing=spans.tracing, routes=app, measure=measure), "/x")
    span = spans.server
    assert span.start_time is not None
    assert span.end_time is not None
    assert measure.seconds == [(span.end_time - span.start_time) / 1e9]


def test_an_exception_is_counted_with_its_type() -> None:
    """A1-5: an escaping exception has error.type; a response that never began has status 0."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise KeyError("x")

    measure = Measure()
    spans = Spans()
    with pytest.raises(KeyError):
        Server().get(ServerSpans(app, tracing=spans.tracing, routes=app, measure=measure), "/x")
    assert measure.ended == [("GET", "http", None, 0, "KeyError", "1.1")]


def test_unsampled_requests_count() -> None:
    """Metrics are of all requests, with their routes; the times are real."""
    measure = told(answering(503), Spans(ALWAYS_OFF))
    assert measure.ended == [("GET", "http", "/orders/{id}", 503, "503", "1.1")]
    assert 0 < measure.seconds[0] < 10


def test_an_unknown_method_is_other() -> None:
    """Bounded, as on the span."""
    assert told(answering(200), Spans(), method="BREW").begun == [("_OTHER", "http")]


def test_excluded_requests_and_websockets_do_not_count(server: Server, spans: Spans) -> None:
    """A1-15: an excluded request is in no metric; the metrics are HTTP's."""
    assert not told(answering(200), spans, path="/health").begun

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.close"})

    measure = Measure()
    wrapped = ServerSpans(app, tracing=spans.tracing, routes=app, measure=measure)
    asyncio.run(wrapped(server.scope("/ws", type="websocket", scheme="ws"), server.receive, server.send))
    assert (measure.begun, measure.ended) == ([], [])


def test_a_measure_may_be_made_late(spans: Spans) -> None:
    """At the first request, when the service has set up its own; None is none."""
    made: list[Measure] = []

    def late() -> Measure:
        made.append(Measure())
        return made[-1]

    app = answering(200)
    wrapped = ServerSpans(app, tracing=spans.tracing, routes=app, measure=late)
    assert not made
    Server().get(wrapped, "/x")
    Server().get(wrapped, "/x")
    assert [len(measure.ended) for measure in made] == [2]
    assert Server().get(ServerSpans(app, tracing=spans.tracing, routes=app, measure=lambda: None), "/x") == 200


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize("fails", [False, True])
def test_open_exchanges_holds_those_whose_span_is_open(kind: str, fails: bool, spans: Spans) -> None:
    """From before the application runs until its SERVER span has ended, whatever happens; each has its span."""
    opened: set[object] = set()
    during: list[list[Any]] = []
    server = Server()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        during.append([getattr(one, "span", None) for one in opened])
        if fails:
            raise ValueError
        if kind == "http":
            await answering(200)(scope, receive, send)
            during.append(list(opened))

    wrapped = ServerSpans(app, tracing=spans.tracing, routes=app, open_exchanges=opened)
    try:
        asyncio.run(wrapped(server.scope("/x", type=kind), server.receive, server.send))
    except ValueError:
        assert fails
    assert len(during[0]) == 1
    assert during[0][0].get_span_context() == spans.server.context
    assert not opened
    assert during[1:] in ([], [[]])


def test_measuring_is_no_work_after_the_response(spans: Spans) -> None:
    """Instruments of the service's own provider are told at the last byte: that begins no background span."""
    instruments = ServerInstruments(MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False).get_meter("x"))
    app = answering(200)
    Server().get(ServerSpans(app, tracing=spans.tracing, routes=app, measure=instruments), "/x")
    assert [span.name for span in spans.finished] == ["GET /orders/{id}"]
