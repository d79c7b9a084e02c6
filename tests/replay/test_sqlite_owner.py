"""A store in a shared folder that somebody else has put there: he could read answers, and write some."""

import os
from pathlib import Path

import pytest

from handrail.resilience.replay._sqlite_file import others
from handrail.resilience.replay._store_errors import StoreRefused
from handrail.resilience.replay.sqlite import SqliteStore

STRANGER = 4242


def given_away(path: Path) -> int:
    """Make it a stranger's, as far as we may; returns who we are then."""
    if os.geteuid() == 0:
        os.chown(path, STRANGER, -1)
        return 0
    return os.geteuid() + 1


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A folder like /tmp."""
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o1777)
    return folder


@pytest.mark.parametrize("name", ["handrail-1/idempotency/a.sqlite3", "a.sqlite3"])
def test_what_a_stranger_has_put_into_a_shared_folder_is_not_opened(
    shared: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder that was there first, or the file itself; it is refused with what to do."""
    path = shared / name
    first = shared / Path(name).parts[0]
    if first == path:
        first.touch()
    else:
        first.mkdir()
    user = given_away(first)
    monkeypatch.setattr("os.geteuid", lambda: user)
    with pytest.raises(StoreRefused, match="belongs to another user"):
        SqliteStore(path).open()


def test_what_is_ours_or_not_there_is_fine(shared: Path, tmp_path: Path) -> None:
    """Also in /tmp; and a stranger's file where nobody else can put one is a wish of the settings."""
    SqliteStore(shared / "handrail-1" / "a.sqlite3").open()
    SqliteStore(shared / "b.sqlite3").open()
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "a.sqlite3").touch()
    if os.geteuid() == 0:
        given_away(plain / "a.sqlite3")
    assert others(plain / "a.sqlite3", os.geteuid()) is None
    assert others(shared / "b.sqlite3", None) is None
