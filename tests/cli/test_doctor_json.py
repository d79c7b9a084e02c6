"""`handrail doctor --json`: the schema is a promise, so it is pinned here."""

import json
import os
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner

from handrail.cli import main
from handrail.cli._findings import Finding
from handrail.tracing.export.health import Lost, write

TEXT = {"type": "string"}


def table(**properties: object) -> dict[str, object]:
    """An object with exactly these keys."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


SETTINGS = {
    "type": "array",
    "items": table(name=TEXT, value={"type": ["boolean", "number", "string", "array", "object"]}, origin=TEXT),
}
TEXTS = {"type": "array", "items": TEXT}
ORIGIN = table(origin=TEXT, fits=TEXTS, settings=SETTINGS, pipeline=TEXTS)

SCHEMA = table(
    schema={"const": 1},
    ok={"type": "boolean"},
    handrail=TEXT,
    python=TEXT,
    executable=TEXT,
    cwd=TEXT,
    app={"type": ["string", "null"]},
    settings=SETTINGS,
    inbound=TEXTS,
    pipeline={"type": "array", "items": TEXT},
    origins={"type": "array", "items": ORIGIN},
    origin={"anyOf": [{"type": "null"}, ORIGIN]},
    shared_state={
        "anyOf": [{"type": "null"}, table(url=TEXT, quorum={"type": "integer"}, reachable={"type": "boolean"})]
    },
    idempotency={"anyOf": [{"type": "null"}, table(where=TEXT, reachable={"type": "boolean"})]},
    tracing=table(
        service_name=TEXT,
        exporters={"type": "array", "items": {"enum": ["otlp", "console", "local"]}},
        protocol={"enum": ["http/protobuf", "grpc"]},
        endpoint={"type": ["string", "null"]},
        store=TEXT,
        disabled={"type": "boolean"},
        variables={"type": "object", "additionalProperties": TEXT},
    ),
    libraries={"type": "array", "items": table(name=TEXT, version={"type": ["string", "null"]}, required=TEXT)},
    instrumentation={
        "type": "array",
        "items": table(name=TEXT, version=TEXT, state={"enum": ["active", "used", "installed"]}, where=TEXT, does=TEXT),
    },
    findings={
        "type": "array",
        "items": table(
            id={"type": "string", "pattern": "^HR[0-9]{3}$"},
            severity={"enum": ["error", "warning", "info"]},
            what=TEXT,
            where=TEXT,
            mend=TEXT,
        ),
    },
)

NAMES = [
    "enabled",
    "problem_details",
    "service_name",
    "traces_dir",
    "traces_max_bytes",
    "flush_timeout",
    "queue_max_bytes",
    "inbound_trace",
    "trusted_proxies",
    "exclude_routes",
    "route_sampling",
    "redact_deny",
    "redact_allow",
    "log_correlation",
    "log_format",
    "metrics",
    "prometheus_path",
    "blocked_loop",
    "total_timeout",
    "attempt_timeout",
    "attempts",
    "backoff_base",
    "backoff_cap",
    "retry_budget",
    "retry_budget_window",
    "retry_budget_floor",
    "idempotency_keys",
    "hedge_after",
    "stale_on_error",
    "bulkhead_limit",
    "bulkhead_queue",
    "bulkhead_wait",
    "adaptive_concurrency",
    "throttle",
    "breaker_failure_rate",
    "breaker_minimum_calls",
    "breaker_window",
    "breaker_open_for",
    "breaker_open_max",
    "breaker_slow_call",
    "breaker_slow_rate",
    "breaker_ramp",
    "breaker_routes",
    "max_origins",
    "deadline_mode",
    "deadline_max",
    "timeout_header",
    "attempt_header",
    "strict",
    "destinations",
    "shared_state",
    "shared_quorum",
    "reload_every",
    "idempotency_store",
    "idempotency_retention",
    "idempotency_lease",
    "idempotency_interrupted",
    "idempotency_unavailable",
    "idempotency_cookies",
    "idempotency_callers",
    "idempotency_answer_max",
    "idempotency_store_max",
    "load_shedding",
    "load_max",
    "load_queue",
    "load_queue_wait",
    "priority_routes",
    "priority_header",
    "streams_max",
    "deadline_cancel",
    "trace_link",
    "live_path",
    "ready_path",
    "ready_requires",
    "drain_wait",
    "drain_timeout",
    "body_max",
    "headers_max",
    "body_timeout",
    "client_max",
    "single_flight_routes",
    "chaos",
    "chaos_faults",
    "chaos_secret",
    "chaos_seed",
    "origins",
]


def strict(text: str) -> dict[str, object]:
    """JSON without the constants that JSON does not have."""

    def refuse(constant: str) -> object:
        raise AssertionError(constant)

    document: dict[str, object] = json.loads(text, parse_constant=refuse)
    jsonschema.validate(document, SCHEMA)
    return document


def doctor(folder: Path, environ: dict[str, str]) -> tuple[int, dict[str, object]]:
    """Exit code and document of `handrail doctor --json` in a folder."""
    here = Path.cwd()
    os.chdir(folder)
    try:
        done = CliRunner().invoke(main, ["doctor", "--json"], env=environ)
    finally:
        os.chdir(here)
    return done.exit_code, strict(done.stdout)


def test_healthy(tmp_path: Path) -> None:
    """Nothing wrong: exit code 0, ok, every setting in a fixed order, the four policies outermost first."""
    code, document = doctor(tmp_path, {})
    assert code == 0
    assert document["ok"] is True
    settings = document["settings"]
    assert isinstance(settings, list)
    assert [setting["name"] for setting in settings] == NAMES
    pipeline = document["pipeline"]
    assert isinstance(pipeline, list)
    names = [policy.partition("(")[0] for policy in pipeline]
    assert names == ["TotalTimeout", "Retry", "CircuitBreaker", "Bulkhead", "AttemptTimeout"]


@pytest.mark.parametrize(
    "environ",
    [
        {"HANDRAIL_TOTAL_TIMEOUT": "inf"},
        {"HANDRAIL_TOTAL_TIMEOUT": "nan"},
        {"HANDRAIL_TOTAL_TIMEOUT": "-1"},
        {"HANDRAIL_NONSENSE": "\udcff"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "nonsense"},
        {"OTEL_TRACES_EXPORTER": "nonsense"},
        {"OTEL_PROPAGATORS": "nonsense"},
    ],
)
def test_wrong_settings_keep_the_schema(tmp_path: Path, environ: dict[str, str]) -> None:
    """Whatever is wrong, the document is valid JSON of the same schema, and the exit code 1."""
    code, document = doctor(tmp_path, environ)
    assert code == 1
    assert document["ok"] is False
    findings = document["findings"]
    assert isinstance(findings, list)
    assert findings[0]["id"] == "HR001"


def test_severity_of_an_id_is_documented() -> None:
    """The table in the docstring names every id once; an id is never used for two things."""
    lines = [line.split()[:2] for line in (Finding.__doc__ or "").splitlines() if line.strip().startswith("HR")]
    ids = [line[0] for line in lines]
    assert len(ids) == len(set(ids)) == 29
    assert {line[1] for line in lines} == {"error", "warning", "info"}


def test_lost_spans_are_shown(tmp_path: Path) -> None:
    """HR015: what a process beside us has lost, with its destination, reason, counts and times; a warning."""
    entry = Lost(destination="http://c:4318", reason="connection refused", count=7, exported=2, since=10.0, last=20.0)
    write(tmp_path / "traces", "order", [entry])
    code, document = doctor(tmp_path, {"HANDRAIL_TRACES_DIR": str(tmp_path / "traces")})
    assert code == 0
    findings = document["findings"]
    assert isinstance(findings, list)
    (found,) = [finding for finding in findings if finding["id"] == "HR015"]
    assert found["severity"] == "warning"
    assert found["what"].startswith("7 spans lost since 1970-01-01 ")
    assert found["what"].endswith("2 arrived: connection refused")
    assert found["where"] == f"http://c:4318, from order, pid {os.getpid()}"
