"""What `handrail doctor` says of the store of answers to keyed requests."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from handrail.cli import main
from handrail.cli._report import gather


def doctor(folder: Path, store: str) -> tuple[dict[str, object] | None, list[tuple[str, str]]]:
    found = gather({"HANDRAIL_IDEMPOTENCY_STORE": store, "XDG_STATE_HOME": str(folder / "state")}, folder).as_json()
    said = [(one["id"], one["what"]) for one in found["findings"] if one["id"] in ("HR052", "HR053")]  # type: ignore[attr-defined]
    return found["idempotency"], said  # type: ignore[return-value]


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """The first POST makes it: doctor says where it will be."""
    found, said = doctor(tmp_path, "auto")
    path = tmp_path / "state" / "handrail" / "idempotency" / f"{tmp_path.name} *.sqlite3"
    assert found == {"where": str(path), "reachable": True}
    assert said == []
    assert not path.exists()


def test_a_file_that_is_no_store(tmp_path: Path) -> None:
    """Said as what the requests will get."""
    (tmp_path / "a.sqlite").write_text("this is no database, and long enough to be looked at as one" * 20)
    found, ((finding, what),) = doctor(tmp_path, f"sqlite:///{tmp_path}/a.sqlite")
    assert found == {"where": str(tmp_path / "a.sqlite"), "reachable": False}
    assert finding == "HR052"
    assert "503" in what


def test_off_is_nothing(tmp_path: Path) -> None:
    """No store, no finding."""
    assert doctor(tmp_path, "off") == (None, [])


@pytest.mark.parametrize("scheme", ["redis", "postgresql"])
def test_a_server_that_is_not_there(tmp_path: Path, scheme: str) -> None:
    """A warning: the service starts all the same. No password in it."""
    found, ((finding, what),) = doctor(tmp_path, f"{scheme}://u:secret@127.0.0.1:1/0")
    assert found is not None
    assert (found["reachable"], finding) == (False, "HR052")
    assert "secret" not in what + str(found)


def test_a_url_that_means_nothing(tmp_path: Path) -> None:
    """An error: the service does not start."""
    found, ((finding, what),) = doctor(tmp_path, "redis://h:port/0")
    assert (found, finding) == (None, "HR053")
    assert "idempotency_store" in what


def test_the_screen_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A section of its own, with the place."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    shown = CliRunner().invoke(main, ["doctor"]).output
    assert "Answers to requests with an Idempotency-Key" in shown
    assert str(tmp_path / "handrail" / "idempotency") in shown
    assert json.loads(CliRunner().invoke(main, ["doctor", "--json"]).output)["idempotency"]["reachable"]
