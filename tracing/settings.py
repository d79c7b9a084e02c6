"""What the standard OTEL_* variables ask for, checked and frozen.

Every rule is from the OpenTelemetry specification ("SDK environment variables", "OTLP exporter"); an empty
value means unset. One default is ours: where no exporter and no OTLP endpoint is set, spans go to the local store.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

from . import _environ as check
from . import _environ_metrics as metrics
from . import _environ_sdk as sdk

__all__ = [
    "EXCLUDED",
    "LOCAL",
    "InboundTrace",
    "Metering",
    "Problem",
    "Protocol",
    "Telling",
    "Temporality",
    "TracingSettings",
    "from_environ",
]

Problem = tuple[str, object, str]
"""(variable, value, what is allowed)"""

Protocol = Literal["http/protobuf", "grpc"]

InboundTrace = Literal["continue", "link"]

Temporality = Literal["cumulative", "delta", "lowmemory"]

LOCAL = "local"

EXCLUDED = ("/livez", "/readyz", "/healthz", "/health", "/alive", "/ping", "/metrics", "/favicon.ico")
"""Paths that are noise in most services: probes (Kubernetes, Aspire's ServiceDefaults), scrapes, icons."""

_EXPORTERS: dict[str, tuple[str, Protocol | None]] = {
    "otlp": ("otlp", None),
    "otlp_proto_http": ("otlp", "http/protobuf"),  # the SDK's own names for one protocol each
    "otlp_proto_grpc": ("otlp", "grpc"),
    "console": ("console", None),
    "none": ("none", None),
    LOCAL: (LOCAL, None),
}
_DEFAULT_ENDPOINT: dict[Protocol, str] = {
    "http/protobuf": "http://localhost:4318/v1/traces",
    "grpc": "http://localhost:4317",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """What is told, and about what. Patterns of paths: `{name}` is one segment, `*` is anything.

    `inbound_trace`: "continue" the caller's trace, or start a new one and "link" the caller's (a public edge).
    `trusted_proxies`: addresses or networks whose Forwarded and X-Forwarded-* are believed; "*" is everybody.
    `exclude_routes`: paths without spans, logs of ours and metrics; the trace context still passes through.
    `route_sampling`: (pattern, share of new traces from 0 to 1), the first match counts.
    `redact_deny` and `redact_allow`: further names of headers and query keys to hide, and ours not to hide.
    `blocked_loop`: seconds that the event loop may be held before that is told; 0 is off.
    `prometheus_path`: where metrics are served in Prometheus's format; empty is nowhere.
    """

    inbound_trace: InboundTrace = "continue"
    trusted_proxies: tuple[str, ...] = ()
    exclude_routes: tuple[str, ...] = EXCLUDED
    route_sampling: tuple[tuple[str, float], ...] = ()
    redact_deny: tuple[str, ...] = ()
    redact_allow: tuple[str, ...] = ()
    log_correlation: bool = True
    log_format: Literal["keep", "json"] = "keep"
    metrics: bool = True
    prometheus_path: str = ""
    blocked_loop: float = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Metering:
    """Where metrics go: what the OTEL_METRICS_* and OTEL_METRIC_* variables ask for.

    `exporters` holds "otlp" and "console"; it is empty for "none", and where nothing names a collector.
    `endpoint` is the whole URL. `asked` says that somebody asked for metrics, and did not only name a collector.
    `interval` and `timeout` are in seconds; the defaults are the specification's.
    """

    exporters: tuple[str, ...] = ()
    protocol: Protocol = "http/protobuf"
    endpoint: str | None = None
    asked: bool = False
    interval: float = 60.0
    timeout: float = 30.0
    temporality: Temporality = "cumulative"
    exemplars: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class TracingSettings:
    """Where spans go, and what they tell.

    `exporters` holds "otlp", "console", "local"; it is empty for "none". `endpoint` is the whole URL that the
    OTLP exporter posts to, path included, and None where "otlp" is not in `exporters`. `flush_timeout` is in
    seconds, `store_max_bytes` in bytes over all files of the store, `queue_max_bytes` in bytes of encoded spans
    that wait for the exporter.
    """

    service_name: str
    exporters: tuple[str, ...] = (LOCAL,)
    protocol: Protocol = "http/protobuf"
    endpoint: str | None = None
    store: Path
    store_max_bytes: int = 64 * 1024 * 1024
    flush_timeout: float = 1.5
    queue_max_bytes: int = 16 * 1024 * 1024
    disabled: bool = False
    telling: Telling = Telling()
    metering: Metering = Metering()


def from_environ(
    environ: Mapping[str, str],
    *,
    service_name: str,
    store: Path,
    store_max_bytes: int = 64 * 1024 * 1024,
    flush_timeout: float = 1.5,
) -> tuple[TracingSettings, list[Problem]]:
    """Read the OTEL_* variables.

    `service_name` counts only where neither OTEL_SERVICE_NAME nor OTEL_RESOURCE_ATTRIBUTES names the service.
    The settings are usable in any case: a variable with a problem counts as unset.
    """
    env = check.Environ(environ)
    exporters, named = _exporters(env)
    protocol = _protocol(env, named, needed="otlp" in exporters)
    endpoint = _endpoint(env, protocol) if "otlp" in exporters else None
    check.sampler(env)
    check.propagators(env)
    check.batch_limits(env)
    check.otlp_transport(env)
    sdk.checked(env)
    settings = TracingSettings(
        service_name=_service_name(env, service_name),
        exporters=exporters,
        protocol=protocol,
        endpoint=endpoint,
        store=store,
        store_max_bytes=store_max_bytes,
        flush_timeout=flush_timeout,
        disabled=env.boolean("OTEL_SDK_DISABLED"),
        metering=_metering(env),
    )
    return settings, env.problems


def _metering(env: check.Environ) -> Metering:
    base, own = env.get("OTEL_EXPORTER_OTLP_ENDPOINT"), env.get("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")
    named = metrics.exporters(env)
    exporters = named if named is not None else ("otlp",) if base or own else ()
    interval, timeout = metrics.reader(env)
    protocol: Protocol = "http/protobuf"
    endpoint = None
    if "otlp" in exporters:
        # What is wrong with the variables of all signals is reported once, with the spans.
        protocol = metrics.protocol(env)
        endpoint = metrics.endpoint(env, protocol)
    return Metering(
        exporters=exporters,
        protocol=protocol,
        endpoint=endpoint,
        asked=named is not None or own is not None,
        interval=interval,
        timeout=timeout,
        temporality=metrics.temporality(env),
        exemplars=metrics.exemplars(env),
    )


def _exporters(env: check.Environ) -> tuple[tuple[str, ...], Protocol | None]:
    value = env.get("OTEL_TRACES_EXPORTER")
    if value is None:
        endpoint = env.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or env.get("OTEL_EXPORTER_OTLP_ENDPOINT")
        return (("otlp",) if endpoint else (LOCAL,)), None
    found: list[str] = []
    protocol: Protocol | None = None
    for word in (word.strip().lower() for word in value.split(",") if word.strip()):
        if word not in _EXPORTERS:
            env.problem("OTEL_TRACES_EXPORTER", "a list of: otlp, console, local, or none alone")
            return (LOCAL,), None
        name, named = _EXPORTERS[word]
        protocol = named or protocol
        if name not in found:
            found.append(name)
    if "none" in found:
        if len(found) > 1:
            env.problem("OTEL_TRACES_EXPORTER", "none alone, not together with an exporter")
        return (), None
    return tuple(found), protocol


def _protocol(env: check.Environ, named: Protocol | None, *, needed: bool) -> Protocol:
    protocol: Protocol = named or "http/protobuf"
    variable = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
    if env.get(variable) is None:
        variable = "OTEL_EXPORTER_OTLP_PROTOCOL"
    value = env.get(variable)
    if value is not None and named is None:
        if value == "grpc":
            protocol = "grpc"
        elif value != "http/protobuf":
            env.problem(variable, "http/protobuf or grpc")
    if protocol == "grpc" and needed and not check.importable("opentelemetry.exporter.otlp.proto.grpc"):
        source = variable if named is None else "OTEL_TRACES_EXPORTER"
        env.problem(source, "needs pip install 'handrail[grpc]'")
        return "http/protobuf"
    return protocol


def _endpoint(env: check.Environ, protocol: Protocol) -> str:
    value = env.url("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", bare_host=protocol == "grpc")
    if value is not None:
        return value
    value = env.url("OTEL_EXPORTER_OTLP_ENDPOINT", bare_host=protocol == "grpc")
    if value is None:
        return _DEFAULT_ENDPOINT[protocol]
    return value if protocol == "grpc" else value.rstrip("/") + "/v1/traces"


def _service_name(env: check.Environ, fallback: str) -> str:
    name = env.get("OTEL_SERVICE_NAME")
    if name is not None and check.is_name(name):
        return name
    if name is not None:
        env.problem("OTEL_SERVICE_NAME", check.NAME)
    for member in (env.get("OTEL_RESOURCE_ATTRIBUTES") or "").split(","):
        key, _, value = member.partition("=")
        if key.strip() == "service.name" and value.strip():
            if check.is_name(found := unquote(value.strip())):
                return found
            if name is None:
                env.problem("OTEL_RESOURCE_ATTRIBUTES", "a service.name of " + check.NAME)
    return fallback
