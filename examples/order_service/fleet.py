"""The four services as real uvicorn processes on free ports of this machine."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from .ports import free_ports

__all__ = ["SERVICES", "Fleet", "FleetError"]

SERVICES: tuple[str, ...] = ("inventory", "payment", "shipping", "order")
ROOT = Path(__file__).resolve().parents[2]
START_BOUND = 30.0
STOP_BOUND = 8.0


class FleetError(RuntimeError):
    """A service did not come up; the message holds the end of its log."""


def _neutral(environ: Mapping[str, str]) -> dict[str, str]:
    """Without what would make one machine's run differ from another's."""
    kept = {name: value for name, value in environ.items() if not name.startswith(("HANDRAIL_", "OTEL_"))}
    return {**kept, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "PYTHONUNBUFFERED": "1"}


class Fleet:
    """Starts on entering, ends on leaving only what it started. `folder` gets databases and logs.

    `environ` is added for every service to this process's environment, of which HANDRAIL_*, OTEL_*
    and proxies do not count. Raises FleetError when a service is not healthy within 30 seconds.
    """

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.environ = {**_neutral(os.environ), **environ, "DATA_DIR": str(folder)}
        self.ports = dict(zip(SERVICES, free_ports(len(SERVICES)), strict=True))
        self.environ |= {f"{name.upper()}_URL": self.url(name) for name in SERVICES}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._closed = False
        self._lock = threading.Lock()  # closing may meet a launch on another thread

    def url(self, name: str) -> str:
        """Where a service listens."""
        return f"http://127.0.0.1:{self.ports[name]}"

    def __enter__(self) -> Self:
        try:
            for name in SERVICES:
                self.launch(name)
            for name in SERVICES:
                self.wait_healthy(name)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def launch(self, name: str) -> None:
        """Start one service; it is not ready yet."""
        command = [sys.executable, "-m", "uvicorn", f"examples.order_service.{name}:served"]
        command += ["--host", "127.0.0.1", "--port", str(self.ports[name])]
        command += ["--no-access-log", "--timeout-graceful-shutdown", "4"]
        with self._lock, (self.folder / f"{name}.log").open("ab") as log:
            if self._closed:
                raise FleetError(f"{name} is not started: the fleet has been closed")
            answers = f"sqlite:///{self.folder.absolute()}/{name}.answers.sqlite"  # those of this run alone
            environ = {"HANDRAIL_IDEMPOTENCY_STORE": answers, **self.environ, "OTEL_SERVICE_NAME": name}
            self.processes[name] = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=log, stderr=log)

    def wait_healthy(self, name: str) -> None:
        """Wait until a service answers its health check."""
        ends = time.monotonic() + START_BOUND
        while time.monotonic() < ends:
            process = self.processes.get(name)
            if process is None or process.poll() is not None:
                break
            with suppress(httpx.HTTPError):
                if httpx.get(f"{self.url(name)}/healthz", timeout=2, trust_env=False).is_success:
                    return
            time.sleep(0.05)
        raise FleetError(f"{name} did not come up:\n{self.log(name)[-2000:]}")

    def start(self, name: str) -> None:
        """Start one service and wait until it is ready."""
        self.launch(name)
        self.wait_healthy(name)

    def stop(self, *names: str) -> None:
        """End services gracefully; from then on their ports refuse connections."""
        with self._lock:
            ending = [self.processes.pop(name) for name in names if name in self.processes]
        for process in ending:
            process.terminate()
        for process in ending:
            try:
                process.wait(STOP_BOUND)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def fault(self, name: str, **plan: float | list[str]) -> None:
        """Replace the faults of a service; no argument at all heals it."""
        httpx.put(f"{self.url(name)}/_faults", json=plan, timeout=5, trust_env=False).raise_for_status()

    def log(self, name: str) -> str:
        """What a service wrote so far."""
        with suppress(FileNotFoundError):
            return (self.folder / f"{name}.log").read_text(errors="replace")
        return ""

    def close(self) -> None:
        """End what still runs, for good: the caller first, so that no call of its breaks."""
        with self._lock:
            self._closed = True
        try:
            self.stop("order")
        finally:
            self.stop(*SERVICES)
