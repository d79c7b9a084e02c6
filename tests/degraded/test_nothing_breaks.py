"""Where spans cannot go anywhere: one clear warning, every request answered, an end in time, under a real uvicorn."""

import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from handrail.tracing.export.health import lost
from tests.shadow.processes import free_port, running

APP = """
import os
import socket
if os.environ.get("FILE_LIMIT"):
    import resource, signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit is then an error, as on a full disk
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
from handrail import protect

async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})

app = protect(app)
"""
REQUESTS = 30
LATEST_END = 9.5
"""Seconds: the flush's 2 and the end of the interpreter on a busy machine; the exporter's own 10 are not waited for."""


def _dead_collector(_folder: Path) -> dict[str, str]:
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}"}


def _unwritable_store(folder: Path) -> dict[str, str]:
    (folder / "file").touch()
    return {"HANDRAIL_TRACES_DIR": str(folder / "file" / "traces")}


def _full_disk(folder: Path) -> dict[str, str]:
    return {"HANDRAIL_TRACES_DIR": str(folder / "traces"), "FILE_LIMIT": "1"}


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (_dead_collector, "connection refused"),
        (_unwritable_store, "Not a directory"),
        (_full_disk, "File too large"),
    ],
    ids=["dead collector", "unwritable store", "full disk"],
)
def test_requests_go_on(tmp_path: Path, trouble: Callable[[Path], dict[str, str]], said: str) -> None:
    """All requests are answered, exactly one line says what is wrong, and the process ends in time."""
    (tmp_path / "app.py").write_text(APP)
    port = free_port()
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "HANDRAIL_BLOCKED_LOOP": "0",  # a busy machine holds the loop up too, which would be a line of its own
        "OTEL_BSP_SCHEDULE_DELAY": "50",
        **trouble(tmp_path),
    }
    command = [sys.executable, "-m", "uvicorn", "app:app", "--port", str(port), "--log-level", "warning"]
    with running(command, cwd=tmp_path, port=port, environ=environ) as server:
        for _ in range(REQUESTS):
            server.ask("/", {})
        began = time.monotonic()
        server.stop()
        assert time.monotonic() - began < LATEST_END
        lines = [line for line in server.output().splitlines() if line.strip()]
    assert len(lines) == 1, lines
    assert said in lines[0]
    assert "requests" in lines[0]


def test_a_frozen_collector_is_seen_by_doctor(tmp_path: Path) -> None:
    """A3: it accepts and never answers: requests go on, the end keeps its limit, doctor shows every lost span."""
    (tmp_path / "app.py").write_text(APP)
    port = free_port()
    with socket.socket() as there:
        there.bind(("127.0.0.1", 0))
        there.listen(64)
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{there.getsockname()[1]}",
            "OTEL_METRICS_EXPORTER": "none",
        }
        command = [sys.executable, "-m", "uvicorn", "app:app", "--port", str(port), "--log-level", "warning"]
        with running(command, cwd=tmp_path, port=port, environ=environ) as server:
            for _ in range(REQUESTS):
                server.ask("/", {})
            began = time.monotonic()
            server.stop()
            assert time.monotonic() - began < LATEST_END
    # uvicorn ends by its signal, before atexit: what is told was told when the flush gave up.
    (found,) = lost(tmp_path / ".local" / "state" / "handrail" / "traces")
    assert (found.count, found.exported, found.alive) == (REQUESTS, 0, False)
