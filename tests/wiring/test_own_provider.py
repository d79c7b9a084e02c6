"""A service that sets up OpenTelemetry itself, early or late: its provider gets the spans, once; ours makes none."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

OWN = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

SEEN = []

class Mine(SpanExporter):
    def export(self, spans):
        SEEN.extend((span.kind.name, span.name, f"{span.context.trace_id:x}") for span in spans)
        return SpanExportResult.SUCCESS

def own():
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(Mine()))
    trace.set_tracer_provider(provider)
"""
APP = """
from contextlib import asynccontextmanager
import httpx, json, sys
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

async def hop(request):
    try:
        httpx.get("http://127.0.0.1:9/")
    except httpx.ConnectError:
        pass
    return JSONResponse({})

@asynccontextmanager
async def lifespan(app):
    AT_START()
    yield

app = Starlette(routes=[Route("/hop", hop)], lifespan=lifespan)
"""
RUN = """
with TestClient(app) as client:
    client.get("/hop")
print(json.dumps(SEEN))
"""
NOTHING = "AT_START = lambda: None\n"
PROTECT = "from handrail import protect\napp = protect(app, attempts=1)\n"
AUTO = "import handrail.auto\n"

PROGRAMS = {
    "before the import of handrail": OWN + "own()\n" + NOTHING + APP + PROTECT + RUN,
    "after protect, in the module": OWN + NOTHING + APP + PROTECT + "own()\n" + RUN,
    "after auto, in the module": AUTO + OWN + NOTHING + "own()\n" + APP + RUN,
    "in the lifespan": OWN + "AT_START = own\n" + APP + PROTECT + RUN,
    "in the lifespan, after auto": AUTO + OWN + "AT_START = own\n" + APP + RUN,
}


@pytest.mark.parametrize("when", PROGRAMS)
def test_its_own_provider_gets_every_span_once(tmp_path: Path, when: str) -> None:
    """One SERVER span and one CLIENT span in one trace, with the service's own exporter; our store stays empty."""
    store = tmp_path / "traces"
    environ = {"PATH": os.environ["PATH"], "HANDRAIL_TRACES_DIR": str(store), "HANDRAIL_ATTEMPTS": "1"}
    command = [sys.executable, "-W", "error", "-c", PROGRAMS[when]]
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert sorted((kind, name) for kind, name, _ in seen) == [("CLIENT", "GET"), ("SERVER", "GET /hop")]
    assert len({trace_id for _, _, trace_id in seen}) == 1
    assert not store.exists()
    assert "Overriding" not in done.stderr
