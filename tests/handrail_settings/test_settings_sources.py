"""Argument over environment over file over default, and a name for where each value came from."""

import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import get_type_hints

import pytest

from handrail._settings_resolve import KINDS
from handrail.resilience.settings import ResilienceSettings
from handrail.settings import Overrides, load


def test_defaults_stand_alone(tmp_path: Path) -> None:
    """Without any source every value is the default and says so."""
    settings = load({}, {}, tmp_path)
    assert settings.enabled is True
    assert settings.problem_details is True
    assert settings.resilience == ResilienceSettings()
    assert settings.tracing.flush_timeout == 1.5
    assert {origin.partition(" (")[0] for origin in settings.origins.values()} == {"default"}


def test_order_of_sources(tmp_path: Path) -> None:
    """Argument > environment > handrail.toml > default, for each value by itself."""
    (tmp_path / "handrail.toml").write_text("attempts = 5\nbackoff_cap = 4\nbackoff_base = 0.2\n")
    environ = {"HANDRAIL_ATTEMPTS": "6", "HANDRAIL_BACKOFF_CAP": "3"}
    settings = load({"attempts": 7}, environ, tmp_path)
    assert settings.resilience.attempts == 7
    assert settings.origins["attempts"] == "argument"
    assert settings.resilience.backoff_cap == 3.0
    assert settings.origins["backoff_cap"] == "environment HANDRAIL_BACKOFF_CAP"
    assert settings.resilience.backoff_base == 0.2
    assert settings.origins["backoff_base"] == "handrail.toml"
    assert settings.origins["total_timeout"] == "default"


def test_pyproject_section(tmp_path: Path) -> None:
    """[tool.handrail] counts where there is no handrail.toml."""
    (tmp_path / "pyproject.toml").write_text("[tool.handrail]\nenabled = false\nmax_origins = 10\n")
    settings = load({}, {}, tmp_path)
    assert settings.enabled is False
    assert settings.resilience.max_origins == 10
    assert settings.origins["max_origins"] == "pyproject.toml"


def test_every_field_has_a_typed_argument() -> None:
    """`protect(app, ...)`, the environment and the file know the same names."""
    assert set(get_type_hints(Overrides)) == set(KINDS)
    assert {field.name for field in fields(ResilienceSettings)} <= set(KINDS)


def test_every_name_works_in_every_source(tmp_path: Path) -> None:
    """No setting is known to one source alone."""
    values = {name: load({}, {}, tmp_path).value(name) for name in KINDS if name != "origins"}  # its own file
    # Where the default is nothing, an empty variable would count as unset.
    values |= {"route_sampling": (("/a", 0.5), ("/b/{id}", 0.0)), "prometheus_path": "/metrics"}
    values |= {"shared_state": "redis://127.0.0.1:1", "breaker_routes": ("/a", "/b/*")}
    values |= {"trace_link": "https://traces.example/{trace_id}", "ready_requires": ("answers", "http://payment:8003")}
    values |= {"priority_routes": (("/reports/*", "sheddable"),), "single_flight_routes": ("/stock",)}
    values |= {"chaos_faults": ("out error=503 every=3", "in latency=0.5 /stock"), "chaos_secret": "x" * 16}
    values |= {name: ("10.0.0.0/8", "10.1.1.1") for name in values if values[name] == ()}
    toml = "".join(f"{name} = {_toml(value)}\n" for name, value in values.items())
    environ = {f"HANDRAIL_{name.upper()}": _text(value) for name, value in values.items()}
    (tmp_path / "handrail.toml").write_text(toml)
    from_file = load({}, {}, tmp_path)
    from_environ = load({}, environ, tmp_path)
    assert {from_file.origins[name] for name in values} == {"handrail.toml"}
    assert {from_environ.origins[name] for name in values} == {f"environment {name}" for name in environ}
    for name, value in values.items():
        assert from_file.value(name) == from_environ.value(name) == value


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        pairs = isinstance(value[0], tuple)
        inside = ", ".join(f'"{word[0]}" = {_toml(word[1])}' if pairs else f'"{word}"' for word in value)
        return f"{{{inside}}}" if pairs else f"[{inside}]"
    return str(value).lower() if isinstance(value, bool | int | float) else f'"{value}"'


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(f"{word[0]}={word[1]}" if isinstance(word, tuple) else word for word in value)
    return str(value)


@pytest.mark.parametrize("word", ["true", "1", "yes", "on", "TRUE", " On "])
def test_true_in_the_environment(tmp_path: Path, word: str) -> None:
    """Four words mean true, in any case, blanks around them ignored."""
    (tmp_path / "handrail.toml").write_text("problem_details = false")
    assert load({}, {"HANDRAIL_PROBLEM_DETAILS": word}, tmp_path).problem_details is True


@pytest.mark.parametrize("word", ["false", "0", "no", "off", "Off"])
def test_false_in_the_environment(tmp_path: Path, word: str) -> None:
    """Four words mean false, in any case."""
    assert load({}, {"HANDRAIL_PROBLEM_DETAILS": word}, tmp_path).problem_details is False


def test_empty_variable_is_unset(tmp_path: Path) -> None:
    """An empty variable is an unset one, as OpenTelemetry rules for its own."""
    settings = load({}, {"HANDRAIL_ATTEMPTS": "", "HANDRAIL_ENABLED": "  "}, tmp_path)
    assert settings.resilience.attempts == 3
    assert settings.origins["attempts"] == "default"


def test_kubernetes_service_variables_are_not_settings(tmp_path: Path) -> None:
    """A Kubernetes service called handrail must not stop every pod of its namespace."""
    environ = {
        "HANDRAIL_SERVICE_HOST": "10.0.0.1",
        "HANDRAIL_SERVICE_PORT": "80",
        "HANDRAIL_SERVICE_PORT_HTTP": "80",
        "HANDRAIL_PORT": "tcp://10.0.0.1:80",
        "HANDRAIL_PORT_80_TCP": "tcp://10.0.0.1:80",
        "HANDRAIL_PORT_80_TCP_ADDR": "10.0.0.1",
        "HANDRAIL_DEMO_SERVICE_HOST": "10.0.0.2",
        "HANDRAIL_JAEGER": "/opt/jaeger",
    }
    assert load({}, environ, tmp_path).resilience == ResilienceSettings()


def test_service_name_from_project_then_folder(tmp_path: Path) -> None:
    """The service is called as its project, else as its folder."""
    assert load({}, {}, tmp_path).tracing.service_name == tmp_path.name
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'orders'\n")
    settings = load({}, {}, tmp_path)
    assert settings.tracing.service_name == "orders"
    assert settings.origins["service_name"] == "pyproject.toml [project].name"


def test_service_name_argument_over_otel_over_ours(tmp_path: Path) -> None:
    """OTEL_SERVICE_NAME wins over HANDRAIL_SERVICE_NAME and the file, an argument over both."""
    environ = {"OTEL_SERVICE_NAME": "by-otel", "HANDRAIL_SERVICE_NAME": "by-handrail"}
    settings = load({}, environ, tmp_path)
    assert settings.tracing.service_name == "by-otel"
    assert settings.origins["service_name"] == "environment OTEL_SERVICE_NAME"
    assert load({"service_name": "by-code"}, environ, tmp_path).tracing.service_name == "by-code"
    del environ["OTEL_SERVICE_NAME"]
    assert load({}, environ, tmp_path).tracing.service_name == "by-handrail"
    environ = {"OTEL_RESOURCE_ATTRIBUTES": "service.name=by-resource"}
    settings = load({}, environ, tmp_path)
    assert settings.tracing.service_name == "by-resource"
    assert settings.origins["service_name"] == "environment OTEL_RESOURCE_ATTRIBUTES"


def test_store_follows_xdg(tmp_path: Path) -> None:
    """The local store is in XDG_STATE_HOME; a relative one is invalid and ignored (XDG base directory)."""
    home = str(tmp_path)
    state = load({}, {"XDG_STATE_HOME": "/var/state", "HOME": home}, tmp_path)
    assert state.tracing.store == Path("/var/state/handrail/traces")
    relative = load({}, {"XDG_STATE_HOME": "state", "HOME": home}, tmp_path)
    assert relative.tracing.store == tmp_path / ".local/state/handrail/traces"


def test_traces_dir_is_relative_to_the_working_folder(tmp_path: Path) -> None:
    """A relative traces_dir is made absolute, so that a later chdir does not move the store."""
    assert load({"traces_dir": "here"}, {}, tmp_path).tracing.store == tmp_path / "here"
    assert load({"traces_dir": tmp_path / "there"}, {}, tmp_path).tracing.store == tmp_path / "there"


def test_a_default_gives_way_to_what_was_chosen(tmp_path: Path) -> None:
    """One short total is no contradiction: the defaults inside it shrink, and say so."""
    settings = load({"total_timeout": 0.05, "backoff_cap": 0.01}, {}, tmp_path)
    assert settings.resilience.attempt_timeout == 0.05
    assert settings.resilience.backoff_base == 0.01
    assert settings.origins["backoff_base"] == "default, fitted to backoff_cap"
    assert settings.origins["attempt_timeout"] == "default, fitted to total_timeout"
    longer = load({"attempt_timeout": 25}, {}, tmp_path)
    assert longer.resilience.breaker_window == 50.0
    assert longer.origins["breaker_window"] == "default, fitted to attempt_timeout"


def test_loading_is_cheap() -> None:
    """Settings need neither the command line's libraries, nor a client, nor the OpenTelemetry SDK."""
    heavy = ("rich", "click", "httpx", "httpx2", "opentelemetry.sdk", "opentelemetry.exporter", "starlette")
    code = f"import sys, handrail.settings as s; s.load(); sys.exit(repr([m for m in {heavy!r} if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=200)
    assert done.stderr.strip() == "[]"
