"""Parts of OpenTelemetry that a service brings itself, and that raise: requests go on, and the log says it once."""

import asyncio
from collections.abc import Callable, MutableMapping
from typing import Any, cast

import pytest
from opentelemetry import propagate
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Sampler, SamplingResult
from opentelemetry.trace import Span, SpanKind, Tracer
from opentelemetry.trace import TracerProvider as AnyProvider
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from handrail.tracing import _quietly
from handrail.tracing.inbound._exchange import App
from handrail.tracing.inbound.server import ServerSpans
from handrail.tracing.provider import Tracing
from handrail.tracing.testing import Spans
from tests.tracing.asgi_server import Server


class Broken(RuntimeError):
    """What all of them raise."""


class BrokenSampler(Sampler):
    def should_sample(self, *_: object, **__: object) -> SamplingResult:
        raise Broken

    def get_description(self) -> str:
        return "broken"


class BrokenIds(RandomIdGenerator):
    def generate_span_id(self) -> int:
        raise Broken


class BrokenStart(SpanProcessor):
    def on_start(self, span: sdk.Span, parent_context: Context | None = None) -> None:
        raise Broken


class BrokenEnd(SpanProcessor):
    def on_end(self, span: ReadableSpan) -> None:
        raise Broken


class BrokenPropagator(TextMapPropagator):
    def extract(self, *_: Any, **__: Any) -> Context:
        raise Broken

    def inject(self, *_: Any, **__: Any) -> None:
        raise Broken

    @property
    def fields(self) -> set[str]:
        return set()


class BrokenMeasure:
    def begin(self, method: str, scheme: str) -> None:
        raise Broken

    def end(self, *_: object) -> None:
        raise AssertionError("the end of what did not begin")


class BrokenAtEnd(BrokenMeasure):
    def begin(self, method: str, scheme: str) -> None:
        pass

    def end(self, *_: object) -> None:
        raise Broken


class Others(Tracer):
    """A tracer of somebody else, with the SDK's behind it."""

    def __init__(self, tracer: Tracer) -> None:
        self._behind = tracer

    def start_span(self, *args: Any, **kwargs: Any) -> Span:
        return self._behind.start_span(*args, **kwargs)

    def start_as_current_span(self, *args: Any, **kwargs: Any) -> Any:
        return self._behind.start_as_current_span(*args, **kwargs)


class OthersProvider(AnyProvider):
    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider

    def get_tracer(self, *args: Any, **kwargs: Any) -> Tracer:
        return Others(self._provider.get_tracer(*args, **kwargs))


def provider(**given: Any) -> TracerProvider:
    return TracerProvider(shutdown_on_exit=False, **given)


def processed(processor: SpanProcessor) -> TracerProvider:
    made = provider()
    made.add_span_processor(processor)
    return made


PROVIDERS: dict[str, Callable[[], TracerProvider]] = {
    "sampler": lambda: provider(sampler=BrokenSampler()),
    "ids": lambda: provider(id_generator=BrokenIds()),
    "on_start": lambda: processed(BrokenStart()),
    "on_end": lambda: processed(BrokenEnd()),
}


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_quietly, "_told", set())


def service(done: list[str]) -> Starlette:
    async def work() -> None:
        done.append("worked")

    async def answer(request: Request) -> PlainTextResponse:
        return PlainTextResponse("x", background=BackgroundTask(work))

    async def talk(socket: WebSocket) -> None:
        await socket.accept()
        await socket.close()
        done.append("talked")

    return Starlette(routes=[Route("/", answer), WebSocketRoute("/talk", talk)])


@pytest.mark.parametrize("whose", ["the SDK's", "another tracer"])
@pytest.mark.parametrize("part", PROVIDERS)
def test_requests_sockets_and_background_work_go_on(
    part: str, whose: str, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a span, or with what there is of it; each kind of failure is one error in the log."""
    made = PROVIDERS[part]()
    tracing = Tracing(made if whose == "the SDK's" else OthersProvider(made), ours=False)
    done: list[str] = []
    app = service(done)
    traced = ServerSpans(cast("App", app), tracing=lambda: tracing, routes=app)
    for _ in range(3):
        assert server.get(traced) == 200
    events: list[MutableMapping[str, Any]] = [
        {"type": "websocket.connect"},
        {"type": "websocket.disconnect", "code": 1000},
    ]

    async def receive() -> MutableMapping[str, Any]:
        return events.pop(0)

    sent: list[str] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message["type"])

    asyncio.run(traced(server.scope("/talk", type="websocket", subprotocols=[]), receive, send))
    assert done == ["worked"] * 3 + ["talked"]
    assert sent == ["websocket.accept", "websocket.close"]
    said = [record for record in caplog.records if record.name == "handrail"]
    assert 1 <= len(said) <= 2, [record.getMessage() for record in said]
    assert all(record.levelname == "ERROR" and "Broken" in record.getMessage() for record in said)


def test_a_broken_propagator_costs_the_callers_trace_alone(
    server: Server, spans: Spans, caplog: pytest.LogCaptureFixture
) -> None:
    """The request is a root then."""
    propagate.set_global_textmap(BrokenPropagator())
    app = service([])
    for _ in range(2):
        assert server.get(ServerSpans(cast("App", app), tracing=spans.tracing, routes=app)) == 200
    assert [span.parent for span in spans.of_kind(SpanKind.SERVER)] == [None, None]
    (record,) = caplog.records
    assert record.getMessage().startswith("BrokenPropagator.extract failed")


@pytest.mark.parametrize("measure", [BrokenMeasure(), BrokenAtEnd()])
def test_a_broken_meter_costs_the_count_alone(
    measure: Any, server: Server, spans: Spans, caplog: pytest.LogCaptureFixture
) -> None:
    """The span is there, and what did not begin to be counted is not ended."""
    app = service([])
    assert server.get(ServerSpans(cast("App", app), tracing=spans.tracing, routes=app, measure=measure)) == 200
    assert spans.server.name == "GET /"
    (record,) = caplog.records
    assert record.getMessage().startswith("a request cannot be counted: Broken")
