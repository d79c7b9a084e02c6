"""Contrib's instrumentation in the same service: each duration stands in the service's provider once."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import metrics as api
from opentelemetry.instrumentation._semconv import _OpenTelemetrySemanticConventionStability as Stability
from opentelemetry.instrumentation._semconv import _OpenTelemetryStabilitySignalType as Signal
from opentelemetry.instrumentation._semconv import _StabilityMode
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from handrail.tracing import metrics
from handrail.tracing.inbound.server import ServerSpans
from handrail.tracing.testing import Spans
from tests.tracing_metrics.meters import by_name, no_provider, settings


@pytest.fixture(autouse=True)
def reader(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemoryMetricReader]:
    Stability._initialize()
    monkeypatch.setitem(Stability._OTEL_SEMCONV_STABILITY_SIGNAL_MAPPING, Signal.HTTP, _StabilityMode.HTTP_DUP)
    found = InMemoryMetricReader()
    with no_provider():
        provider = MeterProvider([found])
        api.set_meter_provider(provider)
        yield found
        provider.shutdown()


async def _ok(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


def _ask(app: Any) -> None:
    scope: dict[str, Any] = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "scheme": "http",
        "headers": [],
        "http_version": "1.1",
    }
    scope |= {"server": ("127.0.0.1", 80), "client": ("127.0.0.1", 1), "query_string": b"", "root_path": ""}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(_message: Any) -> None:
        """Gone."""

    asyncio.run(app(scope, receive, send))


def _told(reader: InMemoryMetricReader) -> dict[str, list[Any]]:
    data = reader.get_metrics_data()
    assert data is not None
    return by_name(data)


def test_contrib_inside_ours(reader: InMemoryMetricReader) -> None:
    """A1-2, A1-5: the duration is ours, once; what contrib alone has, its old name, stays."""
    found = metrics.start(settings())
    spans = Spans()
    inner = OpenTelemetryMiddleware(_ok, tracer_provider=spans.provider)
    app = ServerSpans(inner, tracing=spans.tracing, routes=None, measure=found.server)
    _ask(app)
    _ask(app)
    told = _told(reader)
    assert [point.count for point in told["http.server.request.duration"]] == [2]
    assert [point.value for point in told["http.server.active_requests"]] == [0]
    assert [point.count for point in told["http.server.duration"]] == [2]


def test_contrib_outside_ours(reader: InMemoryMetricReader) -> None:
    """Their SERVER span is there first: the request is theirs, and so is its duration."""
    found = metrics.start(settings())
    spans = Spans()
    app = ServerSpans(_ok, tracing=spans.tracing, routes=None, measure=found.server)
    _ask(OpenTelemetryMiddleware(app, tracer_provider=spans.provider))
    told = _told(reader)
    assert [point.count for point in told["http.server.request.duration"]] == [1]
    assert [point.value for point in told["http.server.active_requests"]] == [0]


def test_contrib_without_us_is_as_it_was(reader: InMemoryMetricReader) -> None:
    """A middleware that no request of ours passes keeps its instruments."""
    metrics.start(settings())
    _ask(OpenTelemetryMiddleware(_ok, tracer_provider=Spans().provider))
    assert [point.count for point in _told(reader)["http.server.request.duration"]] == [1]
