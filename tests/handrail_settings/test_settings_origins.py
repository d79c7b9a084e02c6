"""Settings of single origins: the same in every source, checked at the start, each problem with its place."""

import json
from pathlib import Path
from typing import Any, cast

import pytest

from handrail.resilience.origins import settings_of
from handrail.resilience.settings import ResilienceSettings
from handrail.settings import Overrides, Settings, load, resolve

PAYMENT = ("http", "payment", 8003)


def of(settings: Settings, origin: tuple[str, str, int]) -> ResilienceSettings:
    """What holds for an origin."""
    return settings_of(settings.resilience, settings.per_origin, origin)


def problems(tmp_path: Path, toml: str = "", **arguments: Any) -> list[str]:
    """What is wrong, line by line."""
    (tmp_path / "handrail.toml").write_text(toml)
    return [str(problem) for problem in resolve(cast("Overrides", arguments), {}, tmp_path).problems]


@pytest.mark.parametrize("source", ["argument", "environment HANDRAIL_ORIGINS", "handrail.toml", "pyproject.toml"])
def test_every_source_knows_them(tmp_path: Path, source: str) -> None:
    """Argument, JSON in the environment, both files: the same value, with its source."""
    tables = {"http://payment:8003": {"attempts": 1}}
    arguments: dict[str, Any] = {}
    environ = {}
    if source == "argument":
        arguments = {"origins": tables}
    elif source.startswith("environment"):
        environ = {"HANDRAIL_ORIGINS": json.dumps(tables)}
    else:
        head = "tool.handrail.origins" if source == "pyproject.toml" else "origins"
        (tmp_path / source).write_text(f'[{head}."http://payment:8003"]\nattempts = 1\n')
    found = load(cast("Overrides", arguments), environ, tmp_path)
    assert of(found, PAYMENT).attempts == 1
    assert of(found, ("http", "other", 80)).attempts == 3
    assert found.origins['origins."http://payment:8003".attempts'] == source
    assert found.origins["origins"] == source


def test_sources_are_laid_over_each_other_field_by_field(tmp_path: Path) -> None:
    """One pattern in three sources: the argument wins over the environment, that over the file."""
    (tmp_path / "handrail.toml").write_text(
        '[origins."payment:8003"]\nattempts = 2\nattempt_timeout = 2\ntotal_timeout = 9\n'
    )
    environ = {"HANDRAIL_ORIGINS": '{"payment:8003": {"attempts": 4, "attempt_timeout": 4}}'}
    found = load({"origins": {"PAYMENT:8003/": {"attempts": 5}}}, environ, tmp_path)
    now = of(found, PAYMENT)
    assert (now.attempts, now.attempt_timeout, now.total_timeout) == (5, 4.0, 9.0)


def test_a_general_argument_gives_way_to_an_origin_of_the_file(tmp_path: Path) -> None:
    """More specific is more than stronger: what somebody wrote for one peer holds for it."""
    (tmp_path / "handrail.toml").write_text('[origins."http://payment:8003"]\nattempts = 1\n')
    found = load({"attempts": 7}, {}, tmp_path)
    assert of(found, PAYMENT).attempts == 1
    assert found.resilience.attempts == 7


def test_what_an_origin_does_not_say_gives_way(tmp_path: Path) -> None:
    """`total_timeout = 5` for an origin shortens its attempts, also where their time was chosen in general."""
    found = load({"attempt_timeout": 8.0, "origins": {"payment:8003": {"total_timeout": 5}}}, {}, tmp_path)
    assert of(found, PAYMENT).attempt_timeout == 5


@pytest.mark.parametrize(
    ("toml", "line"),
    [
        ("attempts = 0", ".attempts = 0 (handrail.toml): must be a whole number from 1 (no retries) to 20"),
        ("attempts = '1'", ".attempts = '1' (handrail.toml): must be a whole number, such as 3, without quotes"),
        ("attemps = 1", ".attemps = 1 (handrail.toml): no such setting of an origin; did you mean attempts?"),
        ("max_origins = 5", ".max_origins = 5 (handrail.toml): is set for all origins, not for one"),
        ("strict = true", ".strict = True (handrail.toml): is set for all origins, not for one"),
        ("service_name = 'a'", ".service_name = 'a' (handrail.toml): is set for all origins, not for one"),
        (
            "attempt_timeout = 60",
            ".attempt_timeout = 60 (handrail.toml): must be at most total_timeout, which is 30 s",
        ),
    ],
)
def test_a_problem_names_its_pattern(tmp_path: Path, toml: str, line: str) -> None:
    """Origin, name, value, place, and what is allowed; said once."""
    assert problems(tmp_path, f'[origins."http://payment:8003"]\n{toml}\n') == [f'origins."http://payment:8003"{line}']


@pytest.mark.parametrize(
    "pattern", ["", "a b", "http://", "http://a/b", "a:0", "a:99999", "user@a", "http://a?x", "::1"]
)
def test_a_pattern_that_is_none_is_refused(tmp_path: Path, pattern: str) -> None:
    """A path, credentials or a port out of range are no part of an origin."""
    (line,) = problems(tmp_path, origins={pattern: {"attempts": 1}})
    assert line.startswith(f'origins."{pattern}" = ')
    assert "must be [scheme://]host[:port]" in line


@pytest.mark.parametrize(("value", "said"), [(3, "must be a table of settings"), ({"x": 3}, "no such setting")])
def test_a_table_that_is_none_is_refused(tmp_path: Path, value: object, said: str) -> None:
    """What stands under a pattern is a table of settings."""
    (line,) = problems(tmp_path, origins={"a": value})
    assert said in line


def test_what_is_no_table_of_tables_is_refused(tmp_path: Path) -> None:
    """In every source; and a general mistake is said alone, for nothing can be compared with it."""
    (line,) = problems(tmp_path, origins=3)
    assert line.startswith("origins = 3 (argument): must be a table of settings by origin, such as ")
    (line,) = problems(tmp_path, origins={"a": {"attempt_timeout": 60}}, total_timeout=-1)
    assert line.startswith("total_timeout = -1")


def test_the_environment_speaks_json(tmp_path: Path) -> None:
    """Anything else is answered with an example."""
    found = resolve({}, {"HANDRAIL_ORIGINS": "payment=1"}, tmp_path)
    assert [str(problem) for problem in found.problems] == [
        'HANDRAIL_ORIGINS = \'payment=1\' (environment): must be JSON, such as {"http://payment:8003": {"attempts": 1}}'
    ]


def test_json_of_a_hundred_thousand_brackets_is_refused(tmp_path: Path) -> None:
    """As a setting that cannot be used, not as the end of Python's stack."""
    (problem,) = resolve({}, {"HANDRAIL_ORIGINS": "[" * 100_000}, tmp_path).problems
    assert "must be JSON" in str(problem)


def test_patterns_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    """Each is right alone, but the origin that both fit would have an attempt longer than its total."""
    rules = {"https://*.example.com": {"attempt_timeout": 20}, "https://api.example.com": {"total_timeout": 5}}
    (line,) = problems(tmp_path, origins=rules)
    assert line == (
        'origins."https://api.example.com".total_timeout = 5 (argument): '
        "makes attempt_timeout 20.0, which must be at most total_timeout, which is 5 s"
    )


def test_credentials_in_a_pattern_are_not_told(tmp_path: Path) -> None:
    """A pattern has none; where somebody writes them, the message shows where and not what."""
    (said,) = problems(tmp_path, '[origins."http://me:secret@payment:8003"]\nattempts = 1')
    assert 'origins."http://***@payment:8003"' in said
    assert "secret" not in said
