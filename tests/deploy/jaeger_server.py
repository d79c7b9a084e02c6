"""The real Jaeger with the very configuration of docker-compose.yml, on ports of its own."""

import os
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from examples.order_service.ports import free_ports

__all__ = ["CONFIG", "KEEP_ALL", "TAIL_SAMPLING", "JaegerServer"]

CONFIG = Path(__file__).resolve().parents[2] / "deploy" / "jaeger" / "config.yaml"
KEEP_ALL = CONFIG.with_name("keep-all.yaml")
TAIL_SAMPLING = CONFIG.with_name("tail-sampling.yaml")
PORTS: tuple[str, ...] = (
    "JAEGER_HEALTH",
    "JAEGER_QUERY_HTTP",
    "JAEGER_QUERY_GRPC",
    "JAEGER_OTLP_GRPC",
    "JAEGER_OTLP_HTTP",
    "JAEGER_SPAN_METRICS",
)
BOUND = 90.0


class JaegerServer:
    """Runs while the block runs. Everything is read with `/api/v3`, raw: reads must not change what is stored."""

    def __init__(
        self,
        binary: Path,
        folder: Path,
        config: Path = CONFIG,
        sampling: Path = KEEP_ALL,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.binary = binary
        self.configs = (config, sampling)
        self._environ = dict(environ or {})
        self.log = folder / "jaeger.log"
        ports = zip(PORTS, free_ports(len(PORTS)), strict=True)
        self.addresses = {name: f"127.0.0.1:{port}" for name, port in ports}
        self.health = f"http://{self.addresses['JAEGER_HEALTH']}/status"
        self.query = f"http://{self.addresses['JAEGER_QUERY_HTTP']}"
        self.otlp_http = f"http://{self.addresses['JAEGER_OTLP_HTTP']}"
        self.otlp_grpc = f"http://{self.addresses['JAEGER_OTLP_GRPC']}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        ui = {"JAEGER_UI_CONFIG": str(CONFIG.with_name("ui.json"))}
        environ = {**os.environ, **self.addresses, **ui, **self._environ}
        command = [str(self.binary), *(word for config in self.configs for word in ("--config", str(config)))]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(command, env=environ, stdout=log, stderr=log)
        try:
            self.wait(self.is_healthy)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process; kill it where it does not end within the bound."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(BOUND)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def signal(self, number: int) -> None:
        """Send a signal to the process: SIGKILL, SIGSTOP, SIGCONT."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def is_healthy(self) -> bool:
        """Jaeger's own end-to-end tests wait for exactly this."""
        with suppress(httpx.HTTPError):
            return bool(httpx.get(self.health, trust_env=False).json()["status"] == "StatusOK")
        return False

    def wait(self, condition: Callable[[], object]) -> None:
        """Poll until `condition()` holds; AssertionError with the end of Jaeger's log otherwise."""
        ends = time.monotonic() + BOUND
        while not condition():
            assert self._process is not None
            exited = self._process.poll() is not None
            in_time = time.monotonic() < ends and not exited
            assert in_time, self.log.read_text(errors="replace")[-3000:]
            time.sleep(0.05)  # noqa: TID251  (between two looks at a process)

    def get(self, path: str, **params: str) -> Any:
        """JSON of an `/api/v3` address, or None where there is nothing."""
        response = httpx.get(f"{self.query}{path}", params=params, timeout=60, trust_env=False)
        return None if response.status_code == 404 else response.raise_for_status().json()

    def services(self) -> set[str]:
        """Every service that sent a span."""
        return set((self.get("/api/v3/services") or {}).get("services", ()))
