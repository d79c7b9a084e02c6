"""A process that forks while it has the store open."""

import os
import threading
from pathlib import Path

import pytest

from handrail.resilience.replay import sqlite
from handrail.resilience.replay._store_errors import StoreRefused
from handrail.resilience.replay.sqlite import SqliteStore
from tests.forked import ended, forked, in_child
from tests.replay.backend_rules import NEW, begin, is_busy


def test_a_child_and_its_parent_do_not_take_the_log_from_each_other(tmp_path: Path) -> None:
    """The parent closes while the child is at work: what the child has put down since then is still there."""
    store = SqliteStore(tmp_path / "answers.db")
    store.open()
    assert store.run([begin(1)]) == [NEW]
    heard, tell = os.pipe()
    go, on = os.pipe()

    def child() -> None:
        assert store._connection is None
        assert store.run([begin(2)]) == [NEW]
        os.write(tell, b"x")
        assert os.read(go, 1) == b"x"
        assert store.run([begin(3)]) == [NEW]

    started = forked(child)
    assert os.read(heard, 1) == b"x"
    is_busy(store.run([begin(2, "b")])[0])
    store.close()
    os.write(on, b"x")
    assert ended(started) == 0
    for found in store.run([begin(number, "b") for number in (1, 2, 3)]):
        is_busy(found)
    store.close()
    for end in (heard, tell, go, on):
        os.close(end)


def test_a_fork_waits_for_a_batch(tmp_path: Path) -> None:
    """In the midst of a transaction the child would inherit its locks, and never get one."""
    store = SqliteStore(tmp_path / "answers.db")
    store.open()
    stop = threading.Event()

    def busy() -> None:
        number = 10
        while not stop.is_set():
            store.run([begin(number + more) for more in range(50)])
            number += 50

    thread = threading.Thread(target=busy)
    thread.start()
    children = [forked(lambda number=number: run_one(store, number)) for number in range(5)]  # type: ignore[misc]
    codes = [ended(child) for child in children]
    stop.set()
    thread.join(60)
    assert codes == [0] * 5
    for found in store.run([begin(number, "b") for number in range(5)]):
        is_busy(found)
    store.close()


def run_one(store: SqliteStore, number: int) -> None:
    assert store.run([begin(number)]) == [NEW]


def test_a_child_of_a_store_that_hangs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Better no store than one whose locks do not hold; another file is as good as ever, and so is the parent."""
    monkeypatch.setattr(sqlite, "LONGEST_PARK", 0.01)
    store = SqliteStore(tmp_path / "answers.db")
    store.open()
    store._lock.acquire()

    def child() -> None:
        with pytest.raises(StoreRefused, match="was in use while this process was forked"):
            SqliteStore(tmp_path / "answers.db").open()
        run_one(SqliteStore(tmp_path / "other.db"), 1)

    assert in_child(child) == 0
    store._lock.release()
    run_one(store, 1)
    store.close()
