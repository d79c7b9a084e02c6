"""The real Redis on a free port, without a file on disk: started, frozen, killed and started again by tests."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from examples.order_service.ports import free_ports

__all__ = ["BOUND", "RedisServer", "binary", "until"]

BOUND = 60.0


def binary() -> Path:
    """The server's program. Without one the test is skipped, and fails where REQUIRE_REDIS=1 (`.ci/run`)."""
    found = shutil.which("redis-server")
    if found is None:
        text = "no redis-server found on PATH: `apt install redis-server` installs one"
        if os.environ.get("REQUIRE_REDIS") == "1":
            pytest.fail(text)
        pytest.skip(text)
    return Path(found)


def until(condition: Callable[[], object], what: str = "the condition") -> None:
    """Poll until `condition()` holds; AssertionError after the bound."""
    ends = time.monotonic() + BOUND
    while not condition():
        assert time.monotonic() < ends, f"{what} did not come about in {BOUND:g} s"
        time.sleep(0.02)  # noqa: TID251  (between two looks at other threads and processes)


class RedisServer:
    """Runs while the block runs; `options` are those of its command line."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.binary = binary()
        self.port = free_ports(1)[0]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.socket = folder / "redis.sock"
        self._log = folder / "redis.log"
        self._folder = folder
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start, empty, and wait until it takes connections."""
        bound = ("--bind", "127.0.0.1", "--port", str(self.port), "--unixsocket", str(self.socket))
        command = [str(self.binary), *bound, "--save", "", "--appendonly", "no", "--dir", str(self._folder)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen([*command, *self._options], stdout=log, stderr=log)
        try:
            until(self._listens, "redis-server")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Kill it: what it held is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Stop it so that connections are still made, and nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen one go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text(errors="replace")[-2000:]
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
