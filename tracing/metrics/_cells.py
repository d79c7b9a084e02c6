"""Histograms added up by hand: a dictionary lookup and a bucket, where the SDK takes 8 us a call.

Each thread writes to cells of its own, so a request takes no lock and no update is lost, with or without a GIL.
`Table.series` adds them up. What it promises: every observation is counted once, also that of a thread which has
ended; the count is the sum of the buckets; the sum of the values may lack those that are being written at that
moment, and has them the next time.
"""

import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar
from weakref import ref

from opentelemetry.trace import Span

__all__ = ["BOUNDS", "LIMIT", "Cell", "Exemplar", "Series", "Table"]

K = TypeVar("K", bound=Hashable)

BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Seconds: what the HTTP conventions advise."""

LIMIT = 2000
"""Attribute sets of one metric (the SDK specification's cardinality limit); the rest shares one series."""

_SWEEP = 64
_SIZE = len(BOUNDS) + 1

Exemplar = tuple[float, int, int, int]
"""Seconds, when (ns since the epoch), trace id, span id."""


class Cell:
    """One attribute set on one thread. `exemplars` is replaced by the reader, so one per bucket and collection."""

    __slots__ = ("counts", "exemplars", "total")

    def __init__(self) -> None:
        self.counts = [0] * _SIZE
        self.exemplars: list[Exemplar | None] = [None] * _SIZE
        self.total = 0.0

    def add(self, seconds: float, span: Span | None) -> None:
        """Count one observation; a sampled span becomes the bucket's exemplar, if it has none yet."""
        at = bisect_left(BOUNDS, seconds)
        self.counts[at] += 1
        self.total += seconds
        if span is not None and self.exemplars[at] is None:
            context = span.get_span_context()
            if context.trace_flags & 1:
                self.exemplars[at] = (seconds, time.time_ns(), context.trace_id, context.span_id)


class Series:
    """One attribute set over all threads; `exemplars` are the latest of each bucket."""

    __slots__ = ("counts", "exemplars", "total")

    def __init__(self) -> None:
        self.counts = [0] * _SIZE
        self.exemplars: list[Exemplar | None] = [None] * _SIZE
        self.total = 0.0

    def take(self, cell: Cell) -> None:
        """Add what a cell holds."""
        self.total += cell.total
        self.counts = [mine + new for mine, new in zip(self.counts, list(cell.counts), strict=True)]


class _Shard(Generic[K]):
    """One thread's cells, and what it has begun."""

    __slots__ = ("__weakref__", "begun", "cells")

    def __init__(self) -> None:
        self.cells: dict[K, Cell] = {}
        self.begun: dict[tuple[str, str], int] = {}


class _Here(threading.local, Generic[K]):
    """The shard of the thread that asks."""

    def __init__(self, made: "Callable[[_Here[K]], None]") -> None:
        shard: _Shard[K] = _Shard()
        self.shard = shard
        self.cells = shard.cells
        self.begun = shard.begun
        made(self)


class _Sign:
    """Lives as long as the thread."""

    __slots__ = ("__weakref__",)


class Table(Generic[K]):
    """All attribute sets of one metric. `overflow` gives the key that a surplus one is counted under."""

    def __init__(self, overflow: Callable[[K], K], limit: int = LIMIT) -> None:
        self._overflow = overflow
        self._limit = limit
        self.reset()

    def reset(self) -> None:
        """Forget everything; in a forked child, whose parent goes on counting what it has counted."""
        self._lock = threading.Lock()
        self._known: set[K] = set()
        self._shards: list[tuple[ref[_Sign], _Shard[K]]] = []
        self._sweep_at = _SWEEP
        self._retired: dict[K, Series] = {}
        self._retired_begun: dict[tuple[str, str], int] = {}
        self._latest: dict[K, list[Exemplar | None]] = {}
        self.here = _Here(self._join)
        self.since = time.time_ns()

    def cell(self, key: K) -> Cell:
        """The cell of this thread for `key`, made where it is missing."""
        if key not in self._known:
            with self._lock:
                if len(self._known) < self._limit:
                    self._known.add(key)
                elif key not in self._known:
                    key = self._overflow(key)
        cells = self.here.cells
        cell = cells.get(key)
        if cell is None:
            cell = cells[key] = Cell()
        return cell

    def series(self) -> dict[K, Series]:
        """Everything counted since the start, by key."""
        with self._lock:
            self._sweep()
            found: dict[K, Series] = {}
            for key, old in self._retired.items():
                found[key] = series = Series()
                series.total, series.counts = old.total, list(old.counts)
            for _, shard in self._shards:
                for key, cell in list(shard.cells.items()):
                    found.setdefault(key, Series()).take(cell)
                    self._note(key, cell)
            for key, latest in self._latest.items():
                found[key].exemplars = list(latest)
            return found

    def begun(self) -> dict[tuple[str, str], int]:
        """How many were begun since the start. To know what is under way, ask for `series` first."""
        with self._lock:
            found = dict(self._retired_begun)
            for _, shard in self._shards:
                for key, count in list(shard.begun.items()):
                    found[key] = found.get(key, 0) + count
            return found

    def _join(self, here: "_Here[K]") -> None:
        sign = _Sign()
        here.__dict__["sign"] = sign
        with self._lock:
            if len(self._shards) >= self._sweep_at:
                self._sweep()
                self._sweep_at = max(_SWEEP, 2 * len(self._shards))
            self._shards.append((ref(sign), here.shard))

    def _sweep(self) -> None:
        """Keep what ended threads counted, and let go of their shards."""
        living: list[tuple[ref[_Sign], _Shard[K]]] = []
        for sign, shard in self._shards:
            if sign() is not None:
                living.append((sign, shard))
                continue
            for key, cell in shard.cells.items():
                self._retired.setdefault(key, Series()).take(cell)
                self._note(key, cell)
            for pair, count in shard.begun.items():
                self._retired_begun[pair] = self._retired_begun.get(pair, 0) + count
        self._shards = living

    def _note(self, key: K, cell: Cell) -> None:
        found = cell.exemplars
        if any(found):
            cell.exemplars = [None] * _SIZE
            latest = self._latest.setdefault(key, [None] * _SIZE)
            for at, exemplar in enumerate(found):
                if exemplar is not None:
                    latest[at] = exemplar
