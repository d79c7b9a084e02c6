"""An application that raises in the lifespan scope: its server says what that means, and the spans leave anyway."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.shadow.processes import free_port, running

APP = """
from handrail import protect

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        raise ConnectionError("no database here")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})

app = protect(app)
"""
REQUESTS = 5
SERVERS = {
    "uvicorn": "uvicorn app:app --port {port}",
    "uvicorn-workers": "uvicorn app:app --port {port} --workers 2",
    "gunicorn": "gunicorn -k uvicorn_worker.UvicornWorker app:app --bind 127.0.0.1:{port}",
    "hypercorn": "hypercorn app:app --bind 127.0.0.1:{port}",
    "hypercorn-trio": "hypercorn -k trio app:app --bind 127.0.0.1:{port}",
    "granian": "granian --interface asgi app:app --port {port}",
}


def _environ(folder: Path) -> dict[str, str]:
    (folder / "app.py").write_text(APP)
    return {
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
        "HOME": str(folder),
        "PYTHONPATH": str(folder),
        "OTEL_TRACES_EXPORTER": "console",
        "OTEL_BSP_SCHEDULE_DELAY": "60000",  # nothing leaves but by the flush at the end
    }


@pytest.mark.parametrize("command", SERVERS.values(), ids=SERVERS)
def test_every_span_leaves_though_the_server_ends_no_lifespan(tmp_path: Path, command: str) -> None:
    """The server goes on without lifespan, as without us, and the flush hangs on its own end: each span once."""
    port = free_port()
    with running(shlex.split(command.format(port=port)), cwd=tmp_path, port=port, environ=_environ(tmp_path)) as server:
        for _ in range(REQUESTS):
            assert server.ask("/", {}) == {}
        server.stop()
        said = server.output()
    assert said.count('"kind": "SpanKind.SERVER"') == REQUESTS, said


def test_a_failed_start_ends_uvicorn_where_lifespan_is_on(tmp_path: Path) -> None:
    """As without us: exit status 3, and the exception in the log."""
    done = subprocess.run(
        [sys.executable, "-m", "uvicorn", "app:app", "--port", str(free_port()), "--lifespan", "on"],
        cwd=tmp_path,
        env=_environ(tmp_path),
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 3, done.stderr
    assert "ConnectionError: no database here" in done.stderr
    assert "Application startup failed. Exiting." in done.stderr
