"""`handrail doctor module:app`: what is in force in an application after its import."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

APP = """
import sys
print("the service speaks")
from handrail import protect

async def plain(scope, receive, send): ...

app = protect(plain, attempts=5)
"""


def doctor(folder: Path, *arguments: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, document and stderr of the command in a process of its own, whose modules are its own."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("HANDRAIL_", "OTEL_"))}
    command = [sys.executable, "-m", "handrail", "doctor", "--json", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environ | {"HOME": str(folder)}, capture_output=True, text=True, check=False
    )
    return done.returncode, json.loads(done.stdout), done.stderr


def ids(document: dict[str, Any]) -> dict[str, Any]:
    """The findings by id."""
    return {finding["id"]: finding for finding in document["findings"]}


def attempts(document: dict[str, Any]) -> tuple[object, str]:
    """Value and origin of one setting."""
    return next((item["value"], item["origin"]) for item in document["settings"] if item["name"] == "attempts")


@pytest.mark.parametrize("target", ["shop:app", "shop", "shop:plain"])
def test_arguments_of_protect_are_seen(tmp_path: Path, target: str) -> None:
    """They stand nowhere but in the code: only an import shows them. What the service prints is not in the document."""
    (tmp_path / "shop.py").write_text(APP)
    code, document, said = doctor(tmp_path, target)
    assert (code, document["app"], attempts(document)) == (0, target, (5, "argument"))
    assert any("Retry(5 attempts" in policy for policy in document["pipeline"])
    assert "the service speaks" in said


def test_nothing_is_imported_unasked(tmp_path: Path) -> None:
    """Without an application none of the service's code runs."""
    (tmp_path / "shop.py").write_text(APP)
    _, document, said = doctor(tmp_path)
    assert (document["app"], attempts(document), said) == (None, (3, "default"), "")


def test_a_factory(tmp_path: Path) -> None:
    """`module:make()` is called, as gunicorn does."""
    (tmp_path / "shop.py").write_text(APP.replace("app = ", "def make():\n    return "))
    assert attempts(doctor(tmp_path, "shop:make()")[1]) == (5, "argument")


@pytest.mark.parametrize(
    ("source", "target", "what"),
    [
        ("", "nope:app", "nope:app cannot be imported: ModuleNotFoundError: No module named 'nope'"),
        ("", "shop:nope", "shop:nope cannot be imported: AttributeError"),
        ("1 / 0", "shop:app", "shop:app cannot be imported: ZeroDivisionError"),
        ("import sys; sys.exit(3)", "shop:app", "shop:app cannot be imported: SystemExit: 3"),
    ],
)
def test_an_app_that_cannot_be_imported(tmp_path: Path, source: str, target: str, what: str) -> None:
    """One finding says why; the rest is told from folder and environment."""
    (tmp_path / "shop.py").write_text(source)
    code, document, _ = doctor(tmp_path, target)
    assert code == 1
    finding = ids(document)["HR005"]
    assert finding["what"].startswith(what)
    assert finding["where"].startswith(str(tmp_path))
    assert attempts(document) == (3, "default")


def settings_findings(document: dict[str, Any]) -> list[tuple[str, str, str]]:
    """What, where and mend of each HR001."""
    return [(one["what"], one["where"], one["mend"]) for one in document["findings"] if one["id"] == "HR001"]


def test_a_wrong_argument_is_a_wrong_setting(tmp_path: Path) -> None:
    """HR001 for each, as if it stood in the file, with the line of protect(); the application is not to blame."""
    (tmp_path / "shop.py").write_text(APP.replace("=5", "=0, atempt_timeout=3"))
    code, document, _ = doctor(tmp_path, "shop:app")
    assert code == 1
    assert "HR005" not in ids(document)
    place = f"argument of the code, {tmp_path}/shop.py:8"
    low, unknown = sorted(settings_findings(document), key=lambda found: "atempt" in found[0])
    assert (low[0], low[1]) == ("attempts = 0 cannot be used: the service does not start with it", place)
    assert low[2].startswith("must be a whole number")
    assert unknown[0].startswith("atempt_timeout = 3 cannot be used")
    assert "did you mean attempt_timeout?" in unknown[2]


def test_a_wrong_file_is_told_once(tmp_path: Path) -> None:
    """The import fails of what the folder's own look has found: one finding, not two."""
    (tmp_path / "shop.py").write_text(APP)
    (tmp_path / "handrail.toml").write_text("backoff_base = -1")
    code, document, _ = doctor(tmp_path, "shop:app")
    assert code == 1
    ((what, where, _),) = settings_findings(document)
    assert (what.split(" cannot")[0], where) == ("backoff_base = -1", "handrail.toml")


def test_two_calls_that_contradict_each_other(tmp_path: Path) -> None:
    """HR001 too, at the line of the second call: no single setting is wrong, and the message says what is."""
    (tmp_path / "shop.py").write_text(f"{APP}\nprotect(plain, attempts=4)\n")
    code, document, _ = doctor(tmp_path, "shop:app")
    assert code == 1
    assert "HR005" not in ids(document)
    ((what, where, _),) = settings_findings(document)
    assert "was called before in this process with other settings" in what
    assert where == f"{tmp_path}/shop.py:10"


def test_a_reader_that_leaves(tmp_path: Path) -> None:
    """`handrail doctor | head` is no error."""
    command = [sys.executable, "-m", "handrail", "doctor"]
    environ = os.environ | {"HOME": str(tmp_path)}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 0


def test_an_app_without_handrail(tmp_path: Path) -> None:
    """It may be started by `handrail run`: no error, and said."""
    (tmp_path / "shop.py").write_text("app = 1")
    code, document, _ = doctor(tmp_path, "shop:app")
    assert (code, ids(document)["HR006"]["severity"]) == (0, "info")
