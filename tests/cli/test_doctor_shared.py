"""`handrail doctor` about the store that breakers are shared through."""

import io
import json
import sys
from pathlib import Path

import pytest
from rich.console import Console

from handrail.cli._doctor_view import show
from handrail.cli._report import Report, gather
from tests.redis_server import RedisServer


def said(report: Report) -> str:
    out = io.StringIO()
    show(report, Console(file=out, width=120))
    return out.getvalue()


def test_a_store_that_answers(tmp_path: Path) -> None:
    """One line says through what, that it is reachable, and how many votes it takes."""
    with RedisServer(tmp_path) as server:
        report = gather({"HANDRAIL_SHARED_STATE": server.url}, tmp_path)
    assert f"breakers shared through {server.url} (reachable, quorum 2)" in said(report)
    assert report.as_json()["shared_state"] == {"url": server.url, "quorum": 2, "reachable": True}
    assert not [finding for finding in report.findings if finding.id.startswith("HR05")]


def test_a_store_that_does_not_answer(tmp_path: Path) -> None:
    """A warning and no error: the service works without. No password is shown anywhere."""
    url = "redis://me:wrong-secret@127.0.0.1:1/0?password=wrong-secret"
    report = gather({"HANDRAIL_SHARED_STATE": url}, tmp_path)
    (finding,) = [finding for finding in report.findings if finding.id == "HR050"]
    assert (finding.severity, finding.where) == ("warning", "redis://127.0.0.1:1/0")
    assert "(cannot be reached, quorum 2)" in said(report)
    assert not report.failed
    assert "wrong-secret" not in said(report) + json.dumps(report.as_json()) + repr(report)


def test_a_missing_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without redis-py the service would not start: an error, with what to install."""
    monkeypatch.setitem(sys.modules, "redis", None)
    report = gather({"HANDRAIL_SHARED_STATE": "redis://127.0.0.1:1"}, tmp_path)
    (finding,) = [finding for finding in report.findings if finding.id == "HR051"]
    assert "pip install 'handrail[redis]'" in finding.what
    assert report.failed


def test_nothing_is_said_where_nothing_is_shared(tmp_path: Path) -> None:
    """Most services have no store."""
    report = gather({}, tmp_path)
    assert report.as_json()["shared_state"] is None
    assert "shared through" not in said(report)


def test_a_wrong_url_is_shown_without_its_password(tmp_path: Path) -> None:
    """Neither the finding nor the error of a start tells it."""
    report = gather({"HANDRAIL_SHARED_STATE": "http://me:wrong-secret@127.0.0.1"}, tmp_path)
    (finding,) = [finding for finding in report.findings if finding.id == "HR001"]
    assert "HANDRAIL_SHARED_STATE" in finding.what
    assert "wrong-secret" not in said(report) + json.dumps(report.as_json())
