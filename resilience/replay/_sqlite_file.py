"""The file of a SQLite store: made once by whoever comes first, refused where it cannot be what it should."""

import os
import secrets
import sqlite3
import stat
import threading
import time
from contextlib import suppress
from pathlib import Path

from ._sqlite_fork import check
from ._store_errors import StoreRefused

__all__ = ["LAYOUT", "opened", "others"]

LAYOUT = 1
"""`PRAGMA user_version` of the tables below."""
OPENING = 3.0
"""Seconds in which a file can be opened while others open it too: SQLite's own waiting does not cover that."""

_TABLES = (
    # `answer` is NULL while the key is begun, and a row of `answers` afterwards, which may be gone.
    """CREATE TABLE keys (
        key BLOB PRIMARY KEY, owner TEXT NOT NULL, lease_ends REAL NOT NULL, forget_at REAL NOT NULL,
        again INTEGER NOT NULL, answer INTEGER
    ) WITHOUT ROWID""",
    "CREATE INDEX keys_forget_at ON keys (forget_at)",
    # AUTOINCREMENT: a number that was used twice would give one caller's answer to another.
    "CREATE TABLE answers (id INTEGER PRIMARY KEY AUTOINCREMENT, content BLOB NOT NULL)",
    "CREATE TABLE facts (name TEXT PRIMARY KEY, value) WITHOUT ROWID",
    "INSERT INTO facts VALUES ('bytes', 0)",
)
_NETWORKED = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "glusterfs", "fuse.glusterfs", "lustre"})

# Closing a descriptor of a file takes away all locks that this process has on it, those of SQLite included.
_making = threading.Lock()


def opened(path: Path) -> sqlite3.Connection:
    """A connection with its tables there.

    Raises StoreRefused where the file is another's, newer, damaged, or on a network; OSError and sqlite3.Error as
    they come.
    """
    ends = time.monotonic() + OPENING
    while True:
        try:
            with _making:
                return _opened(path)
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() >= ends:
                raise
        time.sleep(0.005)


def _opened(path: Path) -> sqlite3.Connection:
    if kind := _network(path):
        raise StoreRefused(
            f"{path} is on a network file system ({kind}), where SQLite's log does not work: choose a file on a local "
            "disk, or redis:// or postgresql:// where several machines share a store"
        )
    if foreign := others(path, os.geteuid() if hasattr(os, "geteuid") else None):
        raise StoreRefused(
            f"{foreign} belongs to another user, in a folder where anybody may put things: he could read answers, and "
            "write some. Give the service a home or XDG_STATE_HOME, or set idempotency_store to another file"
        )
    check(path)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileExistsError):
        path.touch(0o600, exist_ok=False)
    connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        _prepare(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    layout = _one(connection, "PRAGMA user_version")
    if layout == 0:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # before anything is written, or not at all
    if layout not in (0, LAYOUT):
        raise StoreRefused(
            f"{path} has layout {layout}, this handrail knows {LAYOUT}: it was made by a newer one; use that, or set "
            "idempotency_store to another file"
        )
    if (mode := _one(connection, "PRAGMA journal_mode = WAL")) != "wal":
        raise StoreRefused(f"{path} cannot have a write-ahead log here (journal mode {mode}): choose a local disk")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA journal_size_limit = 16777216")
    connection.execute("PRAGMA cache_size = -4096")
    if layout == 0:
        _make(connection, path)
    _name_anew(connection)


def _name_anew(connection: sqlite3.Connection) -> None:
    """Another identity after each start of the machine: a power cut may have taken the last answers, and no caller
    shall count on them.
    """
    boot = _boot()
    if _one(connection, "SELECT value FROM facts WHERE name = 'boot'") == boot:
        return
    connection.execute("BEGIN IMMEDIATE")
    if _one(connection, "SELECT value FROM facts WHERE name = 'boot'") != boot:  # or somebody was faster
        facts = (("identity", secrets.token_hex(16)), ("boot", boot))
        connection.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", facts)
    connection.execute("COMMIT")


def _boot() -> str:
    """What tells one run of the machine from another; the same for all where nobody tells (not Linux)."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return "unknown"


def _make(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("BEGIN IMMEDIATE")
    if _one(connection, "PRAGMA user_version") == 0:  # or somebody was faster
        if _one(connection, "SELECT count(*) FROM sqlite_master"):
            raise StoreRefused(f"{path} is a database, but no store of handrail: set idempotency_store to another file")
        for statement in _TABLES:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {LAYOUT}")
    connection.execute("COMMIT")


def _one(connection: sqlite3.Connection, statement: str) -> object:
    row = connection.execute(statement).fetchone()
    return row[0] if row else None


def others(path: Path, user: int | None) -> Path | None:
    """The file, or a folder on the way to it, that stands in a shared folder (as /tmp is: sticky) and is neither the
    user's nor root's; None where there is none, or users have no numbers.
    """
    if user is None:
        return None
    for one in (path, *path.parents):
        try:
            if one.parent.stat().st_mode & stat.S_ISVTX and one.lstat().st_uid not in (0, user):
                return one
        except OSError:
            continue  # not there yet, and so nobody's; or not to be seen, and then not to be opened
    return None


def _network(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str | None:
    """The kind of the network file system that holds the path; None where it is local, or nobody tells."""
    try:
        lines = mounts.read_text("utf-8", "replace").splitlines()
    except OSError:
        return None
    real = path.resolve()
    best, kind = -1, ""
    for line in lines:
        before, _, after = line.partition(" - ")
        point = before.split(" ")[4].replace("\\040", " ")
        if len(point) >= best and real.is_relative_to(point):
            best, kind = len(point), after.split(" ", 1)[0]
    return kind if kind in _NETWORKED else None
