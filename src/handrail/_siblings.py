"""What the workers of one parent tell each other: that somebody asks for readiness on the socket that they share.

A question reaches one of them by chance. Each that was asked has an empty file in a folder of their parent, and its
time is when that was; the folder goes with the last file. A single worker writes nothing.
"""

import logging
import os
import re
import sys
import time
from contextlib import suppress
from pathlib import Path

__all__ = ["heard", "leave", "tell"]

_log = logging.getLogger("handrail")
_AGAIN = 1.0
"""Seconds between two looks at whether there is something to tell."""
_now = time.monotonic
_looked_at: float | None = None
_mine: Path | None = None
_said = False


def tell(state: Path, within: float) -> None:
    """Say that somebody asked. `state` is where folders of parents stand: older than `within` seconds they go."""
    global _looked_at, _mine, _said
    now = _now()
    if _looked_at is not None and now - _looked_at < _AGAIN:
        return
    _looked_at = now
    if not _is_worker() or not _has_siblings():
        return
    file = _folder(state) / str(os.getpid())
    try:
        if _mine is None:
            _sweep(file.parent.parent, within)
        _touch(file)
        _mine = file
    except OSError as error:
        if not _said:
            _said = True
            _log.warning(
                "workers cannot tell each other that readiness is asked for, so some may end without drain_wait: %s. "
                "Give the service a home or XDG_STATE_HOME that can be written",
                error,
            )


def heard(state: Path, within: float) -> bool:
    """Whether one of the workers was asked in the last so many seconds."""
    return _is_worker() and _newest(_folder(state)) > time.time() - within


def leave() -> None:
    """Take back what this worker has said: it ends."""
    global _looked_at, _mine
    file, _mine, _looked_at = _mine, None, None
    if file is not None:
        with suppress(OSError):  # gone, or others are still there
            file.unlink(missing_ok=True)
            file.parent.rmdir()


def _is_worker() -> bool:
    process = sys.modules.get("multiprocessing.process")
    return "gunicorn.arbiter" in sys.modules or (process is not None and process.parent_process() is not None)


def _has_siblings() -> bool:
    """Whether the parent has another child that was started as this one was. Without /proc nobody knows: it may."""
    lists = [*Path(f"/proc/{os.getppid()}/task").glob("*/children")]
    try:
        children = {int(pid) for one in lists for pid in one.read_bytes().split()}
        mine = _command(os.getpid())
    except OSError:
        return True
    return not lists or any(_command(pid) == mine for pid in children - {os.getpid()})


def _command(pid: int) -> bytes:
    """Its command line without numbers, which are of its pipes; empty where it has ended."""
    try:
        return re.sub(rb"\d+", b"", Path(f"/proc/{pid}/cmdline").read_bytes())
    except OSError:
        return b""


def _folder(state: Path) -> Path:
    """The parent's; its number alone comes again."""
    parent, start = os.getppid(), "0"
    with suppress(OSError, IndexError):
        start = Path(f"/proc/{parent}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[19]
    return state / "workers" / f"{parent}-{start}"


def _touch(file: Path) -> None:
    for last in (False, True):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            file.touch()
            return
        except FileNotFoundError:  # the last of the others left in between
            if last:
                raise


def _newest(folder: Path) -> float:
    """When a file of the folder was touched; 0 where there is none."""
    found = 0.0
    with suppress(OSError):
        for one in folder.iterdir():
            with suppress(OSError):
                found = max(found, one.stat().st_mtime)
    return found


def _sweep(workers: Path, within: float) -> None:
    """Remove what workers left behind that were killed."""
    with suppress(OSError):
        for folder in workers.iterdir():
            with suppress(OSError):
                if max(_newest(folder), folder.stat().st_mtime) < time.time() - within:
                    for file in folder.iterdir():
                        file.unlink(missing_ok=True)
                    folder.rmdir()
