"""After the response: to look at the current span begins no work, to begin something below it does."""

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry import propagate
from opentelemetry.context import get_current
from opentelemetry.sdk.metrics import AlwaysOnExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Tracer, get_current_span, use_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from handrail.tracing.context import _lent
from handrail.tracing.inbound._exchange import App, Receive, Scope, Send
from handrail.tracing.inbound.server import ServerSpans
from handrail.tracing.propagation import W3CPropagator
from handrail.tracing.spans.tracer import LightTracer, light
from handrail.tracing.testing import Spans
from tests.tracing.asgi_server import Server

Doing = Callable[[Spans], object]


def after_the_response(spans: Spans, do: Doing, status: int = 200) -> None:
    """A request to an application that calls `do` after its last byte."""

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        do(spans)

    asyncio.run(Server().call(traced(app, spans), "/x"))


def traced(app: App, spans: Spans) -> ServerSpans:
    return ServerSpans(app, tracing=spans.tracing, routes=app)


def names(spans: Spans) -> list[str]:
    return sorted(span.name for span in spans.finished)


def a_record_factory(_spans: Spans) -> None:
    """As opentelemetry-instrumentation-logging does it."""
    before = logging.getLogRecordFactory()

    def make(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = before(*args, **kwargs)
        record.otelSpanID = format(get_current_span().get_span_context().span_id, "016x")
        return record

    logging.setLogRecordFactory(make)
    try:
        logging.getLogger("tests.looking").warning("done")
    finally:
        logging.setLogRecordFactory(before)


def an_exemplar(_spans: Spans) -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], exemplar_filter=AlwaysOnExemplarFilter(), shutdown_on_exit=False)
    provider.get_meter("app").create_counter("done").add(1)
    reader.collect()


def an_error_reporter(_spans: Spans) -> None:
    span = get_current_span()
    assert span.is_recording()
    assert span.get_span_context().is_valid
    assert getattr(span, "attributes", None)


def a_link_to_it(_spans: Spans) -> None:
    Link(get_current_span().get_span_context())


def a_thread(_spans: Spans) -> None:
    """It looks at the span that it was lent."""
    context = _lent.lend(get_current())
    seen: list[SpanContext] = []
    looking = threading.Thread(target=lambda: seen.append(get_current_span(context).get_span_context()))
    looking.start()
    looking.join()
    assert seen[0].is_valid


@pytest.mark.parametrize("status", [200, 503])
@pytest.mark.parametrize("look", [a_record_factory, an_exemplar, an_error_reporter, a_link_to_it, a_thread])
def test_a_look_begins_nothing(look: Doing, status: int, spans: Spans) -> None:
    """Logging, metrics and reporters ask for the current span's ids after the response: the SERVER span stays alone."""
    after_the_response(spans, look, status)
    assert names(spans) == ["GET"]


def test_a_look_sees_the_request_and_then_its_work(spans: Spans) -> None:
    """The ids of a log line are those of a span that exists: the SERVER span's, and the work's once that began."""
    seen: list[SpanContext] = []

    def do(_spans: Spans) -> None:
        seen.append(get_current_span().get_span_context())
        get_current_span().add_event("cleaned")
        seen.append(get_current_span().get_span_context())

    after_the_response(spans, do)
    (work,) = spans.of_kind(SpanKind.INTERNAL)
    assert seen == [spans.server.context, work.context]


def test_a_processor_that_looks_begins_nothing(spans: Spans) -> None:
    """A processor of the service looks for the current span when spans start and end."""
    seen: list[bool] = []

    class Looking(SpanProcessor):
        def on_start(self, span: Span, parent_context: object = None) -> None:
            seen.append(get_current_span().get_span_context().is_valid)

        def on_end(self, span: ReadableSpan) -> None:
            seen.append(get_current_span().get_span_context().is_valid)

    spans.provider.add_span_processor(Looking())
    after_the_response(spans, lambda _: None)
    assert names(spans) == ["GET"]
    assert True in seen


class Wrapped(Tracer):
    """As contrib, logfire and others wrap tracers."""

    def __init__(self, tracer: Tracer) -> None:
        self.tracer = tracer

    def start_span(self, *args: Any, **kwargs: Any) -> Span:
        return self.tracer.start_span(*args, **kwargs)

    def start_as_current_span(self, *args: Any, **kwargs: Any) -> Any:
        return use_span(self.start_span(*args, **kwargs), end_on_exit=True)


TRACERS: dict[str, Callable[[Tracer], Tracer]] = {
    "the SDK's": lambda tracer: tracer,
    "a light one": light,
    "a plain light one": LightTracer,
    "a wrapped one": Wrapped,
    "a wrapped light one": lambda tracer: Wrapped(light(tracer)),
}


@pytest.mark.parametrize("as_current", [False, True])
@pytest.mark.parametrize("kind", TRACERS)
def test_a_child_is_below_the_work(kind: str, as_current: bool, spans: Spans) -> None:
    """Whoever begins a span after the response, it is below the background span; a look before changes nothing."""

    def do(spans: Spans) -> None:
        get_current_span().get_span_context()
        tracer = TRACERS[kind](spans.provider.get_tracer("app"))
        if as_current:
            with tracer.start_as_current_span("child"):
                pass
        else:
            tracer.start_span("child").end()

    after_the_response(spans, do)
    work, child = sorted(spans.of_kind(SpanKind.INTERNAL), key=lambda span: span.name)
    assert (work.name, child.name) == ("background GET", "child")
    assert work.parent == spans.server.context
    assert child.parent == work.context


@pytest.mark.parametrize("kind", TRACERS)
def test_a_child_in_a_thread_is_below_the_work(kind: str, spans: Spans) -> None:
    """The span that is lent to a thread begins the work in the same way."""

    def do(spans: Spans) -> None:
        context = _lent.lend(get_current())
        TRACERS[kind](spans.provider.get_tracer("app")).start_span("child", context).end()

    after_the_response(spans, do)
    work, child = sorted(spans.of_kind(SpanKind.INTERNAL), key=lambda span: span.name)
    assert (work.parent, child.parent) == (spans.server.context, work.context)


@pytest.mark.parametrize(
    "inject",
    [propagate.inject, W3CPropagator().inject, TraceContextTextMapPropagator().inject],
    ids=lambda f: f.__module__,
)
def test_headers_written_by_hand_name_the_work(inject: Callable[[dict[str, str]], None], spans: Spans) -> None:
    """A call that the service traces by `propagate.inject` after the response is the work's."""
    carrier: dict[str, str] = {}
    after_the_response(spans, lambda _: inject(carrier))
    (work,) = spans.of_kind(SpanKind.INTERNAL)
    assert work.context is not None
    assert carrier["traceparent"].split("-")[2] == format(work.context.span_id, "016x")
