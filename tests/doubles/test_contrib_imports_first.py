"""Contrib's module imports the library that we wait for: we take hold of it in the middle of its import."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
import json, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import handrail.auto
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

seen = []

class Peer(BaseHTTPRequestHandler):
    def do_GET(self):
        seen.append(self.headers.get_all("traceparent"))
        self.send_response(503 if len(seen) < 2 else 200)
        self.end_headers()

    def log_message(self, *args):
        pass

kept, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(kept))
trace.set_tracer_provider(provider)
{first}
server = ThreadingHTTPServer(("127.0.0.1", 0), Peer)
threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
url = f"http://127.0.0.1:{{server.server_port}}/"
{call}
spans = kept.get_finished_spans()
print(json.dumps([[f"{{span.context.span_id:016x}}" for span in spans], seen]))
"""
FIRST = {
    "requests": "from opentelemetry.instrumentation.requests import RequestsInstrumentor as Its",
    "urllib3": "from opentelemetry.instrumentation.urllib3 import URLLib3Instrumentor as Its",
}
CALL = {"requests": "import requests; requests.get(url)", "urllib3": "import urllib3; urllib3.request('GET', url)"}


@pytest.mark.parametrize("library", FIRST)
def test_one_per_attempt(library: str) -> None:
    """A2: handrail, then contrib, then the library: two attempts are two spans and two traceparents."""
    environ = {"PATH": os.environ["PATH"], "HANDRAIL_TRACES_DIR": os.environ["HANDRAIL_TRACES_DIR"]}
    environ["HANDRAIL_BACKOFF_BASE"] = "0.001"
    script = SCRIPT.format(first=f"{FIRST[library]}\nIts().instrument()", call=CALL[library])
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environ, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr
    found: list[Any] = json.loads(ran.stdout)
    ids, seen = found
    assert len(ids) == 2
    assert [[text.split("-")[2] for text in each] for each in seen] == [[one] for one in ids]
