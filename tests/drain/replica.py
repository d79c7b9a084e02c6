"""One replica of the service: started, told to end, and started again on the same port."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from tests.shadow.processes import free_port

__all__ = ["SERVERS", "Replica"]

ROOT = Path(__file__).parents[2]
SERVERS = {
    "uvicorn": "uvicorn {app} --port {port} --log-level warning",
    "uvicorn-workers": "uvicorn {app} --port {port} --workers 2 --log-level warning",
    "gunicorn": "gunicorn -k uvicorn_worker.UvicornWorker {app} --bind 127.0.0.1:{port}",
    "hypercorn": "hypercorn {app} --bind 127.0.0.1:{port}",
    "hypercorn-alone": "hypercorn --workers 0 {app} --bind 127.0.0.1:{port}",
    "hypercorn-trio": "hypercorn -k trio {app} --bind 127.0.0.1:{port}",
    "granian": "granian --interface asgi {app} --port {port}",
}
ENDS_WITHIN = 120.0


class Replica:
    """`environ` is added to a small environment; what it prints goes to a file in `folder`."""

    def __init__(self, server: str, folder: Path, environ: dict[str, str], *more: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / f"{self.port}.log"
        program, *arguments = SERVERS[server].format(app="tests.drain.service:app", port=self.port).split()
        self._command = [str(Path(sys.executable).parent / program), *arguments, *more]
        self._environ = {
            "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])),
            "HOME": str(folder),
            "PYTHONPATH": str(ROOT),
            **environ,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process; whether it is ready is to be asked."""
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                self._command, cwd=ROOT, env=self._environ, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                start_new_session=True,
            )  # fmt: skip

    def signal(self, number: int) -> None:
        """Send it to the process itself, not to its children."""
        assert self._process is not None
        self._process.send_signal(number)

    def interrupt(self) -> None:
        """Ctrl-C: a terminal sends SIGINT to the whole group."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGINT)

    def wait(self, seconds: float) -> int:
        """The exit code, once it has ended."""
        assert self._process is not None
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"has not ended after {seconds:g} s:\n{self.output()}") from None

    @property
    def ended(self) -> bool:
        """Whether the process has ended."""
        return self._process is not None and self._process.poll() is not None

    def output(self) -> str:
        """What it has printed."""
        return self.log.read_text("utf-8", "replace")

    async def end(self) -> tuple[int, float]:
        """SIGTERM, and wait: the exit code, and how many seconds it took."""
        began = time.monotonic()
        self.signal(signal.SIGTERM)
        code = await asyncio.to_thread(self.wait, ENDS_WITHIN)
        return code, time.monotonic() - began

    def kill(self) -> None:
        """Whatever is left of it."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(ENDS_WITHIN)
