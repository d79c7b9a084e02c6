"""Workers that come and go under load: each answered request has its SERVER span at the collector, and only one."""

import importlib.util
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.shadow.processes import Server, free_port, running

APP = """
import json, os
from handrail import protect

async def app(scope, receive, send):
    assert scope["type"] == "http", "knows no lifespan"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(os.getpid()).encode()})

app = protect(app)
"""
BOUND = 60.0


class Collector:
    """Keeps the url.path of every SERVER span that it is sent."""

    def __init__(self) -> None:
        self.paths: Counter[str] = Counter()
        self.url = ""

    def take(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.paths.update(a.value.string_value for a in span.attributes if a.key == "url.path")


@contextmanager
def collecting() -> Iterator[Collector]:
    made = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.path == "/v1/traces":
                made.take(body)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        made.url = f"http://127.0.0.1:{server.server_port}"
        yield made
        server.shutdown()
        thread.join()


def until(condition: Callable[[], bool], what: Callable[[], object]) -> None:
    ends = time.monotonic() + BOUND
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < ends, what()
        pause.wait(0.02)


def environ(folder: Path, collector: Collector, **more: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "60000",
        "HANDRAIL_FLUSH_TIMEOUT": "30",  # a busy machine may need longer than 2 s
        **more,
    }


def ask(server: Server, path: str) -> int | None:
    """The pid that answered; None where the worker was on its way out."""
    try:
        return int(server.ask(path, {}))  # type: ignore[call-overload, no-any-return]  # JSON of a number
    except AssertionError as error:
        # A recycled worker may cut a connection that it has not yet read from.
        if any(word in str(error) for word in ("reset", "RemoteDisconnected", "closed")):
            return None
        raise


SERVERS = {
    "uvicorn, workers recycled": ["uvicorn", "app:app", "--workers", "2", "--limit-max-requests", "15"],
    "gunicorn --preload, workers recycled": [
        *("gunicorn", "app:app", "--preload", "--workers", "2", "--max-requests", "15", "--max-requests-jitter", "3"),
    ],
}


@pytest.mark.parametrize("kind", SERVERS)
def test_workers_that_are_recycled(kind: str, tmp_path: Path) -> None:
    """A3 (fork): two workers at a time that end after fifteen requests, five in all, a SIGTERM: each span, once."""
    command = [sys.executable, "-m", *SERVERS[kind]]
    port = free_port()
    if "gunicorn" in command:
        worker = "uvicorn_worker.UvicornWorker" if importlib.util.find_spec("uvicorn_worker") else "asgi"
        command += ["--worker-class", worker, "--bind", f"127.0.0.1:{port}", "--log-level", "warning"]
    else:
        command += ["--port", str(port), "--log-level", "warning"]
    (tmp_path / "app.py").write_text(APP)
    with collecting() as collector:
        with running(command, cwd=tmp_path, port=port, environ=environ(tmp_path, collector)) as server:
            pids: dict[str, int | None] = {}

            def recycled() -> bool:
                for _ in range(10):
                    pids[f"/{len(pids)}"] = ask(server, f"/{len(pids)}")
                return len({pid for pid in pids.values() if pid is not None}) > 4

            until(recycled, server.output)
            server.stop()
        answered = {path for path, pid in pids.items() if pid is not None}
        until(lambda: answered <= collector.paths.keys(), lambda: answered - collector.paths.keys())
    assert set(collector.paths.values()) == {1}


def test_a_reload(tmp_path: Path) -> None:
    """A3 (spawn): the process before a reload hands in its spans, and so does the one after it."""
    (tmp_path / "app.py").write_text(APP)
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "app:app", "--reload", "--port", str(port), "--log-level", "warning"]
    with collecting() as collector:
        with running(command, cwd=tmp_path, port=port, environ=environ(tmp_path, collector)) as server:
            first = ask(server, "/before")
            asked: list[int | None] = []
            changed = -60.0

            def reloaded() -> bool:
                nonlocal changed
                if time.monotonic() - changed > 5:  # uvicorn may not have looked at the file before the first change
                    changed = time.monotonic()
                    (tmp_path / "app.py").write_text(f"{APP}\n# changed {changed}\n")
                asked.append(ask(server, f"/{len(asked)}"))
                return asked[-1] not in (None, first)

            until(reloaded, server.output)
            server.stop()
        answered = {"/before", *(f"/{number}" for number, pid in enumerate(asked) if pid is not None)}
        until(lambda: answered <= collector.paths.keys(), lambda: answered - collector.paths.keys())
    assert set(collector.paths.values()) == {1}


def test_a_machine_that_is_stopped_when_idle(tmp_path: Path) -> None:
    """The spans leave by themselves after the last request; a kill -9 that comes then takes nothing with it."""
    (tmp_path / "app.py").write_text(APP)
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "app:app", "--port", str(port), "--log-level", "warning"]
    with (
        collecting() as collector,
        running(command, cwd=tmp_path, port=port, environ=environ(tmp_path, collector)) as server,
    ):
        for number in range(5):
            assert ask(server, f"/{number}") is not None
        until(lambda: len(collector.paths) == 5, lambda: collector.paths)
        server.process.send_signal(signal.SIGKILL)
    assert set(collector.paths.values()) == {1}


POOL = """
import multiprocessing, os, sys
from pathlib import Path
from handrail.tracing.provider import start
from handrail.tracing.settings import from_environ

def trace(name):
    settings, problems = from_environ(os.environ, service_name="pool", store=Path("unused"))
    global tracing
    tracing = start(settings)
    tracing.tracer.start_span("work", attributes={"url.path": name}).end()

def child(name):
    if sys.argv[1] == "spawn":
        trace(name)
    else:
        tracing.tracer.start_span("work", attributes={"url.path": name}).end()

if __name__ == "__main__":
    trace("/parent")
    how = multiprocessing.get_context(sys.argv[1])
    children = [how.Process(target=child, args=(f"/{n}",)) for n in range(3)]
    for process in children:
        process.start()
    for process in children:
        process.join()
"""


@pytest.mark.parametrize("how", ["fork", "spawn"])
def test_children_of_multiprocessing(how: str, tmp_path: Path) -> None:
    """They end without atexit, and hand in their spans all the same; the parent's own leave once."""
    import subprocess

    (tmp_path / "pool.py").write_text(POOL)
    with collecting() as collector:
        done = subprocess.run(
            [sys.executable, "pool.py", how],
            cwd=tmp_path,
            env=environ(tmp_path, collector),
            capture_output=True,
            text=True,
            timeout=200,
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert collector.paths == {"/parent": 1, "/0": 1, "/1": 1, "/2": 1}, json.dumps(collector.paths)
