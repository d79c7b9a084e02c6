"""The services of docker-compose.yml as plain processes: same commands, same environment, other addresses."""

import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from examples.order_service.ports import free_ports

__all__ = ["ComposeOutside"]

ROOT = Path(__file__).resolve().parents[2]
BOUND = 90.0


class ComposeOutside:
    """Starts services in the order in which `depends_on` asks for it, each when those are healthy.

    Only what a container gives a process is replaced: host names and ports, the volume, the program's path.
    """

    def __init__(self, folder: Path, jaeger: str) -> None:
        self.folder = folder
        self.services: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
        names = [name for name in self.services if name != "jaeger"]
        ports = zip(names, free_ports(len(names)), strict=True)
        self.addresses = {f"{name}:8000": f"127.0.0.1:{port}" for name, port in ports}
        self.addresses["jaeger:4318"] = jaeger.removeprefix("http://")
        self.started: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self.started.values():
            process.terminate()
        for process in self.started.values():
            try:
                process.wait(BOUND)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def url(self, name: str) -> str:
        """Where a service listens."""
        return f"http://{self.addresses[f'{name}:8000']}"

    def up(self, name: str) -> None:
        """Start what `name` waits for, wait until that is healthy, start it."""
        for needed in self.services[name].get("depends_on", {}):
            if needed != "jaeger" and needed not in self.started:
                self.up(needed)
                self.wait_healthy(needed)
        with (self.folder / f"{name}.log").open("wb") as log:
            self.started[name] = subprocess.Popen(
                self.command(name), env=self.environment(name), cwd=ROOT, stdout=log, stderr=log
            )

    def wait_healthy(self, name: str) -> None:
        """Run the service's own health check until it passes."""
        kind, *test = self.services[name]["healthcheck"]["test"]
        assert kind == "CMD"
        ends = time.monotonic() + BOUND
        command = self._outside(name, test)
        while subprocess.run(command, capture_output=True, env=self.environment(name)).returncode:
            exited = self.started[name].poll() is not None
            assert time.monotonic() < ends, self.log(name)
            assert not exited, self.log(name)

    def command(self, name: str) -> list[str]:
        """The service's command with addresses of this machine."""
        return self._outside(name, self.services[name]["command"])

    def environment(self, name: str) -> dict[str, str]:
        """The service's environment with addresses of this machine, and nothing of the tests' own."""
        declared = {key: self._moved(str(value)) for key, value in self.services[name]["environment"].items()}
        declared["DATA_DIR"] = str(self.folder)
        return {"PATH": os.environ["PATH"], "NO_PROXY": "127.0.0.1", **declared}

    def log(self, name: str) -> str:
        """What a service wrote."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def _outside(self, name: str, command: list[str]) -> list[str]:
        program, *arguments = command
        assert program in ("python", "uvicorn"), f"{shlex.join(command)}: not in the image"
        start = [sys.executable] if program == "python" else [sys.executable, "-m", program]
        port = self.url(name).rpartition(":")[2]
        own = {"0.0.0.0": "127.0.0.1", "8000": port}
        arguments = [own.get(argument, argument) for argument in arguments]
        return start + [self._moved(argument.replace("127.0.0.1:8000", f"127.0.0.1:{port}")) for argument in arguments]

    def _moved(self, text: str) -> str:
        known = "|".join(map(re.escape, self.addresses))
        return re.sub(rf"(?<=//)({known})", lambda found: self.addresses[found[1]], text)
