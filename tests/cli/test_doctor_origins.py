"""What `handrail doctor` says of single origins, for people and for programs."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from handrail.cli import main
from handrail.resilience.registry import Registry
from handrail.settings import load

FILE = """\
attempts = 4
[origins."http://payment:8003"]
attempts = 1
total_timeout = 5
[origins."https://*.stripe.com"]
idempotency_keys = "always"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "handrail.toml").write_text(FILE)
    return tmp_path


def doctor(*arguments: str) -> Result:
    """What the command does in this folder."""
    return CliRunner().invoke(main, ["doctor", *arguments], env={"HANDRAIL_BACKOFF_CAP": "4"})


def sections(text: str) -> dict[str, list[str]]:
    """The sections about calls, by their titles."""
    blocks = [block.splitlines() for block in text.split("\n\n")]
    return {block[0]: block[1:] for block in blocks if block and block[0].startswith("Around")}


def test_each_pattern_has_its_pipeline(folder: Path) -> None:
    """After the general one, in the order of the file, with the values that are its own and where they stand."""
    found = sections(doctor().stdout)
    assert list(found) == [
        "Around each request",
        "Around each outbound call",
        "Around each call to http://payment:8003",
        "Around each call to https://*.stripe.com",
    ]
    payment = [" ".join(line.split()) for line in found["Around each call to http://payment:8003"]]
    assert payment[0] == "TotalTimeout(5 s)"
    assert payment[-3:] == [
        'total_timeout 5 s handrail.toml, origins."http://payment:8003"',
        "attempt_timeout 5 s fitted to what this origin has",
        'attempts 1 handrail.toml, origins."http://payment:8003"',
    ]


@pytest.mark.parametrize("asked", ["http://payment:8003", "HTTP://payment:8003/charges?x=1", "payment:8003"])
def test_one_origin(folder: Path, asked: str) -> None:
    """Asked for alone, also by a URL: its pipeline, and every value that is no default with the place it is from."""
    found = sections(doctor("--origin", asked).stdout)
    ((title, lines),) = found.items()
    assert title == "Around each call to http://payment:8003"
    assert [" ".join(line.split()) for line in lines][-4:] == [
        'total_timeout 5 s handrail.toml, origins."http://payment:8003"',
        "attempt_timeout 5 s fitted to what this origin has",
        'attempts 1 handrail.toml, origins."http://payment:8003"',
        "backoff_cap 4 s environment HANDRAIL_BACKOFF_CAP",
    ]


def test_an_origin_without_settings_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer to a question is never empty."""
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["doctor", "--origin", "http://a"])
    assert "all by default" in done.stdout


@pytest.mark.parametrize("asked", ["a b", "", "http://", "https://*.a", "a:0", "a:*"])
def test_what_is_no_origin_is_wrong_usage(folder: Path, asked: str) -> None:
    """Exit code 2, and what one looks like."""
    done = doctor("--origin", asked)
    assert done.exit_code == 2
    assert "must be an origin, such as http://payment:8003" in done.stderr


def test_for_programs(folder: Path) -> None:
    """The same as JSON: patterns, values with their places, the policies of one origin."""
    document: dict[str, Any] = json.loads(doctor("--json", "--origin", "https://api.stripe.com").stdout)
    assert [view["origin"] for view in document["origins"]] == ["http://payment:8003", "https://*.stripe.com"]
    one = document["origin"]
    assert (one["origin"], one["fits"]) == ("https://api.stripe.com", ["https://*.stripe.com"])
    assert {value["name"]: value["value"] for value in one["settings"]} == {
        "attempts": 4,
        "backoff_cap": 4.0,
        "idempotency_keys": "always",
    }
    assert any("Retry(4 attempts" in policy for policy in one["pipeline"])
    (origins,) = [setting for setting in document["settings"] if setting["name"] == "origins"]
    assert origins["value"]["http://payment:8003"] == {"attempts": 1, "total_timeout": 5.0}
    assert json.loads(doctor("--json").stdout)["origin"] is None


def test_it_is_what_the_process_does(folder: Path) -> None:
    """The pipeline that is shown is the one that calls get."""
    settings = load({}, {**os.environ, "HANDRAIL_BACKOFF_CAP": "4"})
    entry = Registry(settings.resilience, rules=settings.per_origin).pipeline("http", "payment", 8003)
    document: dict[str, Any] = json.loads(doctor("--json", "--origin", "http://payment:8003").stdout)
    assert " > ".join([*document["origin"]["pipeline"], "call"]) == str(entry.pipeline)


def test_a_wrong_origin_is_a_finding(folder: Path) -> None:
    """HR001 with its pattern; no pipeline is claimed for it."""
    (folder / "handrail.toml").write_text('[origins."http://a"]\nattempts = 99\n')
    done = doctor()
    assert done.exit_code == 1
    assert 'origins."http://a".attempts = 99 cannot be used' in " ".join(done.stdout.split())
    assert "nothing: handrail is off, or a setting is wrong" in done.stdout
