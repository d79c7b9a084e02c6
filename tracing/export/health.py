"""What a running process says about lost spans, for `handrail doctor` and whoever else looks from outside.

A process that lost spans keeps one small file `lost-<pid>.json` in the folder of the local store, replaced as a
whole. Files of processes that ended are kept for an hour, since their end may be the reason.
"""

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

__all__ = ["KEPT", "Lost", "Told", "began", "lost", "write"]

KEPT = 3600.0
"""Seconds for which the file of a process that ended is shown."""
_MOST = 64
"""Files; the oldest go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """Spans that did not reach `destination`; `since` and `last` in seconds since the epoch.

    `reason` is the most frequent one. `pid` is 0 where the process is this one.
    """

    destination: str
    reason: str
    count: int
    exported: int
    since: float
    last: float
    service: str = ""
    pid: int = 0
    alive: bool = True


def lost(store: Path) -> list[Lost]:
    """What the processes that share `store` have lost, newest first. Files that cannot be read are passed over."""
    out: list[Lost] = []
    for path in _files(store):
        with suppress(OSError, ValueError, TypeError, KeyError):
            document = json.loads(path.read_text("utf-8"))
            alive = began(int(document["pid"])) == document["began"]
            if alive or time.time() - float(document["written"]) < KEPT:
                known = {"service": str(document["service"]), "pid": int(document["pid"]), "alive": alive}
                out += [replace(Lost(**entry), **known) for entry in document["lost"]]
    return sorted(out, key=lambda found: found.last, reverse=True)


def write(store: Path, service: str, found: list[Lost]) -> None:
    """Say what this process has lost. Raises OSError where the folder cannot be written."""
    store.mkdir(mode=0o700, parents=True, exist_ok=True)
    pid = os.getpid()
    document = {
        "pid": pid,
        "began": began(pid),
        "service": service,
        "written": time.time(),
        "lost": [{key: value for key, value in asdict(entry).items() if key not in _OUTSIDE} for entry in found],
    }
    fresh = store / f".lost-{pid}.tmp"
    fresh.write_text(json.dumps(document), "utf-8")
    fresh.chmod(0o600)  # a reason may hold a host name
    fresh.replace(store / f"lost-{pid}.json")
    _sweep(store)


_OUTSIDE = ("service", "pid", "alive")
_EVERY = 5.0
"""Seconds between two files of one process."""


class Told:
    """Keeps the file of this process up to date: only where spans were lost, and not with every batch."""

    def __init__(self, store: Path, service: str, losses: Callable[[], list[Lost]]) -> None:
        self._store = store
        self._service = service
        self._losses = losses
        self._count = 0
        self._next = 0.0

    def __call__(self, end: bool) -> None:
        """Write what is new. A folder that cannot be written is passed over: the log has told it."""
        if not end and time.monotonic() < self._next:
            return
        found = self._losses()
        count = sum(entry.count for entry in found)
        if count != self._count:
            self._count = count
            self._next = time.monotonic() + _EVERY
            with suppress(OSError):
                if found:
                    write(self._store, self._service, found)
                else:  # what was late has arrived
                    (self._store / f"lost-{os.getpid()}.json").unlink(missing_ok=True)


def _sweep(store: Path) -> None:
    files = _files(store)
    for index, path in enumerate(files):
        with suppress(OSError, ValueError, IndexError):
            dead = not began(int(path.stem.split("-")[1]))
            if index >= _MOST or (dead and time.time() - path.stat().st_mtime > KEPT):
                path.unlink(missing_ok=True)


def _files(store: Path) -> list[Path]:
    """Newest first."""
    found: list[tuple[float, Path]] = []
    for path in store.glob("lost-*.json"):
        with suppress(OSError):
            found.append((path.stat().st_mtime, path))
    return [path for _, path in sorted(found, reverse=True)]


def began(pid: int) -> str:
    """When a process began, in the system's own terms; "" where there is none, "?" where that cannot be told."""
    try:
        # After the last bracket: the name of the program may hold brackets and blanks.
        return Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[19]
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return ""
    except (OSError, IndexError):
        return "?"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except OSError:
        pass
    return "?"
