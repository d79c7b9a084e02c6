"""The real Postgres on a free port, in a folder of its own: started, frozen, killed and started again by tests."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from examples.order_service.ports import free_ports
from tests.redis_server import until

__all__ = ["PostgresServer", "programs"]

DEBIAN = Path("/usr/lib/postgresql")
"""Where Debian puts the programs, a folder for each version; elsewhere they are on PATH."""
SAFE = ("-c", "full_page_writes=off", "-c", "fsync=off", "-c", "max_connections=60", "-c", "log_min_messages=warning")


def programs() -> Path:
    """The folder of `initdb` and `postgres`. Without them the test is skipped, and fails where REQUIRE_POSTGRES=1."""
    found = sorted(DEBIAN.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    if found or on_path:
        return (found[-1] if found else Path(str(on_path)).resolve()).parent
    text = f"no Postgres found in {DEBIAN} or on PATH: `apt install postgresql` installs one"
    if os.environ.get("REQUIRE_POSTGRES") == "1":
        pytest.fail(text)
    pytest.skip(text)


def _user() -> str | None:
    """Whom it runs as, since Postgres refuses root; None where we are not root."""
    if os.geteuid() != 0:
        return None
    with contextlib.suppress(KeyError):
        return pwd.getpwnam("postgres").pw_name
    return "nobody"


class PostgresServer:
    """Runs while the block runs; its log is in `folder`, `options` are those of its command line.

    The superuser is `boss`, without password. `of`: a primary that this is to be a standby of.
    """

    def __init__(self, folder: Path, *options: str, of: "PostgresServer | None" = None) -> None:
        self._primary = of
        self._programs = programs()
        self.port = free_ports(1)[0]
        self.url = f"postgresql://boss@127.0.0.1:{self.port}/postgres"
        self._log = folder / "postgres.log"
        # Not in that folder: another user must be able to enter it, and a socket's path is short.
        self.folder = Path(tempfile.mkdtemp(prefix="handrail-pg-", dir="/tmp"))
        self._user = _user()
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            if self._user is not None:
                shutil.chown(self.folder, self._user)
            if self._primary is None:
                self._do("initdb", "-D", str(self.data), "-U", "boss", "-A", "trust", "-N", "-E", "UTF8", "--locale=C")
            else:
                self._do("pg_basebackup", "-D", str(self.data), "-d", self._primary.url, "-c", "fast", "-N", "-R")
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def data(self) -> Path:
        """The cluster's folder."""
        return self.folder / "data"

    def start(self) -> None:
        """Start it, with what it held, and wait until it takes connections."""
        bound = ("-D", str(self.data), "-h", "127.0.0.1", "-p", str(self.port), "-k", str(self.folder))
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._programs / "postgres"), *bound, *SAFE, *self._options],
                stdout=log,
                stderr=log,
                user=self._user,
                cwd=self.folder,
                start_new_session=True,
            )
        try:
            until(self._ready, "postgres")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Kill it, and its children with it: only what was committed stays."""
        if self._process is None:
            return
        self._signal(signal.SIGKILL)
        self._process.wait()
        until(lambda: not self._children(), "the end of postgres")
        # What a killed one leaves behind keeps the next from its start, until the number is free again.
        with contextlib.suppress(FileNotFoundError):
            (self.data / "postmaster.pid").unlink()
        self._process = None

    def freeze(self) -> None:
        """Stop all its processes: connections are still made, and nothing answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen one go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        # Its children are leaders of sessions of their own: each is signalled, the parent first, so that it cannot
        # make another meanwhile.
        assert self._process is not None
        for pid in (self._process.pid, *self._children()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _children(self) -> Sequence[int]:
        """Its processes but for the first: they stand in the cluster's folder, and so do none of others."""
        assert self._process is not None
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdecimal() and (entry / "cwd").readlink() == self.data:
                    found.append(int(entry.name))
        return [pid for pid in found if pid != self._process.pid]

    def _do(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._programs / program), *arguments],
            user=self._user,
            cwd=self.folder,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-2000:]

    def _ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text(errors="replace")[-2000:]
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", self.port)) != 0:
                return False
        # It listens before it has recovered.
        asked = [str(self._programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(asked).returncode == 0
