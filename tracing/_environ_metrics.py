"""Checks of the OTEL_METRICS_* and OTEL_METRIC_* variables (specification: "SDK environment variables")."""

from typing import TYPE_CHECKING

from ._environ import A_DAY, MILLISECONDS, MOST_SECONDS, SECONDS, Environ, importable

if TYPE_CHECKING:
    from .settings import Protocol, Temporality

_EXPORTERS = "OTEL_METRICS_EXPORTER"
_PROTOCOL = "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL"
_ENDPOINT = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"
_TEMPORALITY = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"
_FILTER = "OTEL_METRICS_EXEMPLAR_FILTER"


def exporters(env: Environ) -> tuple[str, ...] | None:
    """What OTEL_METRICS_EXPORTER names: empty for "none", None where it is unset."""
    value = env.get(_EXPORTERS)
    if value is None:
        return None
    words = tuple(dict.fromkeys(word.strip().lower() for word in value.split(",") if word.strip()))
    if words == ("none",):
        return ()
    if not words or not {"otlp", "console"}.issuperset(words):
        env.problem(_EXPORTERS, "a list of: otlp, console, or none alone (Prometheus: HANDRAIL_PROMETHEUS_PATH)")
        return None
    return words


def protocol(env: Environ) -> "Protocol":
    """OTEL_EXPORTER_OTLP_METRICS_PROTOCOL, else that of all signals, whose problems are told with the spans."""
    own = env.get(_PROTOCOL)
    value = own or env.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if own not in (None, "grpc", "http/protobuf"):
        env.problem(_PROTOCOL, "http/protobuf or grpc")
    if value != "grpc":
        return "http/protobuf"
    if importable("opentelemetry.exporter.otlp.proto.grpc"):
        return "grpc"
    if own is not None:
        env.problem(_PROTOCOL, "needs pip install 'handrail[grpc]'")
    return "http/protobuf"


def endpoint(env: Environ, protocol: "Protocol") -> str:
    """The whole URL that metrics go to."""
    grpc = protocol == "grpc"
    own = env.url(_ENDPOINT, bare_host=grpc)
    if own is not None:
        return own
    known = len(env.problems)
    base = env.url("OTEL_EXPORTER_OTLP_ENDPOINT", bare_host=grpc)
    del env.problems[known:]  # told with the spans
    if base is None:
        return "http://localhost:4317" if grpc else "http://localhost:4318/v1/metrics"
    return base if grpc else base.rstrip("/") + "/v1/metrics"


def reader(env: Environ) -> tuple[float, float]:
    """Seconds between two exports, and that one may take."""
    found = [
        env.number(name, MILLISECONDS, low=1, high=A_DAY, whole=True)
        for name in ("OTEL_METRIC_EXPORT_INTERVAL", "OTEL_METRIC_EXPORT_TIMEOUT")
    ]
    env.number("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", SECONDS, low=1e-3, high=MOST_SECONDS, whole=False)
    if env.get("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION") not in (None, "gzip", "deflate", "none"):
        env.problem("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "gzip, deflate or none")
    interval, timeout = found
    return (interval or 60_000) / 1000, (timeout or 30_000) / 1000


def temporality(env: Environ) -> "Temporality":
    """OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE."""
    value = (env.get(_TEMPORALITY) or "cumulative").lower()
    if value == "delta":
        return "delta"
    if value == "lowmemory":
        return "lowmemory"
    if value != "cumulative":
        env.problem(_TEMPORALITY, "cumulative, delta or lowmemory")
    return "cumulative"


def exemplars(env: Environ) -> bool:
    """OTEL_METRICS_EXEMPLAR_FILTER: whether sampled requests leave their trace id on a bucket."""
    value = (env.get(_FILTER) or "trace_based").lower()
    if value not in ("always_on", "always_off", "trace_based"):
        env.problem(_FILTER, "trace_based or always_off (always_on is taken as trace_based)")
    return value != "always_off"
