"""What running processes say about lost spans: a small file each, read from outside, and gone when it is old."""

import json
import os
import stat
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from handrail.tracing.export import health
from handrail.tracing.export._books import Books
from handrail.tracing.export.health import Lost, Told, lost, write

ENTRY = Lost(destination="http://c", reason="connection refused", count=3, exported=1, since=10.0, last=20.0)


def ended() -> int:
    """The pid of a process that is no more."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait(90)
    return process.pid


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """From another process: destination, reason, counts, times, and whose they are."""
    folder = tmp_path / "new" / "traces"
    write(folder, "order", [ENTRY])
    code = (
        "import pathlib, sys; from handrail.tracing.export import health; print(health.lost(pathlib.Path(sys.argv[1])))"
    )
    seen = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    found = lost(folder)
    assert seen.stdout.strip() == repr(found)
    assert found == [
        Lost(
            destination="http://c",
            reason="connection refused",
            count=3,
            exported=1,
            since=10.0,
            last=20.0,
            service="order",
            pid=os.getpid(),
            alive=True,
        )
    ]
    (file,) = folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) & 0o077 == 0


def test_a_process_that_ended(tmp_path: Path) -> None:
    """Its file is shown as such for an hour; after that it is not, and the next writer removes it."""
    write(tmp_path, "order", [ENTRY])
    pid = ended()
    file = tmp_path / f"lost-{pid}.json"
    document = {**json.loads((tmp_path / f"lost-{os.getpid()}.json").read_text()), "pid": pid, "began": "1"}
    file.write_text(json.dumps(document))
    assert Counter(entry.alive for entry in lost(tmp_path)) == {True: 1, False: 1}
    file.write_text(json.dumps({**document, "written": time.time() - 4000}))
    assert [entry.pid for entry in lost(tmp_path)] == [os.getpid()]
    os.utime(file, (time.time() - 4000, time.time() - 4000))
    write(tmp_path, "order", [ENTRY])
    assert not file.exists()


def test_a_pid_that_was_given_to_somebody_else(tmp_path: Path) -> None:
    """The same number, but another process: it counts as ended."""
    write(tmp_path, "order", [ENTRY])
    file = tmp_path / f"lost-{os.getpid()}.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "began": "1"}))
    assert [entry.alive for entry in lost(tmp_path)] == [False]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', '{"pid": 1, "began": "", "lost": [{}]}', "\x00"])
def test_a_file_that_is_broken(text: str, tmp_path: Path) -> None:
    """It is passed over."""
    (tmp_path / "lost-1.json").write_text(text)
    assert lost(tmp_path) == []


def test_no_folder(tmp_path: Path) -> None:
    """Nothing was ever written."""
    assert lost(tmp_path / "none") == []


def test_there_are_never_many(tmp_path: Path) -> None:
    """Whatever leaves them behind, the oldest go."""
    for number in range(100):
        (tmp_path / f"lost-{number + 10_000_000}.json").write_text("{}")
    write(tmp_path, "order", [ENTRY])
    assert len(list(tmp_path.iterdir())) == 64


def test_only_where_something_was_lost_and_not_every_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file without losses; then one write in five seconds, and one at the end for what is new."""
    writes: list[int] = []
    monkeypatch.setattr(health, "write", lambda _folder, _service, found: writes.append(found[0].count))
    books = Books("http://c")
    told = Told(tmp_path, "order", books.losses)
    told(False)
    told(True)
    assert writes == []
    for _ in range(3):
        books.lose(1, "no")
        told(False)
    assert writes == [1]
    told(True)
    told(True)
    assert writes == [1, 3]


def test_what_was_late_and_arrived(tmp_path: Path) -> None:
    """A flush that gave up shows what is under way as lost; once it has arrived the file is gone."""
    books, late = Books("http://c"), [3]
    told = Told(tmp_path, "order", lambda: books.losses(late[0]))
    told(True)
    assert [entry.count for entry in lost(tmp_path)] == [3]
    late[0] = 0
    told(True)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """Telling must not hurt."""
    (tmp_path / "file").touch()
    Told(tmp_path / "file" / "traces", "order", lambda: [ENTRY])(True)


def test_the_most_frequent_reason_is_told() -> None:
    """Reasons are counted apart, a bounded number of them; the count is that of all."""
    books = Books("http://c", clock=iter([1.0, 2.0, *[3.0] * 100]).__next__)
    books.lose(1, "one")
    books.lose(5, "five")
    for number in range(50):
        books.lose(1, f"unique {number}")
    (found,) = books.losses()
    assert (found.reason, found.count, found.since, found.last) == ("other reasons", 56, 1.0, 3.0)
