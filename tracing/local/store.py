"""The bounded store of spans that is used while there is no collector: OTLP JSON lines in one folder.

Each process appends to files of its own (`<time>-<pid>-<number>.jsonl`), so workers never share one.
Whoever writes keeps the folder within its bound by deleting the oldest files, also those of others:
a process whose file was deleted notices it and begins a new one.
"""

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from ..export._encode_request import Item
from .lines import join, lines

__all__ = ["SUFFIX", "LocalSpanExporter", "LocalStore"]

SUFFIX = ".jsonl"
_FILES = 8
"""A full store has about this many full files: the oldest eighth goes at a time."""
_MOST_FILES = 512
"""Short-lived processes leave many small files; the oldest go."""


class LocalStore:
    """Appends lines. Raises OSError where the folder cannot be written; the next write tries again.

    `max_bytes` bounds all files of the folder together, except for the batches that several
    processes write in the same instant. Thread-safe, and safe to use after a fork.
    """

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._pid = 0
        self._number = 0

    def append(self, rows: Sequence[bytes]) -> None:
        """Append each row as one line. A row larger than the whole store raises OSError."""
        data = b"\n".join((*rows, b""))
        if len(data) > self.max_bytes:
            raise OSError(f"{len(data)} bytes at once do not fit into a store of {self.max_bytes}")
        with self._lock:
            self._make_room(len(data))  # before the file is looked for: it may be our own that goes
            descriptor = self._open()
            size = os.fstat(descriptor).st_size
            try:
                _write(descriptor, data)
            except OSError:
                os.ftruncate(descriptor, size)  # a full disk: leave no half line
                raise

    def close(self) -> None:
        """Close the file; a later `append` begins a new one."""
        with self._lock:
            self._close()

    def _open(self) -> int:
        """The file to write to: ours, still there, not yet full."""
        if self._pid != os.getpid():
            self._descriptor = None  # after a fork it belongs to the parent
            self._pid = os.getpid()
        if self._descriptor is not None:
            state = os.fstat(self._descriptor)
            if state.st_nlink and state.st_size < self.max_bytes // _FILES:
                return self._descriptor
            self._close()
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._number += 1
        name = f"{time.time_ns()}-{self._pid}-{self._number}{SUFFIX}"
        # Only for the user: spans hold URLs.
        self._descriptor = os.open(self.folder / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        return self._descriptor

    def _close(self) -> None:
        if self._descriptor is not None and self._pid == os.getpid():
            os.close(self._descriptor)
        self._descriptor = None

    def _make_room(self, wanted: int) -> None:
        found = sorted(_files(self.folder))
        total = sum(size for _, size, _ in found)
        surplus = len(found) - _MOST_FILES
        for index, (_, size, path) in enumerate(found):
            if total + wanted <= self.max_bytes and index >= surplus:
                return
            Path(path).unlink(missing_ok=True)
            total -= size


class LocalSpanExporter(SpanExporter):
    """Writes spans to a `LocalStore`."""

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self.store = LocalStore(folder, max_bytes=max_bytes)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Append the spans, one line for each trace. Raises OSError where that fails."""
        self.store.append(lines(spans, _let_others_run))
        return SpanExportResult.SUCCESS

    def write(self, items: Sequence[Item]) -> None:
        """The same for spans that are encoded already."""
        self.store.append(join(items, _let_others_run))

    def shutdown(self) -> None:
        """Close the file."""
        self.store.close()

    def force_flush(self, timeout_millis: int = 30000) -> bool:  # noqa: ARG002  (the SDK's signature)
        """Every export has reached the operating system already."""
        return True


def _let_others_run() -> None:
    # A thread that only computes keeps the event loop waiting for 5 ms at a time (sys.getswitchinterval).
    # A sleep of 0 gives the lock back and takes it again before anybody else has woken up.
    time.sleep(0.0001)


def _files(folder: Path) -> Iterator[tuple[int, int, str]]:
    """(time of the last write, size, path) of each file of the store."""
    try:
        entries = os.scandir(folder)
    except FileNotFoundError:
        return
    with entries:
        for entry in entries:
            if entry.name.endswith(SUFFIX):
                with suppress(FileNotFoundError):  # another process made room
                    state = entry.stat()
                    yield state.st_mtime_ns, state.st_size, entry.path


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
