"""A real process beside a collector that is dead, mute or broken: it works on, says one line and leaves in time."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

SERVICE = """
import json, os, sys, time
from pathlib import Path
from handrail.tracing.provider import start
from handrail.tracing.settings import from_environ

store = Path(os.environ["HANDRAIL_TRACES_DIR"])
settings, problems = from_environ(os.environ, service_name="order", store=store, flush_timeout=5.0)
assert not problems, problems
tracing = start(settings)
seen = {}

def timed(name, work):
    began = time.monotonic()
    result = work()
    seen[name] = [time.monotonic() - began, result]

def work():
    for _ in range(int(sys.argv[1])):
        tracing.tracer.start_span("work").end()

timed("work", work)
if "flush" in sys.argv:
    timed("flush", lambda: tracing.flush(5.0))
    timed("again", lambda: tracing.flush(5.0))
print(json.dumps(seen))
sys.stdout.flush()
"""


class _Broken(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(500)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def _collector(kind: str) -> Iterator[int]:
    if kind == "broken":
        with ThreadingHTTPServer(("127.0.0.1", 0), _Broken) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            yield server.server_port
            server.shutdown()
            thread.join()
        return
    # Bound but not listening refuses; listening without an accept answers never.
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        if kind == "mute":
            bound.listen(64)
        yield bound.getsockname()[1]


def _run(port: int, protocol: str, *arguments: str) -> tuple[dict[str, list[float]], str, float]:
    environ = {
        **os.environ,
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
    }
    command = [sys.executable, "-c", SERVICE, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        told = json.loads(process.stdout.readline())
        began = time.monotonic()
        lines = process.stderr.read()
        assert process.wait(90) == 0
        return told, lines, time.monotonic() - began


EXPECTED = {"dead": "connection refused", "mute": "no answer", "broken": "answered"}
FLUSH = 5.0
SLACK = 4.8
"""Seconds that a busy machine may add to a bound of five: less than a second flush would take."""


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
@pytest.mark.parametrize("kind", ["dead", "mute", "broken"])
def test_flush_then_exit(kind: str, protocol: str) -> None:
    """Spans are made as fast as ever, a flush ends in 5 s with False, another one and the exit do not wait again."""
    with _collector(kind) as port:
        told, lines, leaving = _run(port, protocol, "3000", "flush")
    assert told["work"][0] < SLACK
    assert told["flush"][0] < FLUSH + SLACK
    assert told["flush"][1] is False
    assert told["again"][0] < SLACK
    assert leaving < SLACK
    (line,) = lines.splitlines()
    assert f"spans do not reach http://127.0.0.1:{port}" in line
    assert EXPECTED[kind] in line
    assert "requests are not affected" in line


@pytest.mark.parametrize("kind", ["dead", "mute"])
def test_exit_without_flush(kind: str) -> None:
    """An exit that was not prepared waits 2 s at most, and the reason is told before the end."""
    with _collector(kind) as port:
        _, lines, leaving = _run(port, "http/protobuf", "10")
    assert leaving < FLUSH + SLACK
    (line,) = lines.splitlines()
    assert EXPECTED[kind] in line
    assert "10 waiting" in line
