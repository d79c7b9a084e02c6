"""What is said and done where Jaeger is there, can be built, is refused, or cannot be had."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.packaging.conftest import ROOT

GO = """#!/bin/sh
case "$*" in
  "env -json GOBIN GOPATH") echo '{"GOBIN": "", "GOPATH": "GOPATH_HERE"}' ;;
  *@798e4b0fcf22) echo '{"Error": "403 Forbidden: not available"}'; exit 1 ;;
  "mod download -json "*@v1.76.0) FALLBACK ;;
  build*) while [ "$1" != -o ]; do shift; done; echo 'a binary' > "$2" ;;
  *) echo "unexpected: $*" >&2; exit 3 ;;
esac
"""


def install(path: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "install_jaeger.py")]
    return subprocess.run(
        command, env={"PATH": path, **environ}, capture_output=True, text=True, timeout=200, check=False
    )


@pytest.fixture
def fake_go(tmp_path: Path) -> Path:
    """A Go whose proxy refuses the pinned commit, as some do."""
    source = tmp_path / "source" / "cmd"
    source.mkdir(parents=True)
    source.parent.chmod(0o555)  # the module cache is read-only
    go = tmp_path / "bin" / "go"
    go.parent.mkdir()
    served = f'echo \'{{"Dir": "{source.parent}"}}\''
    go.write_text(GO.replace("GOPATH_HERE", str(tmp_path / "gopath")).replace("FALLBACK", served))
    go.chmod(0o755)
    return go


def test_a_named_binary_is_used(tmp_path: Path) -> None:
    """HANDRAIL_JAEGER wins; the last line of standard output is the path."""
    binary = tmp_path / "jaeger"
    binary.write_text("")
    binary.chmod(0o755)
    done = install("/nowhere", HANDRAIL_JAEGER=str(binary))
    assert (done.returncode, done.stdout) == (0, f"{binary}\n")


def test_a_named_file_that_cannot_run_is_refused(tmp_path: Path) -> None:
    """A wrong HANDRAIL_JAEGER is an error, not a reason to look elsewhere."""
    done = install("/nowhere", HANDRAIL_JAEGER=str(tmp_path))
    assert done.returncode == 1
    assert f"HANDRAIL_JAEGER={tmp_path} is not an executable file" in done.stderr


def test_without_go_it_says_what_to_do() -> None:
    """No Jaeger and no Go: exit code 1 and both ways out."""
    done = install("/nowhere")
    assert (done.returncode, done.stdout) == (1, "")
    assert "install Go" in done.stderr
    assert "HANDRAIL_JAEGER" in done.stderr


def test_a_refused_commit_is_told_and_the_fallback_built(fake_go: Path, tmp_path: Path) -> None:
    """Where the pin is refused the newest tag is built; the reason and the version are said and written down."""
    done = install(f"{fake_go.parent}:/usr/bin:/bin")
    binary = tmp_path / "gopath" / "bin" / "jaeger"
    assert (done.returncode, done.stdout) == (0, f"{binary}\n"), done.stderr
    assert "2.20.0 refused: 403 Forbidden: not available" in done.stderr
    assert binary.read_text() == "a binary\n"
    assert binary.with_name("jaeger.version").read_text().startswith("2.13.0 ")


def test_when_all_is_refused_the_error_is_quoted(fake_go: Path) -> None:
    """Nothing can be built: exit code 1, with what Go said of each version."""
    fake_go.write_text(
        fake_go.read_text().replace("@v1.76.0)", '@v1.76.0) echo \'{"Error": "gone"}\'; exit 1 ;; other)')
    )
    done = install(f"{fake_go.parent}:/usr/bin:/bin")
    assert done.returncode == 1
    assert "2.20.0 refused: 403 Forbidden" in done.stderr
    assert "2.13.0 refused: gone" in done.stderr
