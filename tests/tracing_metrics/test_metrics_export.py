"""Metrics on their way out: what a collector gets, and what a dead, slow or ignorant one costs."""

import logging
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData
from opentelemetry.sdk.resources import Resource

from handrail.tracing import metrics
from handrail.tracing.metrics._export import Destination
from tests.tracing_metrics.meters import no_provider, settings, span, until
from tests.tracing_metrics.metrics_collector import Collector

if TYPE_CHECKING:
    from tests.deploy.jaeger_server import JaegerServer


@pytest.fixture(autouse=True)
def nobody() -> Iterator[None]:
    with no_provider():
        yield


@pytest.fixture
def started() -> Iterator[list[metrics.Metrics]]:
    found: list[metrics.Metrics] = []
    yield found
    for one in found:
        one.shutdown(0)
        if one._pump is not None:
            one._pump._thread.join(60)  # what it still logs belongs to this test


def _start(started: list[metrics.Metrics], endpoint: str, **more: Any) -> metrics.Metrics:
    chosen = settings(exporters=("otlp",), endpoint=endpoint, **more)
    found = metrics.start(chosen, lambda: Resource({"service.name": "shop"}))
    started.append(found)
    return found


def _serve(found: metrics.Metrics) -> None:
    assert found.server is not None
    found.server.begin("GET", "http")
    found.server.end("GET", "http", "/items/{id}", 200, None, "1.1", 0.02, span())


def test_what_arrives(collector: Collector, started: list[metrics.Metrics]) -> None:
    """The stock exporter's message, with bounds, buckets, an exemplar's trace id, resource and scope."""
    found = _start(started, collector.url + "/v1/metrics")
    _serve(found)
    assert found.flush(60)
    assert collector.paths == ["/v1/metrics"]
    about = collector.requests[0].resource_metrics[0]
    assert {pair.key: pair.value.string_value for pair in about.resource.attributes} == {"service.name": "shop"}
    assert about.scope_metrics[0].scope.name == "handrail"
    metric = collector.metric("http.server.request.duration")
    (point,) = metric.histogram.data_points
    assert (metric.unit, point.count, list(point.bucket_counts).index(1), len(point.explicit_bounds)) == ("s", 1, 2, 14)
    assert [exemplar.trace_id.hex() for exemplar in point.exemplars] == [f"{0xABC:032x}"]
    assert not point.HasField("min")
    assert collector.metric("http.server.active_requests").sum.data_points[0].as_int == 0


def test_each_interval(collector: Collector, started: list[metrics.Metrics]) -> None:
    """OTEL_METRIC_EXPORT_INTERVAL: exports come by themselves."""
    found = _start(started, collector.url, interval=0.02)
    _serve(found)
    until(lambda: len(collector.requests) >= 3)


def test_temporality(collector: Collector, started: list[metrics.Metrics]) -> None:
    """OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=delta reaches ours and the service's own instruments."""
    found = _start(started, collector.url, temporality="delta")
    orders = found.meter.create_counter("shop.orders")
    for _ in range(2):
        _serve(found)
        orders.add(1)
        assert found.flush(60)
    for name in ("http.server.request.duration", "shop.orders"):
        metric = collector.metric(name)
        data = metric.histogram if metric.HasField("histogram") else metric.sum
        assert data.aggregation_temporality == 1
        assert [getattr(point, "count", 1) for point in data.data_points] == [1]
    assert collector.metric("http.server.active_requests").sum.aggregation_temporality == 2


def test_nothing_measured_is_nothing_sent(collector: Collector, started: list[metrics.Metrics]) -> None:
    """An idle service does not knock."""
    assert _start(started, collector.url).flush(60)
    assert collector.requests == []


def test_the_rest_leaves_at_the_end(collector: Collector, started: list[metrics.Metrics]) -> None:
    """What came after the last interval is exported by the shutdown."""
    found = _start(started, collector.url)
    _serve(found)
    found.shutdown(60)
    assert len(collector.requests) == 1


def test_a_dead_collector(caplog: pytest.LogCaptureFixture, started: list[metrics.Metrics]) -> None:
    """One line for many failed exports, none of the SDK's, and an end within its bound; as for spans."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with caplog.at_level(logging.INFO):
        found = _start(started, f"http://127.0.0.1:{port}/v1/metrics", interval=0.01)
        _serve(found)
        until(lambda: caplog.records)
        begun = time.monotonic()
        found.shutdown(0.3)
        assert time.monotonic() - begun < 8  # the exporter's own limit is 10 s
    (line,) = caplog.messages
    assert line.startswith(f"metrics do not reach http://127.0.0.1:{port}/v1/metrics: connection refused")
    assert {record.name for record in caplog.records} == {"handrail"}


def test_a_frozen_collector_does_not_hold_the_end(
    caplog: pytest.LogCaptureFixture, started: list[metrics.Metrics]
) -> None:
    """It takes the connection and never answers: the bound holds, and one line says what is missing."""
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        found = _start(started, f"http://127.0.0.1:{frozen.getsockname()[1]}/v1/metrics")
        _serve(found)
        begun = time.monotonic()
        assert not found.flush(0.2)
        found.shutdown(0.2)
        assert time.monotonic() - begun < 8  # the exporter's own limit is 10 s
    (line,) = caplog.messages
    assert "no answer before the end" in line


class _Answers(MetricExporter):
    """Fails by logging what the SDK logs, as often as it is asked."""

    def __init__(self, *messages: str) -> None:
        super().__init__()
        self.messages = list(messages)
        self.calls = 0

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:
        self.calls += 1
        message = self.messages.pop(0)
        if not message:
            return MetricExportResult.SUCCESS
        logging.getLogger("opentelemetry.exporter.otlp.proto.http.metric_exporter").error(message)
        return MetricExportResult.FAILURE

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return True

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Nothing."""


REFUSED = "Failed to export metrics batch code: 404, reason: Not Found"
BROKEN = "Failed to export metrics batch code: 500, reason: Oops"


@pytest.mark.parametrize("asked", [False, True])
def test_a_collector_without_metrics(caplog: pytest.LogCaptureFixture, asked: bool) -> None:
    """404: said once, as INFO where nobody asked for metrics, and asked again every ten minutes in silence."""
    clock = [0.0]
    exporter = _Answers(REFUSED, REFUSED, "", BROKEN)
    destination = Destination(lambda: exporter, "jaeger", asked=asked, now=lambda: clock[0])
    with caplog.at_level(logging.INFO):
        for clock[0] in (0.0, 60.0, 599.0):
            assert not destination.export(MetricsData([]))
        assert exporter.calls == 1
        for clock[0] in (601.0, 1202.0):
            destination.export(MetricsData([]))
        destination.export(MetricsData([]))
    assert exporter.calls == 4
    first, again, broken = caplog.records
    assert first.levelno == (logging.WARNING if asked else logging.INFO)
    assert "jaeger takes no metrics (answered 404 Not Found)" in first.getMessage()
    assert again.getMessage() == "metrics reach jaeger again"
    assert "answered 500 Oops" in broken.getMessage()


def test_an_exporter_that_raises(caplog: pytest.LogCaptureFixture) -> None:
    """The exporting thread survives it, with one line a minute."""
    clock = [0.0]

    def make() -> MetricExporter:
        raise OSError("no such certificate")

    destination = Destination(make, "there", now=lambda: clock[0])
    for clock[0] in (0.0, 30.0, 61.0):
        assert not destination.export(MetricsData([]))
    assert (
        caplog.messages == ["metrics do not reach there: OSError: no such certificate; requests are not affected"] * 2
    )


def test_a_callback_that_raises_is_survived(collector: Collector, started: list[metrics.Metrics]) -> None:
    """A gauge of the service that fails does not keep the rest from leaving."""
    found = _start(started, collector.url)

    def broken(_options: CallbackOptions) -> Iterable[Observation]:
        raise ZeroDivisionError

    found.meter.create_observable_gauge("shop.broken", [broken])
    _serve(found)
    found.flush(60)
    _serve(found)
    with suppress(Exception):
        found.flush(60)
    until(lambda: collector.requests)


@pytest.mark.jaeger
def test_the_real_jaeger_takes_no_metrics(
    jaeger: "JaegerServer", caplog: pytest.LogCaptureFixture, started: list[metrics.Metrics]
) -> None:
    """Only Jaeger behind OTEL_EXPORTER_OTLP_ENDPOINT, nothing else set: one INFO line, and no export until later."""
    with caplog.at_level(logging.INFO):
        found = _start(started, jaeger.otlp_http + "/v1/metrics", interval=0.02)
        _serve(found)
        until(lambda: caplog.records)
        for _ in range(3):
            found.flush(60)
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert "takes no metrics (answered 404" in record.getMessage()


@pytest.mark.jaeger
def test_the_real_jaeger_over_grpc(
    jaeger: "JaegerServer", caplog: pytest.LogCaptureFixture, started: list[metrics.Metrics]
) -> None:
    """The same over gRPC, where the answer is UNIMPLEMENTED."""
    with caplog.at_level(logging.INFO):
        found = _start(started, jaeger.otlp_grpc, interval=0.02, protocol="grpc")
        _serve(found)
        until(lambda: caplog.records)
        for _ in range(3):
            found.flush(60)
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert "takes no metrics (answered UNIMPLEMENTED" in record.getMessage()
