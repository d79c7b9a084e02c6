"""What workers of one parent tell each other, on files: the real ones are in test_drain_servers."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from handrail import _siblings

LONG = 600.0
Tell = Callable[[int], None]


@pytest.fixture
def tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tell:
    """Asks the worker of this number."""
    for name, value in {"_mine": None, "_looked_at": None, "_said": False}.items():
        monkeypatch.setattr(_siblings, name, value)
    monkeypatch.setattr(_siblings, "_is_worker", lambda: True)
    monkeypatch.setattr(_siblings, "_has_siblings", lambda: True)

    def one(number: int) -> None:
        monkeypatch.setattr(os, "getpid", lambda: number)
        monkeypatch.setattr(_siblings, "_looked_at", None)
        _siblings.tell(tmp_path, LONG)

    return one


def files(state: Path) -> list[str]:
    return sorted(one.name for one in state.glob("workers/*/*"))


def test_one_that_was_asked_is_enough(tell: Tell, tmp_path: Path) -> None:
    """Nobody heard of it before; for ten minutes after all have."""
    assert not _siblings.heard(tmp_path, LONG)
    tell(7)
    assert _siblings.heard(tmp_path, LONG)
    (file,) = tmp_path.glob("workers/*/7")
    past = file.stat().st_mtime - LONG - 60
    os.utime(file, (past, past))
    assert not _siblings.heard(tmp_path, LONG)
    tell(7)
    assert _siblings.heard(tmp_path, LONG)


def test_the_last_one_removes_the_folder(tell: Tell, tmp_path: Path) -> None:
    """Each takes its own file away: what others were asked still counts."""
    tell(7)
    (folder,) = tmp_path.glob("workers/*")
    (folder / "8").touch()
    _siblings.leave()
    assert files(tmp_path) == ["8"]
    assert _siblings.heard(tmp_path, LONG)
    _siblings.leave()
    tell(8)
    _siblings.leave()
    assert [*tmp_path.glob("workers/*")] == []


def test_what_killed_workers_left_behind_goes(tell: Tell, tmp_path: Path) -> None:
    """A folder that has been silent for longer than a question counts; one of another parent stays meanwhile."""
    old, other = tmp_path / "workers/1-1", tmp_path / "workers/2-2"
    for folder in (old, other):
        folder.mkdir(parents=True)
        (folder / "3").touch()
    for one in (old / "3", old):
        os.utime(one, (1.0, 1.0))
    tell(7)
    assert not old.exists()
    assert (other / "3").exists()


def test_a_folder_that_cannot_be_written(tell: Tell, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is said once, and nobody has heard."""
    (tmp_path / "workers").write_text("a file, and no folder")
    with caplog.at_level(logging.WARNING, "handrail"):
        tell(7)
        tell(7)
    assert len(caplog.messages) == 1
    assert "without drain_wait" in caplog.messages[0]
    assert not _siblings.heard(tmp_path, LONG)
    _siblings.leave()


def test_who_is_alone_tells_nobody(tell: Tell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a single worker nor a process that is no worker."""
    monkeypatch.setattr(_siblings, "_has_siblings", lambda: False)
    tell(7)
    monkeypatch.setattr(_siblings, "_is_worker", lambda: False)
    monkeypatch.setattr(_siblings, "_has_siblings", lambda: True)
    tell(7)
    assert not (tmp_path / "workers").exists()


def test_it_is_looked_at_once_a_second(tmp_path: Path, tell: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often somebody asks."""
    now = [50.0]
    monkeypatch.setattr(_siblings, "_now", lambda: now[0])
    tell(7)
    (file,) = tmp_path.glob("workers/*/7")
    os.utime(file, (1.0, 1.0))
    _siblings.tell(tmp_path, LONG)
    assert file.stat().st_mtime == 1.0
    now[0] += 1
    _siblings.tell(tmp_path, LONG)
    assert file.stat().st_mtime > 1.0
