"""The first command in a fresh clone: which Python is taken, and what is said where there is none."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.packaging.conftest import ROOT

OLD = "#!/bin/sh\nexit 1\n"
"""A Python that does not fit: too old, without venv, or a version manager's name that does not run."""


def make_venv(folder: Path, path: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    command = ["/bin/sh", str(ROOT / "scripts" / "make_venv.sh"), str(folder / ".venv"), "demo"]
    env = {"PATH": str(path), **environ}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=200, check=False)


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A PATH with `date` and a python3 that does not fit."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "date").symlink_to(str(shutil.which("date")))
    (folder / "python3").write_text(OLD)
    (folder / "python3").chmod(0o755)
    return folder


def test_no_fitting_python_is_said_plainly(tools: Path, tmp_path: Path) -> None:
    """Without Python 3.11 the message says what was tried and what to do; nothing is left behind."""
    done = make_venv(tmp_path, tools)
    assert done.returncode != 0
    assert "no Python >= 3.11 with the venv module found" in done.stderr
    assert "make PYTHON=/path/to/python3.11" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_a_name_that_does_not_run_is_passed_over(tools: Path, tmp_path: Path) -> None:
    """A python3 that does not fit does not hide a python3.11 that does."""
    (tools / "python3.11").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (tools / "python3.11").chmod(0o755)
    done = make_venv(tmp_path, tools, PIP_NO_INDEX="1", PIP_FIND_LINKS="", HOME=str(tmp_path))
    assert f"({tools / 'python3.11'})" in done.stdout  # it goes on to pip, which finds nothing here
    assert (tmp_path / ".venv" / "bin" / "python").exists()
    assert not (tmp_path / ".venv" / ".ready-demo").exists()
