"""What running processes note of connections past all policies, and what `handrail doctor` makes of it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from handrail._unguarded_notes import Note, noted, write
from handrail.cli import _installed
from handrail.cli._unguarded import unguarded
from handrail.settings import resolve
from handrail.tracing.settings import TracingSettings

SCRIPT = """
import socket, threading
import handrail.auto
listener = socket.create_server(("127.0.0.1", 0))
port = listener.getsockname()[1]
for _ in range(2):
    socket.create_connection(("127.0.0.1", port)).close()
for thread in threading.enumerate():
    if thread.name == "handrail-notes":
        thread.join()
print(port)
"""


def _settings(store: Path, service: str) -> TracingSettings:
    return resolve(environ={"HANDRAIL_TRACES_DIR": str(store), "OTEL_SERVICE_NAME": service}).settings.tracing


def test_a_process_is_read_by_another(tmp_path: Path) -> None:
    """HR043: destination, file and line, and the process; also after its end."""
    script = tmp_path / "service.py"
    script.write_text(SCRIPT)
    environ = {**os.environ, "HANDRAIL_TRACES_DIR": str(tmp_path / "traces"), "OTEL_TRACES_EXPORTER": "none"}
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    target = f"127.0.0.1:{done.stdout.strip()}"
    assert done.stderr.count(f"{script}:7 connects to {target} past handrail") == 1
    (found,) = unguarded(_settings(tmp_path / "traces", tmp_path.name))
    assert (found.id, found.severity) == ("HR043", "warning")
    assert target in found.what
    assert found.where.startswith(f"{script}:7, in ")
    assert "ended, pid" in found.where
    assert f'destinations = ["{target}"]' in found.mend


def test_databases_are_information(tmp_path: Path) -> None:
    """HR044, after the others; each destination once, a few of each kind."""
    notes = [Note(target=f"db{n}:5432", place="a.py:1", known=True) for n in range(9)]
    notes += [Note(target=f"api{n}:80", place="a.py:2", known=False) for n in range(9)]
    write(tmp_path, "order", notes)
    found = unguarded(_settings(tmp_path, "order"))
    assert [one.id for one in found] == ["HR043"] * 5 + ["HR044"] * 5
    assert found[0].where == f"a.py:2, in order, pid {os.getpid()}"


def test_other_services_are_not_told_of(tmp_path: Path) -> None:
    """All projects of a user share one store by default: doctor speaks of the one that it was asked about."""
    write(tmp_path, "order", [Note(target="api:80", place="a.py:1", known=False)])
    mine = tmp_path / f"unguarded-{os.getpid()}.json"
    (tmp_path / "unguarded-1.json").write_text(
        mine.read_text().replace('"order"', '"blog"').replace("api:80", "cms:80")
    )
    assert sorted(one.service for one in noted(tmp_path)) == ["blog", "order"]
    assert [one.what.split()[2] for one in unguarded(_settings(tmp_path, "order"))] == ["api:80"]
    assert unguarded(_settings(tmp_path, "shop")) == []


def test_notes_are_bounded_and_forgotten(tmp_path: Path) -> None:
    """Files of ended processes go after an hour, and there are never more than 64; broken ones are passed over."""
    for number in range(80):
        (tmp_path / f"unguarded-{number}.json").write_text("{")
    write(tmp_path, "order", [Note(target="a:80", place="a.py:1", known=False)])
    assert len(list(tmp_path.glob("unguarded-*.json"))) == 64
    assert [one.note.target for one in noted(tmp_path)] == ["a:80"]
    mine = tmp_path / f"unguarded-{os.getpid()}.json"
    mine.write_text(json.dumps(json.loads(mine.read_text()) | {"began": "long ago", "written": 0}))
    assert noted(tmp_path) == []
    assert not mine.exists()


def test_folder_that_cannot_be_written_is_passed_over(tmp_path: Path) -> None:
    """A note is worth no failure."""
    (tmp_path / "file").touch()
    write(tmp_path / "file", "order", [Note(target="a:80", place="a.py:1", known=False)])
    assert noted(tmp_path / "file") == []


def test_old_aiohttp_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before 3.12 aiohttp has no client middlewares: its calls are not guarded, and doctor says so."""
    monkeypatch.setattr(_installed, "_version", {"aiohttp": "3.11.18", "httpx": "0.28.1"}.get)
    (found,) = _installed.clients()
    assert (found.id, found.mend) == ("HR042", "pip install 'aiohttp>=3.12'")
    monkeypatch.setattr(_installed, "_version", {"aiohttp": "3.12.0"}.get)
    assert _installed.clients() == []
