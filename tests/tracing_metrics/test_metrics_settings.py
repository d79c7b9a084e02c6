"""The OTEL_METRICS_* variables, and the path for Prometheus."""

from pathlib import Path

import pytest

from handrail import _settings_telling
from handrail.resilience.errors import SettingsError
from handrail.settings import load
from handrail.tracing.settings import Metering, from_environ


def _read(**environ: str) -> tuple[Metering, list[str]]:
    settings, problems = from_environ(environ, service_name="x", store=Path("/nowhere"))
    return settings.metering, [name for name, _, _ in problems]


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, Metering()),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318/"},
            Metering(exporters=("otlp",), endpoint="http://c:4318/v1/metrics"),
        ),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, Metering()),
        (
            {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://m/in"},
            Metering(exporters=("otlp",), endpoint="http://m/in", asked=True),
        ),
        (
            {"OTEL_METRICS_EXPORTER": "otlp, console"},
            Metering(exporters=("otlp", "console"), endpoint="http://localhost:4318/v1/metrics", asked=True),
        ),
        ({"OTEL_METRICS_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, Metering(asked=True)),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            Metering(exporters=("otlp",), endpoint="http://c:4317", protocol="grpc"),
        ),
        (
            {
                "OTEL_METRIC_EXPORT_INTERVAL": "5000",
                "OTEL_METRIC_EXPORT_TIMEOUT": "1500",
                "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "Delta",
                "OTEL_METRICS_EXEMPLAR_FILTER": "always_off",
            },
            Metering(interval=5.0, timeout=1.5, temporality="delta", exemplars=False),
        ),
    ],
)
def test_what_they_mean(environ: dict[str, str], expected: Metering) -> None:
    """A collector for all signals takes metrics too; one for spans does not; nothing set, nothing sent."""
    assert _read(**environ) == (expected, [])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_METRICS_EXPORTER", "prometheus"),
        ("OTEL_METRICS_EXPORTER", "none,otlp"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "0"),
        ("OTEL_METRIC_EXPORT_TIMEOUT", "1s"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "collector"),
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "0"),
        ("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "zstd"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "both"),
        ("OTEL_METRICS_EXEMPLAR_FILTER", "some"),
    ],
)
def test_what_is_wrong_is_named(name: str, value: str) -> None:
    """Each variable with a value that nobody can mean is a problem of its own, and counts as unset."""
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", name: value}
    metering, problems = _read(**environ)
    assert problems == [name]
    assert metering.exporters == ("otlp",)
    assert (metering.interval, metering.timeout, metering.temporality) == (60.0, 30.0, "cumulative")


def test_what_all_signals_share_is_told_once() -> None:
    """A bad endpoint of all signals is one problem, not one for spans and one for metrics."""
    assert _read(OTEL_EXPORTER_OTLP_ENDPOINT="nonsense")[1] == ["OTEL_EXPORTER_OTLP_ENDPOINT"]


def test_prometheus_needs_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting without the package: an error that says what to install, at start."""
    assert load({"prometheus_path": "/metrics"}).tracing.telling.prometheus_path == "/metrics"
    monkeypatch.setattr(_settings_telling, "importable", lambda _name: False)
    with pytest.raises(SettingsError, match=r"pip install 'handrail\[prometheus\]'"):
        load({"prometheus_path": "/metrics"})
    assert load({}).tracing.telling.prometheus_path == ""
