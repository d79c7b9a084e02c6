"""Whose provider holds the metrics, and that each stands in it once."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import metrics as api
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.resources import Resource

from handrail.tracing import _quietly, metrics
from handrail.tracing.metrics._cells import BOUNDS
from tests.tracing_metrics.meters import by_name, no_provider, settings, span

DURATION = "http.server.request.duration"
OLD = "http.server.duration"
ACTIVE = "http.server.active_requests"
CLIENT = "http.client.request.duration"


@pytest.fixture(autouse=True)
def nobody() -> Iterator[None]:
    with no_provider():
        yield


def serve(found: metrics.Metrics, count: int = 1, route: str | None = "/items/{id}", status: int = 200) -> None:
    assert found.server is not None
    for _ in range(count):
        found.server.begin("GET", "http")
        found.server.end("GET", "http", route, status, str(status) if status >= 500 else None, "1.1", 0.02, span())


def call(found: metrics.Metrics, status: int = 200, error: str | None = None) -> None:
    assert found.client is not None
    found.client.end("GET", "http", "payment", 8003, status, error, "1.1" if status else "", 0.3, span())


def gathered(found: metrics.Metrics) -> dict[str, list[Any]]:
    assert found.scraped is not None
    return by_name(found.scraped.gather())


def test_ours_is_made_the_global_one() -> None:
    """Where the service set none: what it records with its own instruments meets ours in one export."""
    found = metrics.start(settings(prometheus="/metrics"), lambda: Resource({"service.name": "shop"}))
    orders = api.get_meter("shop").create_counter("shop.orders")
    orders.add(3)
    serve(found, 2)
    call(found, 0, "httpx.ConnectError")
    assert found.ours
    assert found.scraped is not None
    data = found.scraped.gather()
    assert [about.resource.attributes["service.name"] for about in data.resource_metrics] == ["shop"]
    told = by_name(data)
    assert [point.value for point in told["shop.orders"]] == [3]
    (duration,) = told[DURATION]
    assert duration.attributes == {
        "http.request.method": "GET",
        "url.scheme": "http",
        "http.route": "/items/{id}",
        "http.response.status_code": 200,
        "network.protocol.version": "1.1",
    }
    assert (duration.count, round(duration.sum, 6), duration.explicit_bounds) == (2, 0.04, BOUNDS)
    assert [(one.trace_id, one.span_id) for one in duration.exemplars] == [(0xABC, 0x123)]
    (failed,) = told[CLIENT]
    assert failed.attributes == {
        "http.request.method": "GET",
        "url.scheme": "http",
        "server.address": "payment",
        "server.port": 8003,
        "error.type": "httpx.ConnectError",
    }


def test_nobody_elses_double_gets_in() -> None:
    """Contrib's instrumentation, and whoever else records our names through the SDK, is dropped: no second set."""
    found = metrics.start(settings(prometheus="/metrics"))
    theirs = api.get_meter("opentelemetry.instrumentation.asgi")
    for name in (DURATION, CLIENT):
        theirs.create_histogram(name, "s").record(9.0, {"http.route": "/"})
    theirs.create_up_down_counter(ACTIVE).add(1)
    theirs.create_histogram(OLD, "ms").record(9.0)
    serve(found)
    told = gathered(found)
    assert [point.count for point in told[DURATION]] == [1]
    assert CLIENT not in told
    assert [point.value for point in told[ACTIVE]] == [0]
    assert OLD in told


def test_their_provider_gets_ordinary_instruments() -> None:
    """Where the service set its own, its readers see ours, once, and it stays the global one."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    api.set_meter_provider(provider)
    found = metrics.start(settings(exporters=("otlp",), endpoint="http://127.0.0.1:9/v1/metrics"))
    assert not found.ours
    assert api.get_meter_provider() is provider
    serve(found, 2)
    call(found, 503, "503")
    assert found.server is not None
    found.server.begin("BREW", "http")
    data = reader.get_metrics_data()
    assert data is not None
    told = by_name(data)
    (duration,) = told[DURATION]
    assert (duration.count, tuple(duration.explicit_bounds)) == (2, BOUNDS)
    assert [one.trace_id for one in duration.exemplars] == [0xABC]
    assert [point.attributes["error.type"] for point in told[CLIENT]] == ["503"]
    assert {point.attributes["http.request.method"]: point.value for point in told[ACTIVE]} == {"GET": 0, "_OTHER": 1}
    provider.shutdown()


def test_their_provider_can_be_scraped_too() -> None:
    """A path for Prometheus shows what their provider holds, by one more reader."""
    provider = MeterProvider([])
    api.set_meter_provider(provider)
    found = metrics.start(settings(prometheus="/metrics"))
    serve(found)
    assert [point.count for point in gathered(found)[DURATION]] == [1]
    provider.shutdown()


def test_their_provider_without_room_for_a_reader(caplog: pytest.LogCaptureFixture) -> None:
    """Somebody else's SDK: ours are recorded there, and the path that cannot be served is named."""

    class Theirs(api.MeterProvider):
        def get_meter(self, *_: Any, **__: Any) -> api.Meter:
            return api.NoOpMeter("theirs")

    api.set_meter_provider(Theirs())
    found = metrics.start(settings(prometheus="/metrics"))
    serve(found)
    assert found.scraped is None
    assert "/metrics has no metrics to show" in caplog.text


@pytest.mark.parametrize(
    "chosen",
    [
        settings(),
        settings(metrics=False, prometheus="/metrics"),
        settings(disabled=True, exporters=("otlp",)),
    ],
    ids=["nowhere to go", "off", "disabled"],
)
def test_nothing_is_made_for_nobody(chosen: Any) -> None:
    """No provider, no thread, nobody to tell, where metrics go nowhere or are off."""
    before = set(threading.enumerate())
    found = metrics.start(chosen)
    assert (found.server, found.client, found.scraped) == (None, None, None)
    assert type(api.get_meter_provider()).__name__ == "_ProxyMeterProvider"
    assert set(threading.enumerate()) <= before
    assert found.flush(0)


def test_a_provider_that_does_nothing_is_a_wish() -> None:
    """A service that set the no-op provider wants no metrics."""
    api.set_meter_provider(api.NoOpMeterProvider())
    found = metrics.start(settings(prometheus="/metrics"))
    assert found.server is None


def test_off_and_on_again() -> None:
    """The global provider cannot be replaced: ours is used again, without what the first time left behind."""
    first = metrics.start(settings(prometheus="/metrics"))
    serve(first, 3)
    first.shutdown(0)
    second = metrics.start(settings(prometheus="/metrics"))
    assert second.ours
    serve(second)
    assert [point.count for point in gathered(second)[DURATION]] == [1]


def test_delta_and_cumulative() -> None:
    """Delta: each export has what is new, and no series without news; what can go down stays cumulative."""
    from handrail.tracing.metrics._points import Ours, Reader

    found = metrics.start(settings(prometheus="/metrics"))
    assert found.scraped is not None
    ours = found.scraped._ours
    assert isinstance(ours, Ours)
    delta = Reader(ours, "delta")
    serve(found, 2)
    (first,) = _points(delta, DURATION)
    serve(found, 1)
    (second,) = _points(delta, DURATION)
    assert (first.count, second.count, round(second.sum, 6)) == (2, 1, 0.02)
    assert second.start_time_unix_nano == first.time_unix_nano
    assert DURATION not in by_name(_quiet(delta))
    assert [point.value for point in by_name(_quiet(delta))[ACTIVE]] == [0]
    assert [point.count for point in gathered(found)[DURATION]] == [3]
    kinds = {
        metric.name: metric.data.aggregation_temporality
        for about in _quiet(found.scraped).resource_metrics
        for scope in about.scope_metrics
        for metric in scope.metrics
        if hasattr(metric.data, "aggregation_temporality")
    }
    assert set(kinds.values()) == {AggregationTemporality.CUMULATIVE}


def test_an_exemplar_is_given_once_to_each_reader() -> None:
    """Two destinations, two memories: what one took the other has; a push has it once, a page keeps it."""
    from handrail.tracing.metrics._points import Reader

    found = metrics.start(settings(prometheus="/metrics"))
    assert found.scraped is not None
    other = Reader(found.scraped._ours)
    serve(found)
    assert [len(point.exemplars) for point in _points(other, DURATION)] == [1]
    for _ in range(2):
        assert [len(point.exemplars) for point in gathered(found)[DURATION]] == [1]
    assert [len(point.exemplars) for point in _points(other, DURATION)] == [0]


def test_the_surplus_is_one_series() -> None:
    """All that is over the limit is told as otel.metric.overflow, whatever method it had."""
    found = metrics.start(settings(prometheus="/metrics"))
    assert found.server is not None
    for at in range(2001):
        found.server.end("GET", "http", f"/{at}", 200, None, "1.1", 0.1, span())
    found.server.end("PUT", "http", "/new", 200, None, "1.1", 0.1, span())
    surplus = [point for point in gathered(found)[DURATION] if point.attributes == {"otel.metric.overflow": True}]
    assert [point.count for point in surplus] == [2]


def _quiet(reader: Any) -> Any:
    """Gather from a reader that is on no provider, which the SDK logs."""
    return reader.gather()


def _points(reader: Any, name: str) -> list[Any]:
    return by_name(_quiet(reader))[name]


def test_a_provider_that_cannot_be_made_costs_the_metrics_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the SDK stumbles over: one error in the log, nobody is told of requests, and no exception."""
    monkeypatch.setattr(_quietly, "_told", set())

    def broken() -> None:
        raise StopIteration

    monkeypatch.setattr(api, "get_meter_provider", broken)
    for _ in range(2):
        found = metrics.start(settings())
        assert (found.server, found.client) == (None, None)
    (line,) = caplog.records
    assert (line.name, line.levelname) == ("handrail", "ERROR")
