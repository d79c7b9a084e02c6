"""Several real processes on one SQLite store, some of them killed: each effect happens once, the file stays whole."""

import os
import random
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from handrail.resilience.replay.sqlite import SqliteStore
from handrail.resilience.replay.work import Held, State
from tests.redis_server import until
from tests.replay.backend_rules import begin
from tests.replay.sqlite_worker import answer_of

ROOT = Path(__file__).resolve().parents[2]


class Workers:
    """Processes that share a file and a ledger."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "state" / "answers.db"
        self.ledger = folder / "ledger"
        self.ledger.touch()
        self.all: list[subprocess.Popen[str]] = []

    def start(self, keys: int) -> subprocess.Popen[str]:
        name = f"w{len(self.all)}"
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))}
        words = [str(self.file), str(self.ledger), name, str(keys), name]
        command = [sys.executable, "-m", "tests.replay.sqlite_worker", *words]
        self.all.append(
            subprocess.Popen(command, cwd=ROOT, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        )
        return self.all[-1]

    def lines(self, kind: str) -> Counter[int]:
        """How often each key has such a line."""
        words = [line.split() for line in self.ledger.read_text("utf-8").splitlines()]
        return Counter(int(number) for what, number, _ in words if what == kind)

    def finish(self, process: "subprocess.Popen[str]") -> None:
        said, errors = process.communicate(timeout=100)
        assert (process.returncode, said) == (0, "ready\ndone\n"), errors

    def close(self) -> None:
        for process in self.all:
            process.kill()
            process.communicate()


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    made = Workers(tmp_path)
    yield made
    made.close()


def test_four_processes_begin_each_key_once(workers: Workers) -> None:
    """2,000 keys, each wanted by all four at once, on a file that none has made before: one effect for each."""
    for process in [workers.start(2000) for _ in range(4)]:
        workers.finish(process)
    assert workers.lines("did") == Counter(range(2000))
    assert workers.lines("kept") == Counter(range(2000))
    whole(workers)


def test_killed_workers_leave_a_whole_file_and_no_second_effect(workers: Workers) -> None:
    """`kill -9` at any moment, sixteen times, while others go on: what was acknowledged is there, what was begun is
    refused, and the others are not held up.
    """
    chance = random.Random(4)
    steady = workers.start(0)
    for _ in range(16):
        victim = workers.start(0)
        assert victim.stdout is not None
        assert victim.stdout.readline() == "ready\n"
        enough = workers.ledger.stat().st_size + chance.randint(0, 30_000)
        until(lambda size=enough: workers.ledger.stat().st_size > size, "some work")  # type: ignore[misc]  # its value now
        victim.kill()
        victim.wait()
    before = workers.ledger.stat().st_size
    until(lambda: workers.ledger.stat().st_size > before, "work of those who live")
    steady.kill()
    steady.wait()
    assert max(workers.lines("did").values()) == 1
    whole(workers)


def whole(workers: Workers) -> None:
    """The file has no damage; all that was acknowledged is kept, all that was done is known."""
    store = SqliteStore(workers.file)
    kept, did = workers.lines("kept"), workers.lines("did")
    for number in did:
        held = store.run([begin(number, "later")])[0]
        assert isinstance(held, Held)
        if number in kept or held.state is State.KEPT:
            assert (held.state, held.answer) == (State.KEPT, answer_of(number)), number
        else:
            assert held.state is State.BUSY, (number, held)
    store.close()
    with closing(sqlite3.connect(workers.file)) as file:
        assert file.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        size, counted = file.execute(
            "SELECT (SELECT total(length(content)) FROM answers), (SELECT value FROM facts WHERE name = 'bytes')"
        ).fetchone()
        assert size == counted
