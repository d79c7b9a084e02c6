"""Real servers as real processes: free ports, a bounded wait for the answer, a clean stop, an end in any case."""

import http.client
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from examples.order_service.ports import free_ports

START = 60.0
"""Seconds within which a server must have answered, on a busy machine with few cores."""

STOP = 30.0
"""Seconds within which it must have ended after SIGTERM."""


class Upstream:
    """A server that answers 503 to the first request of each trace, so that a single retry is enough."""

    def __init__(self) -> None:
        self.seen: list[dict[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                trace_id = self.headers.get("traceparent", "--").split("-")[1]
                with outer._lock:
                    first = not outer.of_trace(trace_id)
                    outer.seen.append({name.lower(): value for name, value in self.headers.items()})
                self.send_response(503 if first else 200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def of_trace(self, trace_id: str) -> list[dict[str, str]]:
        """Return the headers of the requests that came in one trace, in order."""
        return [headers for headers in self.seen if trace_id in headers.get("traceparent", "")]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/stock"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def free_port() -> int:
    """Return a port nobody listens on and no other test will be given."""
    return free_ports(1)[0]


class Server:
    """A running server; `ask` waits until it answers."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self.log = log

    def ask(self, path: str, headers: dict[str, str]) -> dict[str, Any]:
        """GET the path, until the server listens; raises AssertionError with its output if it never does."""
        until = time.monotonic() + START
        while time.monotonic() < until:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=START)
            try:
                connection.request("GET", path, headers=headers)
                reply = connection.getresponse()
                body = reply.read()
                assert reply.status == 200, f"{reply.status} {body!r}\n{self.output()}"
                answer: dict[str, Any] = json.loads(body)
                return answer
            except ConnectionRefusedError:
                with suppress(subprocess.TimeoutExpired):  # the wait between two looks, and it notices an early end
                    self.process.wait(0.05)
                    raise AssertionError(f"ended at once:\n{self.output()}") from None
            except (OSError, http.client.HTTPException) as error:
                raise AssertionError(f"{error!r}\n{self.output()}") from error
            finally:
                connection.close()
        raise AssertionError(f"no answer in {START} s:\n{self.output()}")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Ask it to stop, and wait until it has."""
        self.process.send_signal(how)
        try:
            self.process.wait(STOP)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"did not stop in {STOP} s:\n{self.output()}") from None

    def output(self) -> str:
        return self.log.read_text("utf-8", "replace")


@contextmanager
def running(command: list[str], *, cwd: Path, port: int, environ: dict[str, str]) -> Iterator[Server]:
    """Start a command in its own process group, which ends with the block whatever happens."""
    log = cwd / "server.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=cwd, env=environ, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
    try:
        yield Server(process, port, log)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(STOP)
