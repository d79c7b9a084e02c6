"""The queue is still full when the server is told to stop, and nobody takes it: one warning, and an end in time."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.shadow.processes import free_port, running
from tests.sockets.peer import silent

APP = """
from handrail import protect

async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

app = protect(app)
"""
FLUSH = 5.0
REQUESTS = 30
LATEST_END = 2 * FLUSH - 0.1
"""Seconds: the flush once and not twice, whoever asks for it, and the end of the interpreter on a busy machine."""


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("more", [[], ["--lifespan", "off"], ["--workers", "2"]], ids=["one", "lifespan off", "two"])
@pytest.mark.parametrize("dead", ["refused", "silent"])
def test_it_ends_in_time(tmp_path: Path, dead: str, more: list[str], how: signal.Signals) -> None:
    """Each process that has spans says once that they are lost, every request is answered, and none waits longer."""
    (tmp_path / "app.py").write_text(APP)
    port = free_port()
    with silent() as peer:
        endpoint = peer.removesuffix("/stock") if dead == "silent" else f"http://127.0.0.1:{free_port()}"
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "HANDRAIL_FLUSH_TIMEOUT": str(FLUSH),
            "HANDRAIL_BLOCKED_LOOP": "0",  # a busy machine holds the loop up too, which would be a line of its own
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_BSP_SCHEDULE_DELAY": "60000",  # nothing is tried before the end
        }
        command = [sys.executable, "-m", "uvicorn", "app:app", "--port", str(port), "--log-level", "warning", *more]
        with running(command, cwd=tmp_path, port=port, environ=environ) as server:
            for _ in range(REQUESTS):
                assert server.ask("/", {}) == {}
            began = time.monotonic()
            server.stop(how)
            took = time.monotonic() - began
            lines = [line for line in server.output().splitlines() if line.strip()]
    assert took < LATEST_END
    assert 1 <= len(lines) <= (2 if "--workers" in more else 1), lines
    assert all(line.startswith("spans do not reach") and endpoint in line for line in lines), lines
