"""The service under a real server, with handrail and without: a process of its own, one worker."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from examples.order_service.ports import free_ports

__all__ = ["EVERYTHING", "SERVERS", "Server", "Start", "server"]

ROOT = Path(__file__).resolve().parents[2]
APP = "tests.passthrough.streaming_service:app"
SERVERS: dict[str, list[str]] = {
    "uvicorn": ["-m", "uvicorn", APP, "--port", "{port}", "--no-access-log", "--ws", "websockets-sansio"],
    "hypercorn": ["-m", "hypercorn", APP, "--bind", "127.0.0.1:{port}"],
    "granian": ["-m", "granian", "--interface", "asgi", APP, "--port", "{port}", "--http", "auto"],
}
START = 60.0
EVERYTHING = {
    "HANDRAIL_CLIENT_MAX": "1000",
    "HANDRAIL_PRIORITY_ROUTES": "/events=critical,/pieces=sheddable",
    "HANDRAIL_PRIORITY_HEADER": "x-priority",
    "HANDRAIL_SINGLE_FLIGHT_ROUTES": "/seen",
    "HANDRAIL_BODY_MAX": str(1 << 30),
}
"""What is not on by default, and can be on for streams."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running one. `pids`: the process and its workers, for their memory."""

    name: str
    port: int
    process: "subprocess.Popen[bytes]"

    def pids(self) -> list[int]:
        """The process and its children."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [self.process.pid, *map(int, children)]


class Start(Protocol):
    """Gives a running server by its name."""

    def __call__(self, name: str, *, guarded: bool = True) -> Server:
        """With handrail, or without."""
        ...


@contextmanager
def server(
    name: str, folder: Path, settings: Mapping[str, str] | None, environ: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """Runs until the block ends; with handrail under these settings, None: without.

    Raises AssertionError with its log where it does not start within a minute.
    """
    (port,) = free_ports(1)
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HANDRAIL_", "OTEL_"))}
    settings = {"HANDRAIL_ENABLED": "false"} if settings is None else settings
    env = {
        **kept,
        **settings,
        "HANDRAIL_TRACES_DIR": str(folder / "traces"),
        "PYTHONUNBUFFERED": "1",
        **(environ or {}),
    }
    log = folder / f"{name}-{port}.log"
    command = [sys.executable, *(part.format(port=port) for part in SERVERS[name])]
    with log.open("wb") as written:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=written, stderr=written)
    try:
        _wait(process, port, log)
        yield Server(name, port, process)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    ends = time.monotonic() + START
    while time.monotonic() < ends and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), 5) as probe:
                probe.settimeout(5)
                probe.sendall(b"GET /ready HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
                if b" 200 " in probe.recv(100):
                    return
        except OSError:
            pass
        time.sleep(0.05)  # noqa: TID251  (between two looks at a process)
    raise AssertionError(f"did not start: {log.read_text(errors='replace')[-3000:]}")
