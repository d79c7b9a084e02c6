"""A service that owns `tracing.py`, `resilience/` and `handrail_settings.py` is protected under every server.

Each case is a real server process: one request with a known trace id, whose handler calls a server that answers 503
once. The service must have used its own modules; the call must have been retried; after a clean stop the local store
must hold one SERVER span and one CLIENT span per attempt, in the caller's trace.
"""

import json
import os
import secrets
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.shadow.processes import START, Upstream, free_port, running

SERVICE = Path(__file__).parent / "service"
BIN = Path(sys.executable).parent
SERVER_SPAN, CLIENT_SPAN = 2, 3

SERVERS = {
    "python": "python app.py {port}",
    "uvicorn": "uvicorn app:app --port {port}",
    "uvicorn-factory": "uvicorn --factory app:make --port {port}",
    "uvicorn-workers": "uvicorn app:app --workers 2 --port {port}",
    "uvicorn-reload": "uvicorn app:app --reload --port {port}",
    "hypercorn": "hypercorn app:app --bind 127.0.0.1:{port}",
    "hypercorn-trio": "hypercorn -k trio app:app --bind 127.0.0.1:{port}",
    "granian": "granian --interface asgi app:app --port {port}",
    "granian-factory": "granian --interface asgi --factory app:make --port {port}",
    "gunicorn": "gunicorn -k uvicorn_worker.UvicornWorker app:app --bind 127.0.0.1:{port}",
    "gunicorn-workers": "gunicorn -k uvicorn_worker.UvicornWorker -w 2 app:app --bind 127.0.0.1:{port}",
}
FORMS = ["protect", "protect_plain", "auto", "auto_plain", "run"]


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    server = Upstream()
    yield server
    server.close()


def service(folder: Path, form: str) -> Path:
    """Copy the service, with one form of it as its app.py."""
    shutil.copytree(SERVICE, folder, ignore=shutil.ignore_patterns("app_*", "__pycache__", "README.md"))
    shutil.copy(SERVICE / f"app_{form}.py", folder / "app.py")
    return folder


def command(server: str, form: str, port: int) -> list[str]:
    program, *arguments = SERVERS[server].format(port=port).split()
    line = [str(BIN / program), *arguments]
    return [str(BIN / "handrail"), "run", *line] if form == "run" else line


def environment(upstream: Upstream, traces: Path) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "HANDRAIL_", "PYTHON"))}
    return {**plain, "HANDRAIL_TRACES_DIR": str(traces), "UPSTREAM": upstream.url, "PYTHONDONTWRITEBYTECODE": "1"}


def spans(traces: Path, trace_id: str) -> list[dict[str, Any]]:
    """Read the spans of one trace from the OTLP JSON lines of the local store."""
    return [
        span
        for file in sorted(traces.rglob("*.jsonl"))
        for line in file.read_text("utf-8").splitlines()
        for resource in json.loads(line)["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
        if span["traceId"] == trace_id
    ]


def attributes(span: dict[str, Any]) -> dict[str, Any]:
    return {each["key"]: next(iter(each["value"].values())) for each in span.get("attributes", [])}


def check_trace(kept: list[dict[str, Any]], trace_id: str, caller: str, seen: list[dict[str, str]]) -> None:
    """One SERVER span under the caller's, one CLIENT span per attempt under it, and each attempt names its own."""
    (inbound,) = [span for span in kept if span["kind"] == SERVER_SPAN]
    assert inbound["parentSpanId"] == caller
    attempts = sorted((s for s in kept if s["kind"] == CLIENT_SPAN), key=lambda s: int(s["startTimeUnixNano"]))
    assert [span["parentSpanId"] for span in attempts] == [inbound["spanId"]] * 2
    assert [attributes(span).get("http.request.resend_count") for span in attempts] == [None, "1"]
    assert [each["traceparent"].split("-")[1:3] for each in seen] == [[trace_id, span["spanId"]] for span in attempts]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("server", SERVERS)
def test_protected(server: str, form: str, upstream: Upstream, tmp_path: Path) -> None:
    """Whoever starts the service, and however handrail came in: its modules are its own, and it is protected."""
    traces = tmp_path / "traces"
    port = free_port()
    trace_id, caller = secrets.token_hex(16), secrets.token_hex(8)
    with running(
        command(server, form, port),
        cwd=service(tmp_path / "service", form),
        port=port,
        environ=environment(upstream, traces),
    ) as process:
        answer = process.ask("/orders/7", {"traceparent": f"00-{trace_id}-{caller}-01"})
        process.stop()
        output = process.output()

    assert answer["owners"] == ["service"] * 3
    assert answer["upstream"] == 200, "the 503 was not retried"
    assert len(upstream.seen) == 2
    assert "Traceback" not in output, output

    check_trace(spans(traces, trace_id), trace_id, caller, upstream.seen)


@pytest.mark.parametrize("form", FORMS)
def test_reload_keeps_protection(form: str, upstream: Upstream, tmp_path: Path) -> None:
    """The worker that uvicorn starts after an edit is protected like the one it ended, and neither loses a span."""
    traces = tmp_path / "traces"
    port = free_port()
    folder = service(tmp_path / "service", form)
    trace_ids, caller = [secrets.token_hex(16)], secrets.token_hex(8)
    line = command("uvicorn-reload", form, port)
    # Each call is asked for until the new worker answers, and each needs two attempts: no breaker is to open by that.
    environ = {**environment(upstream, traces), "HANDRAIL_BREAKER_FAILURE_RATE": "1"}
    with running(line, cwd=folder, port=port, environ=environ) as process:
        first = process.ask("/orders/1", {"traceparent": f"00-{trace_ids[0]}-{caller}-01"})["pid"]
        until, edited = time.monotonic() + START, 0.0
        while len(trace_ids) < 2 and time.monotonic() < until:
            if time.monotonic() - edited > 5:  # uvicorn takes an edit before its first look for unchanged
                edited = time.monotonic()
                (folder / "app.py").write_text(f"{(folder / 'app.py').read_text()}# edited\n")
            fresh = secrets.token_hex(16)
            if process.ask("/orders/2", {"traceparent": f"00-{fresh}-{caller}-01"})["pid"] != first:
                trace_ids.append(fresh)
        process.stop()
    assert len(trace_ids) == 2, "never reloaded"
    check_trace(spans(traces, trace_ids[0]), trace_ids[0], caller, upstream.of_trace(trace_ids[0]))
    check_trace(spans(traces, trace_ids[1]), trace_ids[1], caller, upstream.of_trace(trace_ids[1]))


def test_all_ways_at_once_are_one(upstream: Upstream, tmp_path: Path) -> None:
    """`handrail run`, `import handrail.auto` and protect(protect(app)) together: one SERVER span, one retry."""
    traces = tmp_path / "traces"
    port = free_port()
    folder = service(tmp_path / "service", "protect")
    text = (folder / "app.py").read_text() + "import handrail.auto\n\napp = protect(protect(app))\n"
    (folder / "app.py").write_text(text)
    trace_id, caller = secrets.token_hex(16), secrets.token_hex(8)
    line = [str(BIN / "handrail"), "run", *command("uvicorn", "protect", port)]
    with running(line, cwd=folder, port=port, environ=environment(upstream, traces)) as process:
        assert process.ask("/orders/7", {"traceparent": f"00-{trace_id}-{caller}-01"})["upstream"] == 200
        process.stop(signal.SIGINT)
    check_trace(spans(traces, trace_id), trace_id, caller, upstream.seen)
