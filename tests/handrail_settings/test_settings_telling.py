"""Settings of what is told: lists, rates and choices, and the words for a wrong one."""

from pathlib import Path

import pytest

from handrail import SettingsError
from handrail.settings import load


def test_lists_and_tables_from_the_environment(tmp_path: Path) -> None:
    """A list is separated by commas; a rate follows its pattern; the order is kept."""
    environ = {"HANDRAIL_TRUSTED_PROXIES": "10.0.0.0/8, ::1", "HANDRAIL_ROUTE_SAMPLING": "/b=0.5,/a/*=0"}
    telling = load({}, environ, tmp_path).tracing.telling
    assert telling.trusted_proxies == ("10.0.0.0/8", "::1")
    assert telling.route_sampling == (("/b", 0.5), ("/a/*", 0.0))


def test_an_empty_list_says_none(tmp_path: Path) -> None:
    """An empty list in code or file switches a default list off."""
    assert load({"exclude_routes": []}, {}, tmp_path).tracing.telling.exclude_routes == ()


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("TRUSTED_PROXIES", "10.0.0.0/8,proxy", "'proxy' is none"),
        ("EXCLUDE_ROUTES", "health", "begin with /"),
        ("ROUTE_SAMPLING", "/a=2", "from 0 to 1"),
        ("ROUTE_SAMPLING", "/a", "from 0 to 1"),
        ("ROUTE_SAMPLING", "a=0.5", "begin with /"),
        ("INBOUND_TRACE", "restart", "continue or link"),
        ("LOG_FORMAT", "xml", "keep or json"),
        ("BLOCKED_LOOP", "100", "0 (off) to 60 seconds"),
        ("PROMETHEUS_PATH", "metrics", "begin with /"),
        ("QUEUE_MAX_BYTES", "100", "at least 65536"),
    ],
)
def test_a_wrong_one_stops_the_start(tmp_path: Path, variable: str, value: str, allowed: str) -> None:
    """The error has the setting, its value, and what is allowed."""
    with pytest.raises(SettingsError) as caught:
        load({}, {f"HANDRAIL_{variable}": value}, tmp_path)
    assert variable.lower() in str(caught.value).lower()
    assert allowed in str(caught.value)
