"""New traces of a growing store, each handed out once it seems whole."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ..tracing.local.read import Trace, parse, trace_ids
from ..tracing.local.store import SUFFIX

__all__ = ["Follower"]

_SETTLED = 1.0
"""Seconds without a new span after which a trace with all its parents counts as whole."""
_GIVEN_UP = 10.0
"""The same for a trace that lacks a parent: services export every five seconds by default."""
_FORGOTTEN = 60.0
"""Seconds after which late spans of a trace that was handed out no longer bring it up again."""


@dataclass(slots=True)
class _Open:
    rows: list[bytes] = field(default_factory=list)
    changed: float = 0.0
    shown: bool = False


class Follower:
    """Reads what is appended to `folder` from now on. Times are monotonic seconds."""

    def __init__(self, folder: Path, *, now: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._now = now
        self._read: dict[Path, int] = {path: path.stat().st_size for path in folder.glob("*" + SUFFIX)}
        self._open: dict[str, _Open] = {}

    def poll(self) -> list[Trace]:
        """Traces that have become whole since the last poll; one that grew later comes again."""
        now = self._now()
        for row in self._new_rows():
            for identity in trace_ids(row):
                found = self._open.setdefault(identity, _Open())
                found.rows.append(row)
                found.changed, found.shown = now, False
        ready: list[Trace] = []
        for identity, found in list(self._open.items()):
            quiet = now - found.changed
            if found.shown:
                if quiet > _FORGOTTEN:
                    del self._open[identity]
            elif quiet >= _SETTLED:
                trace = parse(identity, found.rows)
                if trace is not None and (quiet >= _GIVEN_UP or _whole(trace)):
                    found.shown = True
                    ready.append(trace)
        return sorted(ready, key=lambda trace: trace.start)

    def _new_rows(self) -> list[bytes]:
        rows: list[bytes] = []
        for path in sorted(self._folder.glob("*" + SUFFIX)):
            begin = self._read.get(path, 0)
            try:
                with path.open("rb") as file:
                    file.seek(begin)
                    data = file.read()
            except FileNotFoundError:  # a writer made room
                continue
            whole = data.rfind(b"\n") + 1  # the rest of the line is still being written
            self._read[path] = begin + whole
            rows.extend(data[:whole].splitlines())
        return rows


def _whole(trace: Trace) -> bool:
    """At most one span lacks its parent: the first one, whose caller may be elsewhere."""
    known = {span.span_id for span in trace.spans}
    return sum(span.parent_id not in known for span in trace.spans) == 1
