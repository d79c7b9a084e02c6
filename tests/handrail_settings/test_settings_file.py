"""handrail.toml and [tool.handrail]: which one counts, and what is said of one that cannot be read."""

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from handrail import SettingsError
from handrail._settings_file import read
from handrail.settings import load, resolve


def test_no_files(tmp_path: Path) -> None:
    """No file is no problem."""
    found = read(tmp_path)
    assert (found.name, dict(found.values), found.problems) == (None, {}, ())


def test_own_file_hides_the_section(tmp_path: Path) -> None:
    """With both, handrail.toml wins as a whole, nothing is merged, and doctor can say so."""
    (tmp_path / "pyproject.toml").write_text("[tool.handrail]\nattempts = 9\nmax_origins = 9\n")
    (tmp_path / "handrail.toml").write_text("attempts = 2\n")
    found = resolve({}, {}, tmp_path)
    assert found.file.shadowed
    assert found.settings.resilience.attempts == 2
    assert found.settings.resilience.max_origins == 1024


def test_malformed_file_says_line_and_column(tmp_path: Path) -> None:
    """A broken handrail.toml stops the start and says where it breaks."""
    (tmp_path / "handrail.toml").write_text("attempts = 3\nbackoff_cap = = 2\n")
    (problem,) = read(tmp_path).problems
    assert problem.name == "handrail.toml"
    assert "is not valid TOML" in problem.allowed
    assert "at line 2, column 15" in problem.allowed


def test_a_thousand_brackets_are_a_problem_like_others(tmp_path: Path) -> None:
    """Not the end of Python's stack, which would end the following of the file for good."""
    (tmp_path / "handrail.toml").write_text(f"attempts = {'[' * 100_000}")
    (problem,) = read(tmp_path).problems
    assert problem.allowed == "is nested too deeply"


def test_malformed_end_says_its_line(tmp_path: Path) -> None:
    """A bracket that never closes is found at the end, and the end has a line too."""
    (tmp_path / "handrail.toml").write_text("backoff_cap = 2\nattempts = [\n")
    (problem,) = read(tmp_path).problems
    assert problem.allowed == "is not valid TOML: Invalid value (at line 2, the end of the file)"


def test_not_utf8_says_the_line(tmp_path: Path) -> None:
    """TOML is UTF-8; another encoding is named with its line."""
    (tmp_path / "handrail.toml").write_bytes(b"attempts = 3\n# caf\xe9\n")
    (problem,) = read(tmp_path).problems
    assert problem.allowed == "is not UTF-8 (at line 2)"


def test_byte_order_mark(tmp_path: Path) -> None:
    """Editors on Windows write a byte order mark; it is not an error."""
    (tmp_path / "handrail.toml").write_bytes(b"\xef\xbb\xbfattempts = 4\n")
    assert load({}, {}, tmp_path).resilience.attempts == 4


def test_unreadable_file(tmp_path: Path) -> None:
    """A handrail.toml that cannot be opened is a problem, not an absent file."""
    (tmp_path / "handrail.toml").mkdir()
    (problem,) = read(tmp_path).problems
    assert problem.allowed == "is a folder; a file is wanted"


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


def _huge(path: Path) -> None:
    with path.open("wb") as file:
        file.write(b"[tool.handrail]\n")
        file.truncate(1 << 30)  # no byte of it takes room on the disk


ODD = pytest.mark.parametrize(
    ("make", "why"),
    [
        (_fifo, "is a named pipe; a file is wanted"),
        (_listening, "is a socket; a file is wanted"),
        (lambda path: path.symlink_to("/dev/zero"), "is a device; a file is wanted"),
        (_huge, "is longer than 1 MiB"),
        (lambda path: path.symlink_to("nowhere.toml"), "is a link to nowhere.toml, which does not exist"),
        (lambda path: path.symlink_to(path.name), "cannot be read: Too many levels of symbolic links"),
    ],
    ids=["fifo", "socket", "device", "huge", "broken link", "link to itself"],
)


@ODD
def test_what_is_no_settings_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None], why: str
) -> None:
    """It is refused by what it is: nobody waits for a pipe's writer, or reads a device or a gigabyte."""
    monkeypatch.chdir(tmp_path)  # the path of a socket has a bound
    make(Path("handrail.toml"))
    with pytest.raises(SettingsError) as caught:
        load({}, {}, tmp_path)
    assert str(caught.value).endswith(f"handrail.toml' (file): {why}")


@ODD
def test_what_is_no_pyproject(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None], why: str
) -> None:
    """Neither does it hold a start that has no settings in it; where it speaks of us it stops the start."""
    monkeypatch.chdir(tmp_path)
    make(Path("pyproject.toml"))
    found = resolve({}, {}, tmp_path)
    assert found.file.ignored == why
    assert [problem.allowed for problem in found.problems] == ([why] if make is _huge else [])


def test_a_file_hidden_by_the_null_device_is_empty(tmp_path: Path) -> None:
    """As containers and systemd hide one: no setting, no error."""
    (tmp_path / "handrail.toml").symlink_to(os.devnull)
    assert (dict(read(tmp_path).values), read(tmp_path).problems) == ({}, ())


def test_a_file_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so; root, who runs these tests here and there, may read everything."""
    (tmp_path / "handrail.toml").touch()

    def refused(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refused)
    (problem,) = read(tmp_path).problems
    assert problem.allowed == "cannot be read: Permission denied"


def test_table_of_pyproject_in_own_file(tmp_path: Path) -> None:
    """[tool.handrail] in handrail.toml is a frequent slip, and answered as such."""
    (tmp_path / "handrail.toml").write_text("[tool.handrail]\nattempts = 3\n")
    (problem,) = resolve({}, {}, tmp_path).problems
    assert problem.allowed == "handrail.toml takes its keys at the top, without [tool.handrail]"


@pytest.mark.parametrize("text", ["[project\nname = 1", "\x00"])
def test_foreign_pyproject_may_be_broken(tmp_path: Path, text: str) -> None:
    """A pyproject.toml that says nothing of us does not stop the service; doctor mentions it."""
    (tmp_path / "pyproject.toml").write_text(text)
    found = resolve({}, {}, tmp_path)
    assert found.problems == ()
    assert found.file.ignored is not None
    assert found.settings.tracing.service_name == tmp_path.name


def test_broken_pyproject_with_our_section(tmp_path: Path) -> None:
    """Settings that cannot be read because the file around them is broken do stop it."""
    (tmp_path / "pyproject.toml").write_text("[tool.handrail]\nattempts = 3\n[broken\n")
    (problem,) = resolve({}, {}, tmp_path).problems
    assert problem.name == "pyproject.toml"
    assert "line 3" in problem.allowed


@pytest.mark.parametrize("text", ["tool = 3", "[tool]\nhandrail = 3", "[project]\nname = 3", "project = []"])
def test_unexpected_shapes(tmp_path: Path, text: str) -> None:
    """Whatever stands in pyproject.toml, reading it does not raise."""
    (tmp_path / "pyproject.toml").write_text(text)
    problems = [str(problem) for problem in read(tmp_path).problems]
    expected = ["tool.handrail = 3 (pyproject.toml): must be a table: [tool.handrail]"]
    assert problems == (expected if "handrail = 3" in text else [])
