"""The SQLite store: the rules of all stores, its file, and what may befall it."""

import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from handrail.resilience.replay import _sqlite_file, sqlite
from handrail.resilience.replay._store_errors import StoreChanged, StoreRefused
from handrail.resilience.replay.sqlite import SqliteStore
from handrail.resilience.replay.work import Held, State
from handrail.resilience.testing import FakeClock
from tests.replay.backend_rules import NEW, BackendRules, BoundRules, Rig, begin, keep


class TestSqlite(BackendRules, BoundRules):
    """A file, by a wall clock of the test."""

    @pytest.fixture
    def rig(self, tmp_path: Path) -> Iterator[Rig]:
        """All connections are to one file; they are closed at the end."""
        clock, made = FakeClock(), list[SqliteStore]()

        def make(most: int = 1 << 30) -> SqliteStore:
            made.append(SqliteStore(tmp_path / "state" / "answers.db", most=most, wall=clock.wall))
            return made[-1]

        yield Rig(make, clock.advance, make)
        for store in made:
            store.close()


def store_at(path: Path) -> SqliteStore:
    return SqliteStore(path)


def test_nobody_else_can_read_it(tmp_path: Path) -> None:
    """Answers may hold what is secret: the file, its log and a folder that was made for it are the owner's alone."""
    store = store_at(tmp_path / "new" / "answers.db")
    store.open()
    store.run([begin(1)])
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "new").iterdir()}
    assert modes == {"answers.db": 0o600, "answers.db-wal": 0o600, "answers.db-shm": 0o600}
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    store.close()


def test_a_key_takes_little_room(tmp_path: Path) -> None:
    """A key and its small answer take less than a kilobyte, index and all."""
    store = store_at(tmp_path / "answers.db")
    store.open()
    for start in range(0, 5000, 100):
        numbers = range(start, start + 100)
        store.run([work for number in numbers for work in (begin(number), keep(number, b"x" * 200))])
    store.close()
    assert (tmp_path / "answers.db").stat().st_size < 5000 * 1000


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("PRAGMA user_version = 2", "has layout 2, this handrail knows 1"),
        ("CREATE TABLE orders (id)", "is a database, but no store of handrail"),
    ],
)
def test_a_file_of_somebody_else_is_refused(tmp_path: Path, statement: str, said: str) -> None:
    """A newer layout, or another's tables: told, and not touched."""
    path = tmp_path / "answers.db"
    with closing(sqlite3.connect(path)) as made:
        made.execute(statement)
    with pytest.raises(StoreRefused, match=said):
        store_at(path).open()
    with closing(sqlite3.connect(path)) as made:
        assert made.execute("SELECT count(*) FROM sqlite_master WHERE name = 'keys'").fetchone() == (0,)


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    """It is neither written to nor moved: a store that forgets would let things be done twice."""
    path = tmp_path / "answers.db"
    path.write_bytes(b"something else" * 1000)
    for _ in range(2):
        with pytest.raises(StoreRefused, match="not a database: if it was a store"):
            store_at(path).open()
    assert path.read_bytes() == b"something else" * 1000


def test_a_damaged_file_is_told_and_left_as_it_is(tmp_path: Path) -> None:
    """Whoever asks learns what to do; the file is not made anew behind his back."""
    path = tmp_path / "answers.db"
    store = store_at(path)
    identity = store.open()
    store.run([work for number in range(500) for work in (begin(number), keep(number, b"x" * 500))])
    store.close()
    content = bytearray(path.read_bytes())
    content[8192:] = b"\xff" * (len(content) - 8192)
    path.write_bytes(content)
    with pytest.raises(StoreRefused, match=r"malformed: the file is damaged.*Move it away"):
        store.run([begin(number, "b") for number in range(500)])
    assert len(path.read_bytes()) == len(content)
    path.unlink()
    for ending in ("-wal", "-shm"):
        path.with_name(path.name + ending).unlink(missing_ok=True)
    assert store.open() != identity
    store.close()


def test_a_full_disk_is_told_and_nothing_is_done_by_half(tmp_path: Path) -> None:
    """The batch that did not fit has not happened; with room again the store goes on."""
    store = store_at(tmp_path / "answers.db")
    store.open()
    assert store._connection is not None
    store._connection.execute("PRAGMA max_page_count = 20")
    with pytest.raises(StoreRefused, match="is full: make room on the disk"):
        store.run([begin(1), begin(2), keep(2, b"x" * 200_000)])
    assert store.run([begin(1, "b"), begin(2, "b"), keep(2, b"x" * 200_000, "b")]) == [NEW, NEW, True]
    store.close()


def test_a_folder_without_the_right_to_write_is_told(tmp_path: Path) -> None:
    """The reason is one line with the path, or with what to do."""
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(OSError, match="file"):
        store_at(blocked / "answers.db").open()
    path = tmp_path / "folder" / "answers.db"
    path.mkdir(parents=True)
    with pytest.raises(StoreRefused, match="unable to open database file: give the service the right"):
        store_at(path).open()


def test_a_read_only_file_is_told(tmp_path: Path) -> None:
    """As on a disk that the machine has mounted so after an error."""
    store = store_at(tmp_path / "answers.db")
    store.open()
    assert store._connection is not None
    store._connection.execute("PRAGMA query_only = ON")
    with pytest.raises(StoreRefused, match="readonly database: give the service the right"):
        store.run([begin(1)])
    assert store.run([begin(1)]) == [NEW]
    store.close()


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_is_taken_away_is_noticed(tmp_path: Path, replaced: bool) -> None:
    """A connection to a file without a name would answer for itself alone: the store is another one, and says so."""
    path = tmp_path / "answers.db"
    store = store_at(path)
    identity = store.open()
    store.run([begin(1)])
    path.rename(tmp_path / "old.db")
    other = store_at(path)
    if replaced:
        assert other.open() != identity
    with pytest.raises(StoreChanged, match="replaced" if replaced else "removed"):
        store.run([begin(2)])
    for _ in range(2):  # until whoever relies on it has been told
        with pytest.raises(StoreChanged, match="is not the file that it was"):
            store.run([begin(2)])
    assert store.open() != identity
    assert store.run([begin(1)]) == [NEW]
    store.close()
    other.close()


def test_after_a_start_of_the_machine_the_identity_is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut may have taken the last answers: what is there counts, but no caller relies on what is not."""
    path = tmp_path / "answers.db"
    first, again = store_at(path), store_at(path)
    identity = first.open()
    first.run([begin(1), keep(1, b"x")])
    assert again.open() == identity
    first.close()
    again.close()
    monkeypatch.setattr(_sqlite_file, "_boot", lambda: "another start")
    assert first.open() == again.open() != identity
    assert again.run([begin(1, "b")]) == [Held(State.KEPT, b"x")]
    first.close()
    again.close()


def test_network_file_systems_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite's log lives in memory that two machines do not share: they would damage the file, and do things twice."""
    mounts = tmp_path / "mountinfo"
    home = tmp_path / "a home"
    shown = str(home).replace(" ", "\\040")
    mounts.write_text(
        f"22 1 8:1 / / rw shared:1 - ext4 /dev/root rw\n35 22 0:50 / {shown} rw - nfs4 server:/home rw\n", "utf-8"
    )
    assert _sqlite_file._network(home / "x" / "answers.db", mounts) == "nfs4"
    assert _sqlite_file._network(tmp_path / "answers.db", mounts) is None
    assert _sqlite_file._network(tmp_path / "answers.db", tmp_path / "nothing") is None
    monkeypatch.setattr(_sqlite_file, "_network", lambda path: "nfs4")
    with pytest.raises(StoreRefused, match=r"network file system \(nfs4\).*redis:// or postgresql://"):
        store_at(home / "answers.db").open()
    assert not home.exists()


def test_the_file_does_not_grow_for_ever(tmp_path: Path) -> None:
    """What was forgotten gives its room back, in bites; the count of bytes is right all the while."""
    clock = FakeClock()
    path = tmp_path / "answers.db"
    store = SqliteStore(path, wall=clock.wall)
    store.open()
    for number in range(0, 2000, 100):
        numbers = range(number, number + 100)
        store.run([work for one in numbers for work in (begin(one), keep(one, b"x" * 10_000, retention=60.0))])
    clock.advance(100.0)
    for _ in range(30):
        store.tidy()
    store.close()
    assert path.stat().st_size < 6_000_000
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("SELECT value FROM facts WHERE name = 'bytes'").fetchone() == (0,)
        assert file.execute("SELECT (SELECT count(*) FROM keys) + (SELECT count(*) FROM answers)").fetchone() == (0,)


def test_a_number_of_an_answer_is_never_used_twice(tmp_path: Path) -> None:
    """A key whose answer was given up would otherwise show the answer of somebody else."""
    store = SqliteStore(tmp_path / "answers.db", most=0)
    store.open()
    for number in range(10):
        store.run([begin(number), keep(number, b"secret %d" % number)])
        store.tidy()
    assert store.run([begin(number, "b") for number in range(10)]) == [Held(State.KEPT, b"")] * 10
    store.close()


def test_another_at_work_is_waited_for_and_not_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is stopped in the midst of a batch makes the store away; when it goes on, all is well."""
    monkeypatch.setattr(sqlite, "BUSY", 0.05)
    store, other = store_at(tmp_path / "answers.db"), store_at(tmp_path / "answers.db")
    store.open()
    other.open()
    assert other._connection is not None
    other._connection.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        store.run([begin(1)])
    monkeypatch.setattr(sqlite, "BUSY", 60.0)
    waiting: list[Held | bool] = []
    thread = threading.Thread(target=lambda: waiting.extend(run_and_close(tmp_path / "answers.db")))
    thread.start()
    assert not waiting
    other._connection.execute("ROLLBACK")
    thread.join(60)
    assert waiting == [NEW]
    store.close()
    other.close()


def run_and_close(path: Path) -> list[Held | bool]:
    store = store_at(path)
    found = store.run([begin(2)])
    store.close()
    return found
