"""The house rules are found broken where they are broken."""

from pathlib import Path

import pytest

from scripts import check_house


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree that keeps every rule."""
    for folder in check_house.KIT:
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "py.typed").touch()
    (tmp_path / "tests").mkdir()
    (tmp_path / "AGENTS.md").write_text("one line\n")
    (tmp_path / "CHANGELOG.md").write_text("### Defaults\n")
    (tmp_path / "LICENSE").write_text("Apache License\n")
    monkeypatch.setattr(check_house, "ROOT", tmp_path)
    return tmp_path


def test_a_house_in_order_has_no_findings(house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is printed and the exit code is 0."""
    assert check_house.main() == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("file", "text", "finding"),
    [
        ("tracing/long.py", "\n" * 301, "tracing/long.py:1: 301 lines, at most 300"),
        ("resilience/f.py", "def f():\n" + "    1\n" * 60, "resilience/f.py:1: f has 61 lines, at most 60"),
        ("tests/test_a.py", "def test_a(): ...\n", "tests/test_a.py:1: test_a has no docstring"),
        ("AGENTS.md", "\n" * 101, "AGENTS.md:100: 101 lines, at most 100"),
        ("CHANGELOG.md", "", "CHANGELOG.md:1: no '### Defaults' part"),
        ("LICENSE", "", "LICENSE:1: not the Apache License"),
    ],
)
def test_each_broken_rule_is_a_finding(
    house: Path, capsys: pytest.CaptureFixture[str], file: str, text: str, finding: str
) -> None:
    """Path, line and what is wrong, and exit code 1."""
    (house / file).write_text(text)
    assert check_house.main() == 1
    assert capsys.readouterr().out.startswith(finding)


def test_two_test_files_of_one_name_are_a_finding(house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Test modules are found by name in reports: each name is there once."""
    for folder in ("one", "two"):
        (house / "tests" / folder).mkdir()
        (house / "tests" / folder / "test_same.py").touch()
    assert check_house.main() == 1
    assert "same name as" in capsys.readouterr().out


def test_a_missing_py_typed_is_a_finding(house: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without the marker type checkers ignore the package."""
    (house / "tracing" / "py.typed").unlink()
    assert check_house.main() == 1
    assert capsys.readouterr().out.startswith("tracing/py.typed:1: missing")
