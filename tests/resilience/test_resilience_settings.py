"""The numbers: each in its range, and none against another."""

from dataclasses import FrozenInstanceError, fields, replace
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handrail.resilience import ResilienceSettings


def test_the_defaults_are_allowed() -> None:
    """What is used when nobody says anything has no problem."""
    assert ResilienceSettings().problems() == []


def test_settings_are_frozen() -> None:
    """Nobody changes them under a running service."""
    with pytest.raises(FrozenInstanceError):
        ResilienceSettings().attempts = 4  # type: ignore[misc]  # the point of the test


NO_NUMBERS = {"adaptive_concurrency", "breaker_routes", "idempotency_keys"}
NUMBERS = [field.name for field in fields(ResilienceSettings) if field.name not in NO_NUMBERS]


@pytest.mark.parametrize(
    ("name", "value"),
    [("adaptive_concurrency", 1), ("breaker_routes", ("charges",)), ("idempotency_keys", "never")],
)
def test_what_is_no_number_is_checked_as_well(name: str, value: object) -> None:
    """A choice that does not exist, a path that is none: one problem, with what is allowed."""
    (problem,) = replace(ResilienceSettings(), **{name: value}).problems()  # type: ignore[arg-type]  # wrong on purpose
    assert problem[:2] == (name, value)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [-1, inf, nan, "many", None, True])
def test_every_field_refuses_what_is_no_number_of_its_kind(name: str, value: object) -> None:
    """One problem, that names the field, its value and what is allowed; nothing is blamed on its partners."""
    (problem,) = replace(ResilienceSettings(), **{name: value}).problems()  # type: ignore[arg-type]  # wrong on purpose
    assert problem[:2] == (name, value)
    assert "from" in problem[2]


@pytest.mark.parametrize("name", ["attempts", "breaker_minimum_calls", "max_origins"])
def test_counts_are_whole(name: str) -> None:
    """Two and a half attempts do not exist."""
    (problem,) = replace(ResilienceSettings(), **{name: 2.5}).problems()  # type: ignore[arg-type]  # wrong on purpose
    assert problem[2].startswith("a whole number from 1")


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (
            ResilienceSettings(attempt_timeout=15, total_timeout=12),
            ("attempt_timeout", 15, "at most total_timeout, which is 12 s"),
        ),
        (
            ResilienceSettings(attempt_timeout=20),
            ("breaker_window", 30.0, "at least twice attempt_timeout, which is 20 s"),
        ),
        (ResilienceSettings(backoff_base=6), ("backoff_base", 6, "at most backoff_cap, which is 5 s")),
    ],
)
def test_contradictions_name_both_numbers(settings: ResilienceSettings, problem: tuple[str, object, str]) -> None:
    """The message says which of the two is out, and what the other one allows."""
    assert problem in settings.problems()


@given(total=st.floats(0.001, 86_400), attempt=st.floats(0.001, 86_400), window=st.floats(0.1, 86_400))
def test_no_pair_slips_through(total: float, attempt: float, window: float) -> None:
    """No problem means: attempt <= total and window >= 2 x attempt."""
    settings = ResilienceSettings(total_timeout=total, attempt_timeout=attempt, breaker_window=window)
    assert (settings.problems() == []) == (attempt <= total and window >= 2 * attempt)
