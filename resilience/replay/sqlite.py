"""Answers in a SQLite file that all workers of one machine share: the store that needs no server."""

import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from . import _sqlite_fork
from ._sqlite_file import opened
from ._store_errors import StoreChanged, StoreRefused
from .work import Begin, Free, Held, Keep, State, Work

__all__ = ["SqliteStore"]

AT_ONCE = 500
"""Keys and answers that one tidy forgets."""
BUSY = 1.0
"""Seconds that a batch waits for those of other processes."""
LONGEST_NAP = 0.001
"""Seconds between two looks whether the file is free, at most."""
LONGEST_PARK = 2.0
"""Seconds that a fork waits for a batch."""
FREE_PAGES = 1_000
"""Free pages that a file keeps for what comes; what is above goes back to the disk."""

_Row = tuple[str, float, float, int, int | None]


class SqliteStore:
    """A file in WAL mode, one transaction (BEGIN IMMEDIATE) for each batch.

    What a batch did is there after a `kill -9` at any moment. `synchronous=NORMAL`: a power cut, or a machine that
    dies, may take what was done since the last checkpoint (some thousand pages of the log), but leaves the file
    whole; requests of that time are then not recognised, and so the identity is another one after each start of a
    Linux machine. Time is the wall clock of the machine.
    File 0600, new folders 0700. Not for network file systems, which are refused.

    StoreChanged where the file was taken away or replaced, until `open` has told the identity of the new one.
    `most`: bytes of all answers. Beyond them each key takes some 200 bytes until its retention ends.
    """

    def __init__(self, path: Path, *, most: int = 268_435_456, wall: Callable[[], float] = time.time) -> None:
        self._path = path.absolute()
        self.shown = str(self._path)
        self._most = most
        self._wall = wall
        self._connection: sqlite3.Connection | None = None
        self._file = (0, 0)
        self._identity: str | None = None
        self._grown = 0
        self._lock = threading.Lock()
        _sqlite_fork.watch(self)

    def park(self) -> Path | None:
        """Before a fork: see `_sqlite_fork`."""
        if not self._lock.acquire(timeout=LONGEST_PARK):
            return self._path
        self._shut()
        return None

    def unpark(self) -> None:
        """After it; the next call opens the file again."""
        self._lock.release()

    def open(self) -> str:
        """Connect, and tell the identity, a part of the file itself."""
        with self._lock, self._guarded():
            self._shut()
            self._identity = None
            self._there()
        return str(self._identity)

    def run(self, work: Sequence[Work]) -> list[Held | bool]:
        """Do it in one transaction."""
        if not work:
            return []
        with self._lock, self._guarded():
            connection = self._there()
            _begin(connection)
            now, self._grown = self._wall(), 0
            results = [self._do(connection, one, now) for one in work]
            self._count(connection)
            connection.execute("COMMIT")
        return results

    def tidy(self) -> None:
        """Forget what is over, give up the oldest answers above the bound, and give free room back."""
        with self._lock, self._guarded():
            connection = self._there()
            _begin(connection)
            self._grown = 0
            over = connection.execute(
                "SELECT key, answer FROM keys WHERE forget_at <= ? ORDER BY forget_at LIMIT ?", (self._wall(), AT_ONCE)
            ).fetchall()
            for key, answer in over:
                self._forget(connection, key, answer)
            self._shrink(connection)
            self._count(connection)
            connection.execute("COMMIT")
            _give_room_back(connection)

    def close(self) -> None:
        """Close the file; the next call opens it again."""
        with self._lock:
            self._shut()

    def _shut(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """After an error the connection, and with it an open transaction, is given up; StoreRefused where somebody
        must act.
        """
        try:
            yield
        except BaseException as error:
            self._shut()
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code in _DO:
                raise StoreRefused(f"{error}: {_DO[code]}") from error
            raise

    def _there(self) -> sqlite3.Connection:
        """The connection, to the file that has the name: one that was removed lives on for those who had it open."""
        if self._connection is None:
            self._connection = opened(self._path)
            found = self._path.stat()
            self._file = (found.st_dev, found.st_ino)
            row = self._connection.execute("SELECT value FROM facts WHERE name = 'identity'").fetchone()
            if self._identity is not None and self._identity != row[0]:
                raise StoreChanged(f"{self._path} is not the file that it was: what was kept is gone")
            self._identity = str(row[0])
            return self._connection
        try:
            found = self._path.stat()
        except FileNotFoundError:
            raise StoreChanged(f"{self._path} was removed while it was in use") from None
        if self._file != (found.st_dev, found.st_ino):
            raise StoreChanged(f"{self._path} was replaced while it was in use")
        return self._connection

    def _do(self, connection: sqlite3.Connection, one: Work, now: float) -> Held | bool:
        row: _Row | None = connection.execute(
            "SELECT owner, lease_ends, forget_at, again, answer FROM keys WHERE key = ?", (one.key,)
        ).fetchone()
        if row is not None and row[2] <= now:
            self._forget(connection, one.key, row[4])
            row = None
        if isinstance(one, Begin):
            return self._take(connection, one, row, now)
        if row is None or row[0] != one.owner:
            return False
        answer = row[4]
        if isinstance(one, Keep):
            if answer is None:
                self._keep(connection, one, now)
            return True
        if answer is not None:
            return False
        if isinstance(one, Free):
            connection.execute("DELETE FROM keys WHERE key = ?", (one.key,))
        else:
            ends = now + one.lease
            connection.execute(
                "UPDATE keys SET lease_ends = ?, forget_at = ? WHERE key = ?", (ends, max(row[2], ends), one.key)
            )
        return True

    def _take(self, connection: sqlite3.Connection, one: Begin, row: _Row | None, now: float) -> Held:
        again = False
        if row is not None:
            owner, lease_ends, _, was_again, answer = row
            if answer is not None:
                kept = connection.execute("SELECT content FROM answers WHERE id = ?", (answer,)).fetchone()
                return Held(State.KEPT, kept[0] if kept else b"")
            if owner == one.owner:
                again = bool(was_again)
            elif lease_ends > now:
                return Held(State.BUSY, left=lease_ends - now)
            elif not one.take_over:
                return Held(State.BROKEN)
            else:
                again = True
        lives = max(one.lease, one.retention)
        connection.execute(
            "INSERT OR REPLACE INTO keys VALUES (?, ?, ?, ?, ?, NULL)",
            (one.key, one.owner, now + one.lease, now + lives, again),
        )
        return Held(State.NEW, again=again)

    def _keep(self, connection: sqlite3.Connection, one: Keep, now: float) -> None:
        put = connection.execute("INSERT INTO answers (content) VALUES (?)", (one.answer,))
        connection.execute(
            "UPDATE keys SET answer = ?, forget_at = ? WHERE key = ?", (put.lastrowid, now + one.retention, one.key)
        )
        self._grown += len(one.answer)

    def _forget(self, connection: sqlite3.Connection, key: bytes, answer: int | None) -> None:
        connection.execute("DELETE FROM keys WHERE key = ?", (key,))
        if answer is not None:
            self._drop(connection, answer)

    def _drop(self, connection: sqlite3.Connection, answer: int) -> None:
        size = connection.execute("SELECT length(content) FROM answers WHERE id = ?", (answer,)).fetchone()
        if size is not None:
            connection.execute("DELETE FROM answers WHERE id = ?", (answer,))
            self._grown -= size[0]

    def _shrink(self, connection: sqlite3.Connection) -> None:
        """Give up the oldest answers, but not their keys, which must not be begun again."""
        above = connection.execute("SELECT value FROM facts WHERE name = 'bytes'").fetchone()[0] - self._most
        if above + self._grown <= 0:
            return
        for (answer,) in connection.execute("SELECT id FROM answers ORDER BY id LIMIT ?", (AT_ONCE,)).fetchall():
            if above + self._grown <= 0:
                break
            self._drop(connection, answer)

    def _count(self, connection: sqlite3.Connection) -> None:
        """The bytes of all answers are counted as they come and go: to add them up would take longer each day."""
        if self._grown:
            connection.execute("UPDATE facts SET value = value + ? WHERE name = 'bytes'", (self._grown,))


def _begin(connection: sqlite3.Connection) -> None:
    """The right to write, once nobody else has it. SQLite's own waiting would sleep up to 0.1 s at a time, while a
    transaction of ours takes a millisecond: the unlucky would wait for ever.
    """
    ends = 0.0
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            now = time.monotonic()
            ends = ends or now + BUSY
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or now >= ends:
                raise
        else:
            return
        time.sleep(random.random() * LONGEST_NAP)


def _give_room_back(connection: sqlite3.Connection) -> None:
    """Free pages go back to the disk, some at a time; not now where others are at work."""
    free = connection.execute("PRAGMA freelist_count").fetchone()[0]
    if free <= FREE_PAGES:
        return
    try:
        # As a script: `execute` would make one step of it, and so free one page.
        connection.executescript(f"PRAGMA incremental_vacuum({min(AT_ONCE, free - FREE_PAGES)})")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise


_DO = {
    sqlite3.SQLITE_CORRUPT: "the file is damaged, and which requests were answered cannot be trusted. Move it away "
    "with the service stopped; requests that are repeated from before will then be carried out again",
    sqlite3.SQLITE_NOTADB: "if it was a store, its beginning is damaged, and it must be moved away with the service "
    "stopped (requests repeated from before will be carried out again); else set idempotency_store to another file",
    sqlite3.SQLITE_FULL: "make room on the disk, or lower idempotency_store_max",
    sqlite3.SQLITE_READONLY: "give the service the right to write the file and its folder",
    sqlite3.SQLITE_CANTOPEN: "give the service the right to write the file and its folder",
}
