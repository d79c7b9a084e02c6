"""One SQLite file for each service. Statements are tiny, so they run on the event loop."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["connect", "transaction"]


def connect(name: str, schema: str) -> sqlite3.Connection:
    """Open `<DATA_DIR>/<name>.db` (default: the current folder) and lay its tables."""
    folder = Path(os.environ.get("DATA_DIR", "."))
    folder.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(folder / f"{name}.db", timeout=5, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    db.executescript(schema)
    return db


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All of the block or nothing of it; no other process writes in between."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")
