"""The page that Prometheus reads: names, exemplars, and that nothing of the service's is touched."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.metrics.export import Histogram as HistogramData
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client import REGISTRY, CollectorRegistry, Histogram, generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from handrail._scrape import Scrape
from handrail.tracing import metrics
from handrail.tracing.metrics import _prometheus
from tests.tracing_metrics.meters import no_provider, settings, span

OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"
CUMULATIVE = AggregationTemporality.CUMULATIVE


@pytest.fixture
def found() -> Iterator[metrics.Metrics]:
    with no_provider():
        made = metrics.start(settings(prometheus="/metrics"), lambda: Resource({"service.name": "shop"}))
        assert made.server is not None
        made.server.begin("GET", "http")
        made.server.end("GET", "http", "/items/{id}", 200, None, "1.1", 0.02, span())
        yield made
        made.shutdown(0)


def _page(found: metrics.Metrics, accept: str = "") -> tuple[str, str]:
    body, content_type = _prometheus.page(lambda: found.scraped)(accept)
    return body.decode(), content_type


def test_the_page(found: metrics.Metrics) -> None:
    """Names and units by the compatibility specification; buckets add up; the resource is target_info."""
    text, content_type = _page(found)
    assert content_type.startswith("text/plain")
    families = {family.name: family for family in parse(text)}
    samples = {
        (sample.name, sample.labels.get("le")): sample.value
        for sample in families["http_server_request_duration_seconds"].samples
    }
    name = "http_server_request_duration_seconds"
    assert samples[f"{name}_bucket", "0.01"] == 0
    assert (
        samples[f"{name}_bucket", "0.025"] == samples[f"{name}_bucket", "+Inf"] == samples[f"{name}_count", None] == 1
    )
    assert samples[f"{name}_sum", None] == 0.02
    (active,) = families["http_server_active_requests"].samples
    assert (active.name, active.value) == ("http_server_active_requests", 0)
    assert active.labels == {
        "http_request_method": "GET",
        "url_scheme": "http",
        "otel_scope_name": "handrail",
        "otel_scope_version": active.labels["otel_scope_version"],
    }
    (target,) = families["target_info"].samples
    assert target.labels == {"service_name": "shop"}


def test_openmetrics_with_exemplars(found: metrics.Metrics) -> None:
    """Content negotiation; the exemplar names the trace, at each scrape; prometheus_client's strict parser takes it."""
    for _ in range(2):
        text, content_type = _page(found, OPENMETRICS)
        assert content_type.startswith("application/openmetrics-text; version=1.0.0")
        exemplars = [
            sample.exemplar
            for family in parse_openmetrics(text)
            for sample in family.samples
            if sample.exemplar is not None
        ]
        assert [one.labels for one in exemplars] == [{"trace_id": f"{0xABC:032x}", "span_id": f"{0x123:016x}"}]
        assert exemplars[0].value == 0.02


def test_a_name_of_the_service_is_no_collision(found: metrics.Metrics) -> None:
    """The default registry has a metric of our very name: it is not touched, and neither is ours."""
    theirs = Histogram("http_server_request_duration_seconds", "the service's own")
    try:
        theirs.observe(7)
        assert "http_server_request_duration_seconds_sum 7.0" in generate_latest(REGISTRY).decode()
        assert "otel_scope_name" not in generate_latest(REGISTRY).decode()
        assert "7.0" not in [line.split()[-1] for line in _page(found)[0].splitlines() if "_sum" in line]
    finally:
        REGISTRY.unregister(theirs)


def test_ours_in_a_registry_of_theirs(found: metrics.Metrics) -> None:
    """`collector()` is what a service registers that has a page of its own."""
    registry = CollectorRegistry()
    registry.register(metrics.collector())
    assert 'http_route="/items/{id}"' in generate_latest(registry).decode()


def _data(*found: Metric, scope: str = "shop") -> MetricsData:
    scoped = ScopeMetrics(InstrumentationScope(scope), found, "")
    return MetricsData([ResourceMetrics(Resource({}), [scoped], "")])


def _number(value: float, **attributes: Any) -> NumberDataPoint:
    return NumberDataPoint(attributes, 0, 0, value)


@pytest.mark.parametrize(
    ("name", "unit", "kind", "sample"),
    [
        ("shop.orders", "{order}", "counter", "shop_orders_total"),
        ("shop.orders.total", "", "counter", "shop_orders_total"),
        ("shop.traffic", "By", "counter", "shop_traffic_bytes_total"),
        ("shop.load", "1", "gauge", "shop_load_ratio"),
        ("shop.rate", "By/s", "gauge", "shop_rate_bytes_per_seconds"),
        ("shop.wait_seconds", "s", "gauge", "shop_wait_seconds"),
        ("3d.prints", "", "gauge", "_3d_prints"),
    ],
)
def test_names(name: str, unit: str, kind: str, sample: str) -> None:
    """OpenTelemetry's compatibility specification: dots, units, `_total`, a leading digit."""
    data = Sum([_number(1)], CUMULATIVE, is_monotonic=True) if kind == "counter" else Gauge([_number(1)])
    families = list(_prometheus.families(_data(Metric(name, None, unit, data))))
    assert [one.name for family in families for one in family.samples] == ["target_info", sample]


def test_two_scopes_one_family() -> None:
    """The same name from two libraries is one family with two scopes; of another kind it is left out."""
    number = Metric("shop.size", "", "", Gauge([_number(1)]))
    histogram = Metric(
        "shop.size", "", "", HistogramData([HistogramDataPoint({}, 0, 0, 0, 0, [0], [], 0, 0)], CUMULATIVE)
    )
    both = MetricsData(
        [*_data(number, scope="a").resource_metrics, *_data(number, histogram, scope="b").resource_metrics]
    )
    (family,) = [family for family in _prometheus.families(both) if family.name == "shop_size"]
    assert [sample.labels["otel_scope_name"] for sample in family.samples] == ["a", "b"]


def test_labels_that_become_one_are_joined() -> None:
    """`a.b` and `a_b` are one label, with both values."""
    point = NumberDataPoint({"a.b": "x", "a_b": True}, 0, 0, 1)
    families = list(_prometheus.families(_data(Metric("m", "", "", Gauge([point])))))
    assert families[1].samples[0].labels["a_b"] == "x;true"


def _ask(app: Any, path: str, method: str = "GET", root_path: str = "") -> list[Any]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("nobody needs the body")

    headers = [(b"accept", OPENMETRICS.encode())]
    scope = {"type": "http", "path": path, "method": method, "headers": headers, "root_path": root_path}
    asyncio.run(app(scope, receive, send))
    return sent


def test_the_path(found: metrics.Metrics) -> None:
    """GET and HEAD of the path, behind a root path too; everything else is the application's."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"app": scope["path"]})

    layer = Scrape(app, "/metrics", lambda: found.scraped)
    for start, body in (_ask(layer, "/metrics"), _ask(layer, "/shop/metrics", root_path="/shop")):
        headers = dict(start["headers"])
        assert start["status"] == 200
        assert headers[b"content-type"].startswith(b"application/openmetrics-text")
        assert int(headers[b"content-length"]) == len(body["body"]) > 0
    start, body = _ask(layer, "/metrics", "HEAD")
    assert (int(dict(start["headers"])[b"content-length"]) > 0, body["body"]) == (True, b"")
    assert _ask(layer, "/metrics", "POST") == [{"app": "/metrics"}]
    assert _ask(layer, "/metrics/x") == [{"app": "/metrics/x"}]
