"""Wrong settings stop the start with one message: name, value, where, what is allowed."""

import math
import os
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import pytest

from handrail.resilience.errors import HandrailError, SettingsError
from handrail.settings import Overrides, load, resolve


def refused(
    arguments: dict[str, Any] | None = None, environ: dict[str, str] | None = None, cwd: Path | None = None
) -> list[str]:
    """The lines of the error, without its head."""
    with pytest.raises(SettingsError) as caught:
        load(cast("Overrides", arguments or {}), environ or {}, cwd)
    return [line.strip() for line in str(caught.value).splitlines()[1:]]


def test_all_problems_at_once(tmp_path: Path) -> None:
    """Whoever has made three mistakes learns of all three, from every source."""
    (tmp_path / "handrail.toml").write_text("atempts = 2\n")
    lines = refused(
        {"breaker_failure_rate": 2}, {"HANDRAIL_TOTAL_TIMEOUT": "soon", "OTEL_TRACES_SAMPLER": "x"}, tmp_path
    )
    assert lines[0] == "atempts = 2 (handrail.toml): no such setting; did you mean attempts?"
    assert lines[1] == ("HANDRAIL_TOTAL_TIMEOUT = 'soon' (environment): must be seconds as a plain number, such as 0.5")
    assert lines[2].startswith("breaker_failure_rate = 2 (argument): must be a share from 0.01 to 1")
    assert lines[3].startswith("OTEL_TRACES_SAMPLER = 'x' (environment): must be one of: always_on,")
    assert len(lines) == 4


def test_two_probes_at_one_path(tmp_path: Path) -> None:
    """Readiness would be answered as liveness, and traffic would come while the service ends; `off` twice is fine."""
    (line,) = refused({}, {"HANDRAIL_LIVE_PATH": "/readyz"}, tmp_path)
    assert line == "HANDRAIL_LIVE_PATH = '/readyz' (environment): must be another path than ready_path, or off"
    (line,) = refused({"ready_path": "/livez"}, {}, tmp_path)
    assert line.endswith("must be another path than ready_path, or off")
    load({"live_path": "off", "ready_path": "off"}, {}, tmp_path)


def test_is_a_value_error_too() -> None:
    """Code that knows nothing of handrail catches it as ValueError."""
    assert issubclass(SettingsError, ValueError)
    assert issubclass(SettingsError, HandrailError)


@pytest.mark.parametrize(("text", "meant"), [("500ms", "0.5"), ("2s", "2"), ("1m", "60"), ("0.5 H", "1800")])
def test_a_unit_gets_the_number_that_was_meant(tmp_path: Path, text: str, meant: str) -> None:
    """Durations are plain seconds; a unit is answered with the right spelling."""
    (line,) = refused({}, {"HANDRAIL_ATTEMPT_TIMEOUT": text}, tmp_path)
    assert line.endswith(f"must be seconds as a plain number, such as 0.5; write {meant}")


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("HANDRAIL_ATTEMPT_TIMOUT", "HANDRAIL_ATTEMPT_TIMEOUT"),
        ("HANDRAIL_SERVICENAME", "HANDRAIL_SERVICE_NAME"),
        ("HANDRAIL_enabled", "HANDRAIL_ENABLED"),
    ],
)
def test_unknown_variable_names_the_likely_one(tmp_path: Path, variable: str, meant: str) -> None:
    """A slip in the name of a variable is answered with the name that was meant."""
    (line,) = refused({}, {variable: "1"}, tmp_path)
    assert line == f"{variable} = '1' (environment): no such setting; did you mean {meant}?"


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("HANDRAIL_ATTEMPTS", "\u0663"),
        ("HANDRAIL_ATTEMPTS", "1_0"),
        ("HANDRAIL_TOTAL_TIMEOUT", "1_0.5"),
        ("HANDRAIL_BREAKER_FAILURE_RATE", "\u0660.5"),
        ("HANDRAIL_ROUTE_SAMPLING", "/x=0.1_0"),
    ],
)
def test_a_number_is_what_everybody_reads_as_one(tmp_path: Path, variable: str, text: str) -> None:
    """Digits of other scripts and underscores are numbers to Python alone, and refused."""
    (line,) = refused({}, {variable: text}, tmp_path)
    assert line.startswith(f"{variable} = {text!r} (environment): must be ")


@pytest.mark.parametrize("name", ["a\0b", "a\nb", "\u202etxt", "x" * 256, "x" * 1_000_000])
@pytest.mark.parametrize("source", ["argument", "HANDRAIL_SERVICE_NAME", "OTEL_SERVICE_NAME", "resource"])
def test_a_service_name_can_be_shown(tmp_path: Path, name: str, source: str) -> None:
    """It stands in every span, log line and list: control characters and a whole book are refused, and not quoted."""
    places: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
        "argument": ({"service_name": name}, {}),
        "resource": ({}, {"OTEL_RESOURCE_ATTRIBUTES": f"service.name={quote(name)}"}),
    }
    (line,) = refused(*places.get(source, ({}, {source: name})), tmp_path)
    assert line.endswith("at most 255 characters, all of them visible or spaces")
    assert len(line) < 400


def test_a_folder_that_could_be_no_name_gives_what_is_left(tmp_path: Path) -> None:
    """The default of the name is nobody's choice, so it is no mistake either."""
    folder = tmp_path / "sh\nop"
    folder.mkdir()
    assert load({}, {}, folder).tracing.service_name == "shop"


def test_a_path_with_a_nul_is_none(tmp_path: Path) -> None:
    """No file system has one."""
    (line,) = refused({"traces_dir": "a\0b"}, {}, tmp_path)
    assert line == "traces_dir = 'a\\x00b' (argument): must be the path of a folder"


def test_unknown_variable_without_a_likely_one(tmp_path: Path) -> None:
    """A name that is like no other is refused without a guess."""
    (line,) = refused({}, {"HANDRAIL_COLOUR": "red"}, tmp_path)
    assert line == "HANDRAIL_COLOUR = 'red' (environment): no such setting; `handrail doctor` lists them"


def test_unknown_argument(tmp_path: Path) -> None:
    """An argument that does not exist is refused like any other source."""
    (line,) = refused({"attempt-timeout": 3}, {}, tmp_path)
    assert line == "attempt-timeout = 3 (argument): no such setting; did you mean attempt_timeout?"


@pytest.mark.parametrize(
    ("toml", "allowed"),
    [
        ("attempts = '3'", "must be a whole number, such as 3, without quotes"),
        ("attempts = 3.5", "must be a whole number, such as 3"),
        ("attempts = true", "must be a whole number, such as 3"),
        ("attempt_timeout = '5'", "must be seconds as a plain number, such as 0.5, without quotes"),
        ("attempt_timeout = nan", "must be seconds as a plain number, such as 0.5"),
        ("attempt_timeout = 00:00:05", "must be seconds as a plain number, such as 0.5"),
        ("enabled = 'yes'", "must be true or false, without quotes"),
        ("enabled = 1", "must be true or false"),
        ("service_name = ''", "must be a text that is not empty"),
        ("service_name = 3", "must be a text that is not empty"),
        ("traces_dir = 3", "must be the path of a folder"),
        ("breaker_failure_rate = '50%'", "must be a number from 0 to 1, such as 0.5, without quotes"),
        ("attempts = {}", "must be a whole number, such as 3"),
    ],
)
def test_toml_types(tmp_path: Path, toml: str, allowed: str) -> None:
    """TOML has types: a number in quotes is a mistake that is named."""
    (tmp_path / "handrail.toml").write_text(toml)
    (line,) = refused({}, {}, tmp_path)
    assert line.endswith(f"(handrail.toml): {allowed}")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("attempts", 0),
        ("attempts", -1),
        ("total_timeout", 0),
        ("total_timeout", math.inf),
        ("breaker_failure_rate", 0),
        ("traces_max_bytes", 1000),
        ("flush_timeout", -1),
        ("flush_timeout", math.inf),
    ],
)
def test_ranges(tmp_path: Path, name: str, value: float) -> None:
    """A value out of range is refused once, with the range, and blamed on nothing else."""
    (line,) = refused({name: value}, {}, tmp_path)
    assert line.startswith(f"{name} = ")
    assert "(argument): must be " in line


def test_contradiction_names_both_numbers_and_both_places(tmp_path: Path) -> None:
    """attempt_timeout above total_timeout: both numbers, and where each was written."""
    (tmp_path / "handrail.toml").write_text("attempt_timeout = 20\n")
    (line,) = refused({}, {"HANDRAIL_TOTAL_TIMEOUT": "5"}, tmp_path)
    assert line == (
        "attempt_timeout = 20 (handrail.toml): must be at most total_timeout, "
        "which is 5 s (environment HANDRAIL_TOTAL_TIMEOUT)"
    )


@pytest.mark.parametrize(
    ("name", "text", "written", "allowed"),
    [
        ("attempts", "0", 0, "must be a whole number from 1 (no retries) to 20"),
        ("flush_timeout", "99", 99, "must be from 0 to 60 seconds"),
        ("blocked_loop", "99", 99, "must be from 0 (off) to 60 seconds"),
        ("inbound_trace", "drop", "drop", "must be continue or link"),
        ("exclude_routes", "metrics", ["metrics"], "must begin with /"),
        ("exclude_routes", "/a,b", ["/a", "b"], "each must begin with /, 'b' does not"),
        ("trusted_proxies", "me", ["me"], "must be IP addresses, networks such as 10.0.0.0/8, or *: 'me' is none"),
        ("prometheus_path", "metrics", "metrics", "must begin with /"),
    ],
)
def test_a_setting_is_shown_as_it_was_written(
    tmp_path: Path, name: str, text: str, written: object, allowed: str
) -> None:
    """Under the variable's name and with its text where the environment set it, else as code and TOML have it."""
    variable = f"HANDRAIL_{name.upper()}"
    assert refused({}, {variable: text}, tmp_path) == [f"{variable} = {text!r} (environment): {allowed}"]
    assert refused({name: written}, {}, tmp_path) == [f"{name} = {written!r} (argument): {allowed}"]


def test_a_missing_extra_is_answered_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a setting needs is told as what to type."""
    monkeypatch.setattr("handrail._settings_telling.importable", lambda _module: False)
    monkeypatch.setattr("handrail.tracing._environ.importable", lambda _module: False)
    (line,) = refused({}, {"HANDRAIL_PROMETHEUS_PATH": "/metrics"}, tmp_path)
    assert line == "HANDRAIL_PROMETHEUS_PATH = '/metrics' (environment): needs pip install 'handrail[prometheus]'"
    line = refused({}, {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, tmp_path)[0]
    assert line == "OTEL_EXPORTER_OTLP_PROTOCOL = 'grpc' (environment): needs pip install 'handrail[grpc]'"


def test_attempt_longer_than_the_default_total(tmp_path: Path) -> None:
    """Only one of both was chosen, but nobody can tell which is meant: refused, with the default named."""
    (line,) = refused({"attempt_timeout": 60}, {}, tmp_path)
    assert line == "attempt_timeout = 60 (argument): must be at most total_timeout, which is 30 s (default)"


def test_an_unreadable_value_is_not_compared(tmp_path: Path) -> None:
    """A value that could not be read is one problem, not two."""
    (line,) = refused({"attempt_timeout": 60}, {"HANDRAIL_TOTAL_TIMEOUT": "long"}, tmp_path)
    assert line.startswith("HANDRAIL_TOTAL_TIMEOUT = 'long'")


def test_a_wrong_value_below_a_right_one_is_still_wrong(tmp_path: Path) -> None:
    """The environment hides a bad line of the file today; the day it goes, the service must not fall."""
    (tmp_path / "handrail.toml").write_text("attempts = 'many'\n")
    (line,) = refused({}, {"HANDRAIL_ATTEMPTS": "2"}, tmp_path)
    assert line.startswith("attempts = 'many' (handrail.toml)")


def test_the_switch_works_whatever_else_is_wrong(tmp_path: Path) -> None:
    """`enabled = false` is the emergency switch: a broken file must not keep it from working."""
    (tmp_path / "handrail.toml").write_text("attempts = [")
    environ = {"HANDRAIL_ENABLED": "false", "HANDRAIL_ATTEMPT_TIMEOUT": "x"}
    assert load({}, environ, tmp_path).enabled is False
    assert len(resolve({}, environ, tmp_path).problems) == 2


def test_working_folder_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deleted working folder means no files and no name, not an error."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert load({}, {}).tracing.service_name == "unknown_service"
    os.chdir(tmp_path)


def test_no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's numeric user has no home: the store goes to the temporary folder."""

    def no_home() -> Path:
        raise RuntimeError

    monkeypatch.setattr(Path, "home", no_home)
    assert load({}, {}, tmp_path).tracing.store.name == "traces"
    (line,) = refused({}, {"HANDRAIL_TRACES_DIR": "~nobody-here/x"}, tmp_path)
    assert line.startswith("HANDRAIL_TRACES_DIR = '~nobody-here/x' (environment): ~ means nothing here")
