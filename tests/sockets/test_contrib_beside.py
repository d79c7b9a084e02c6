"""A service that switches contrib's instrumentation on, and copies headers by hand: no span, no header comes twice."""

import json
import os
import secrets
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.shadow.processes import free_port, running
from tests.sockets.peer import recorder

HEADERS = {
    "copied": "{k: v for k, v in request.headers.items() if k not in ('host', 'content-length')}",
    "doubled": "[(k, request.headers['traceparent']) for k in ('traceparent', 'TraceParent', 'traceparent')]",
    "none": "None",
}
SERVICE = """
import os
import {library} as library
from fastapi import FastAPI, Request
{early}
from handrail import protect

app = FastAPI()
{built}

@app.get("/orders/{{number}}")
async def order(number: int, request: Request):
    async with library.AsyncClient() as client:
        reply = await client.get(os.environ["UPSTREAM"], headers={headers})
    return {{"upstream": reply.status_code}}

app = protect(app)
{late}
"""
CLIENT = """
from opentelemetry.instrumentation.httpx import HTTPX2ClientInstrumentor, HTTPXClientInstrumentor
HTTPXClientInstrumentor().instrument()
HTTPX2ClientInstrumentor().instrument()
"""
CLASS = """
import fastapi
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
FastAPIInstrumentor().instrument()
FastAPI = fastapi.FastAPI
"""
INSTANCE = "from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor as F; F.instrument_app(app)\n"
MIDDLEWARE = """
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
app.add_middleware(OpenTelemetryMiddleware)
"""
AROUND = "from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware as O; app = O(app)\n"

BESIDE = {
    "nothing": {},
    "client, early": {"early": CLIENT},
    "client, late": {"late": CLIENT},
    "fastapi class": {"early": CLASS + CLIENT},
    "fastapi instance, before": {"built": INSTANCE, "early": CLIENT},
    "fastapi instance, after": {"late": INSTANCE + CLIENT},
    "asgi middleware inside": {"built": MIDDLEWARE, "early": CLIENT},
    "asgi middleware around": {"late": AROUND + CLIENT},
}
INTERNAL_SPAN, SERVER_SPAN, CLIENT_SPAN = 1, 2, 3


def _spans(traces: Path) -> list[dict[str, Any]]:
    return [
        span
        for file in traces.glob("*.jsonl")
        for line in file.read_text("utf-8").splitlines()
        for resource in json.loads(line)["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]


def _cases() -> list[Any]:
    cases = [(beside, "copied", "httpx") for beside in BESIDE]
    cases += [("client, early", "none", "httpx"), ("client, early", "doubled", "httpx")]
    cases += [("client, late", "doubled", "httpx2"), ("fastapi class", "copied", "httpx2")]
    return [pytest.param(*case, id="-".join(case)) for case in cases]


@pytest.mark.parametrize(("beside", "headers", "library"), _cases())
def test_one_span_each_and_one_traceparent_per_attempt(tmp_path: Path, beside: str, headers: str, library: str) -> None:
    """One SERVER span under the caller's; per attempt one CLIENT span below it, and one traceparent that names it."""
    parts = {"early": "", "built": "", "late": "", **BESIDE[beside]}
    (tmp_path / "app.py").write_text(SERVICE.format(library=library, headers=HEADERS[headers], **parts))
    traces, port = tmp_path / "traces", free_port()
    trace_id, caller = secrets.token_hex(16), secrets.token_hex(8)
    inbound = {"traceparent": f"00-{trace_id}-{caller}-01", "tracestate": "other=1"}
    environ = {"PATH": os.environ["PATH"], "HANDRAIL_TRACES_DIR": str(traces), "HANDRAIL_BACKOFF_BASE": "0.01"}
    command = [sys.executable, "-m", "uvicorn", "app:app", "--port", str(port), "--log-level", "warning"]
    with recorder(503, 503) as peer:
        environ["UPSTREAM"] = peer.url
        with running(command, cwd=tmp_path, port=port, environ=environ) as server:
            assert server.ask("/orders/7", inbound) == {"upstream": 200}
            server.stop()
        assert "Traceback" not in server.output(), server.output()
    spans = _spans(traces)
    assert {span["traceId"] for span in spans} == {trace_id}
    (served,) = [span for span in spans if span["kind"] == SERVER_SPAN]
    assert served["parentSpanId"] == caller
    assert served["name"] == "GET /orders/{number}"
    assert not [span for span in spans if span["kind"] == INTERNAL_SPAN]
    attempts = sorted((s for s in spans if s["kind"] == CLIENT_SPAN), key=lambda s: int(s["startTimeUnixNano"]))
    assert [span["parentSpanId"] for span in attempts] == [served["spanId"]] * 3
    sent = [[value for name, value in fields if name == "traceparent"] for fields in peer.seen]
    assert sent == [[f"00-{trace_id}-{span['spanId']}-01"] for span in attempts]
    states = [[value for name, value in fields if name == "tracestate"] for fields in peer.seen]
    assert states == [["other=1"]] * 3
