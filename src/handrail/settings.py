"""All settings of handrail, with the place that each value came from.

The same flat names everywhere:

    protect(app, attempt_timeout=5)          argument
    HANDRAIL_ATTEMPT_TIMEOUT=5               environment
    attempt_timeout = 5                      handrail.toml, or [tool.handrail] in pyproject.toml

An argument wins over the environment, the environment over the file, the file over the default.
Files are looked for in the working directory alone; `handrail.toml` hides `[tool.handrail]`.
What OpenTelemetry names, `OTEL_*` in the environment says: see `handrail.tracing.settings`.

Durations are plain seconds (`0.5`, never `500ms`); booleans are true/false, 1/0, yes/no, on/off
in the environment. An empty variable counts as unset. Names beginning with `HANDRAIL_` that mean
nothing are refused, except those that Kubernetes makes for a service that is called handrail.

A default gives way to what was chosen: with `total_timeout = 5` alone an attempt may take 5 s.
Two chosen values that contradict each other are refused, and so is an attempt that is longer
than the total.

`origins` holds the outbound settings of single origins, by pattern: a table of TOML, a dict of an
argument, JSON in HANDRAIL_ORIGINS. They win over the general ones, wherever those stand.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypedDict

from ._settings_chaos import ChaosSettings
from ._settings_file import SettingsFile
from ._settings_values import Problem
from .resilience.errors import SettingsError
from .resilience.inbound.settings import InboundSettings
from .resilience.origins import OriginRule
from .resilience.replay.settings import IdempotencySettings
from .resilience.service import ServiceSettings
from .resilience.settings import ResilienceSettings
from .tracing.settings import TracingSettings

__all__ = ["OriginOverrides", "Overrides", "Resolution", "Settings", "load", "resolve"]


class OriginOverrides(TypedDict, total=False):
    """What may be set for a single origin; each one is explained in `handrail.resilience.settings`."""

    total_timeout: float
    attempt_timeout: float
    attempts: int
    backoff_base: float
    backoff_cap: float
    breaker_failure_rate: float
    breaker_minimum_calls: int
    breaker_window: float
    breaker_open_for: float
    breaker_open_max: float
    breaker_slow_call: float
    breaker_slow_rate: float
    breaker_ramp: int
    breaker_routes: Sequence[str]
    retry_budget: float
    retry_budget_window: float
    retry_budget_floor: int
    idempotency_keys: Literal["auto", "always", "off"]
    hedge_after: float
    stale_on_error: float
    bulkhead_limit: int
    bulkhead_queue: int
    bulkhead_wait: float
    adaptive_concurrency: bool
    throttle: float


class Overrides(OriginOverrides, total=False):
    """What `protect(app, ...)` takes; each one is explained where its half declares it."""

    enabled: bool
    """False: handrail does nothing at all. Default true."""
    problem_details: bool
    """Answer unhandled rejections and timeouts with 503/504 (RFC 9457). Default true."""
    service_name: str
    """Default: `[project].name` of the working directory, else the folder's name."""
    traces_dir: str | os.PathLike[str]
    """The local store. Default `$XDG_STATE_HOME/handrail/traces`."""
    traces_max_bytes: int
    """Bound of the local store in bytes. Default 64 MiB."""
    flush_timeout: float
    """Seconds that an exit may wait for spans to leave. Default 1.5."""
    queue_max_bytes: int
    """Bound of the spans that wait for the exporter, in bytes. Default 16 MiB."""
    inbound_trace: Literal["continue", "link"]
    """Continue the caller's trace (default), or start a new one and link the caller's: a public edge."""
    trusted_proxies: Sequence[str]
    """Addresses or networks whose `Forwarded` and `X-Forwarded-*` are believed; `*` is all. Default none."""
    exclude_routes: Sequence[str]
    """Paths without spans; the trace context passes through. Default: probes, /metrics, /favicon.ico."""
    route_sampling: Mapping[str, float]
    """Share of new traces by path, such as `{"/search": 0.1}`; `{name}` is one segment, `*` anything."""
    redact_deny: Sequence[str]
    """Further names of headers and query keys whose values never leave."""
    redact_allow: Sequence[str]
    """Names that handrail hides by default and this service wants to see."""
    log_correlation: bool
    """trace_id, span_id and service in log records. Default true."""
    log_format: Literal["keep", "json"]
    """`json`: the root logger writes JSON lines. Default `keep`."""
    metrics: bool
    """Measure requests, calls and resilience (OTEL_METRICS_EXPORTER says where to). Default true."""
    prometheus_path: str
    """Serve metrics in Prometheus's format at this path, such as /metrics. Default off."""
    blocked_loop: float
    """Seconds that the event loop may be held before that is told, with the stack. Default 0.1; 0 is off."""
    max_origins: int
    deadline_mode: Literal["observe", "propagate", "enforce"]
    deadline_max: float
    timeout_header: str
    attempt_header: str
    strict: bool
    destinations: Sequence[str]
    shared_state: str
    shared_quorum: int
    reload_every: float
    idempotency_store: str
    idempotency_retention: float
    idempotency_lease: float
    idempotency_interrupted: Literal["refuse", "again"]
    idempotency_unavailable: Literal["refuse", "run"]
    idempotency_cookies: Literal["drop", "keep", "skip"]
    idempotency_callers: Sequence[str]
    idempotency_answer_max: int
    idempotency_store_max: int
    load_shedding: bool
    load_max: int
    load_queue: int
    load_queue_wait: float
    priority_routes: Mapping[str, Literal["critical_plus", "critical", "sheddable_plus", "sheddable"]]
    priority_header: str
    streams_max: int
    deadline_cancel: bool
    trace_link: str
    live_path: str
    ready_path: str
    ready_requires: Sequence[str]
    drain_wait: float
    drain_timeout: float
    body_max: int
    headers_max: int
    body_timeout: float
    client_max: int
    single_flight_routes: Sequence[str]
    chaos: bool | Literal["production"]
    """True: faults may be injected on purpose. "production" where OTEL_RESOURCE_ATTRIBUTES names that. Default off."""
    chaos_faults: Sequence[str | Mapping[str, object]]
    """The faults: `"out error=503 POST http://payment:8003 every=3"`, or tables of the same names."""
    chaos_secret: str
    """Requests may bring faults in a header that is signed with it. Default empty: they may not."""
    chaos_seed: int
    """Of the draws of a fault's `share`. Default 0."""
    origins: Mapping[str, OriginOverrides]
    """Settings of single origins: `{"http://payment:8003": {"attempts": 1}, "https://*.stripe.com": {...}}`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Checked settings of one process. `origins` names the source of each flat name, `per_origin` what is set for
    single origins.
    """

    enabled: bool = True
    problem_details: bool = True
    resilience: ResilienceSettings
    service: ServiceSettings = field(default_factory=ServiceSettings)
    idempotency: IdempotencySettings = field(default_factory=IdempotencySettings)
    inbound: InboundSettings = field(default_factory=InboundSettings)
    faults: ChaosSettings = field(default_factory=ChaosSettings)
    tracing: TracingSettings
    state: Path = Path()
    """The folder of what this user's services remember (XDG state home)."""
    per_origin: tuple[OriginRule, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict)

    def value(self, name: str) -> object:
        """The value behind a flat name, such as `attempt_timeout` or `traces_dir`."""
        for holder, key in (
            (self, _OWN_FIELDS.get(name, name)),
            (self.resilience, name),
            (self.service, name),
            (self.idempotency, name),
            (self.inbound, name),
            (self.faults, name),
            (self.tracing, _TRACING_FIELDS.get(name, name)),
            (self.tracing.telling, name),
        ):
            if key in holder.__dataclass_fields__:
                return getattr(holder, key)
        raise KeyError(name)


_OWN_FIELDS = {"origins": "per_origin"}
_TRACING_FIELDS = {"traces_dir": "store", "traces_max_bytes": "store_max_bytes"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """What was found, usable or not: the view of `handrail doctor`.

    Where `problems` is not empty, the fields concerned hold their defaults or what was asked for.
    """

    settings: Settings
    problems: tuple[Problem, ...]
    file: SettingsFile


def load(
    arguments: Overrides | None = None,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Settings:
    """The settings of this process.

    Raises one SettingsError that lists every problem: name, value, where it stands, what is
    allowed. `enabled = false` is the emergency switch and works whatever else is wrong.
    """
    from ._settings_values import message

    found = resolve(arguments, environ, cwd)
    if found.problems and found.settings.enabled:
        error = SettingsError(message(found.problems))
        error.problems = found.problems
        raise error
    return found.settings


def resolve(
    arguments: Overrides | None = None,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Resolution:
    """The same without raising: problems are handed back beside what could be understood."""
    from ._settings_resolve import Resolver

    return Resolver(arguments or {}, os.environ if environ is None else environ, cwd).resolve()
