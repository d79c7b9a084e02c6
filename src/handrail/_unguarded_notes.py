"""What a running process says about connections past the policies: one small file beside the local store.

As with lost spans (`tracing/export/health.py`): replaced as a whole, kept for an hour after the process ended.
"""

import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

__all__ = ["Note", "Noted", "noted", "write"]

_MOST = 64
"""Files; the oldest go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A destination (host:port), the first place that connected to it, and when, in seconds since the epoch.

    `known`: its port is that of a database, a cache, a queue or the like.
    """

    target: str
    place: str
    known: bool
    since: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """A note and the process that it is from."""

    note: Note
    service: str
    pid: int
    alive: bool


def write(store: Path, service: str, notes: list[Note]) -> None:
    """Replace the file of this process. A folder that cannot be written is passed over: there is still the log."""
    from .tracing.export.health import began  # on the first note: it is no part of a start

    pid = os.getpid()
    document = {
        "pid": pid,
        "began": began(pid),
        "service": service,
        "written": time.time(),
        "unguarded": [asdict(note) for note in notes],
    }
    with suppress(OSError):
        store.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = store / f".unguarded-{pid}.tmp"
        fresh.write_text(json.dumps(document), "utf-8")
        fresh.chmod(0o600)
        fresh.replace(store / f"unguarded-{pid}.json")
        for path in _files(store)[_MOST:]:
            path.unlink(missing_ok=True)


def noted(store: Path) -> list[Noted]:
    """What the processes that share `store` have noted, newest process first; unreadable files are passed over."""
    from .tracing.export.health import KEPT, began

    out: list[Noted] = []
    for path in _files(store):
        with suppress(OSError, ValueError, TypeError, KeyError):
            document = json.loads(path.read_text("utf-8"))
            pid = int(document["pid"])
            alive = began(pid) == document["began"]
            if not alive and time.time() - float(document["written"]) > KEPT:
                path.unlink(missing_ok=True)
                continue
            service = str(document["service"])
            notes = [Note(**entry) for entry in document["unguarded"]]
            out += [Noted(note=note, service=service, pid=pid, alive=alive) for note in notes]
    return out


def _files(store: Path) -> list[Path]:
    """Newest first."""
    found: list[tuple[float, Path]] = []
    for path in store.glob("unguarded-*.json"):
        with suppress(OSError):
            found.append((path.stat().st_mtime, path))
    return [path for _, path in sorted(found, reverse=True)]
