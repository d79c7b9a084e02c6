"""The global MeterProvider for the time of a test, and what a reader gathered, by name."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from opentelemetry import metrics
from opentelemetry.metrics import _internal as api
from opentelemetry.sdk.metrics.export import MetricsData
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from handrail.tracing.settings import Metering, Telling, TracingSettings

__all__ = ["by_name", "no_provider", "settings", "span", "until"]


@contextmanager
def no_provider() -> Iterator[None]:
    """None is set for the time of the block, and the proxy forgets what it was told; then what was before."""
    before = api._METER_PROVIDER, api._METER_PROVIDER_SET_ONCE._done, api._PROXY_METER_PROVIDER
    api._METER_PROVIDER, api._METER_PROVIDER_SET_ONCE._done = None, False
    api._PROXY_METER_PROVIDER = api._ProxyMeterProvider()
    try:
        assert type(metrics.get_meter_provider()).__name__ == "_ProxyMeterProvider"
        yield
    finally:
        api._METER_PROVIDER, api._METER_PROVIDER_SET_ONCE._done, api._PROXY_METER_PROVIDER = before


def settings(*, prometheus: str = "", metrics: bool = True, disabled: bool = False, **metering: Any) -> TracingSettings:
    """Settings with an endless interval: a test asks for each export."""
    return TracingSettings(
        service_name="shop",
        store=Path("/nowhere"),
        disabled=disabled,
        telling=Telling(metrics=metrics, prometheus_path=prometheus),
        metering=Metering(**{"interval": 1e6, **metering}),
    )


def by_name(data: MetricsData) -> dict[str, list[Any]]:
    """The data points of each metric. A metric that stands twice fails the test."""
    found: dict[str, list[Any]] = {}
    for about in data.resource_metrics:
        for scope in about.scope_metrics:
            for metric in scope.metrics:
                assert metric.name not in found, f"{metric.name} stands twice"
                found[metric.name] = list(metric.data.data_points)
    return found


def span(*, sampled: bool = True, trace_id: int = 0xABC) -> NonRecordingSpan:
    """A span that only has a context."""
    return NonRecordingSpan(SpanContext(trace_id, 0x123, False, TraceFlags(int(sampled))))


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Poll until `condition()` holds; AssertionError after `seconds`."""
    import threading
    import time

    ends = time.monotonic() + seconds
    nothing = threading.Event()
    while not condition():
        assert time.monotonic() < ends, "the condition did not come true"
        nothing.wait(0.005)
