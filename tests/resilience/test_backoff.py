"""Pauses between attempts."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handrail.resilience.backoff import full_jitter, retry_after_seconds

WALL = datetime(2026, 1, 1, tzinfo=UTC).timestamp()


@given(
    attempt=st.integers(1, 10_000),
    base=st.floats(0, 3600),
    cap=st.floats(0, 3600),
    draw=st.floats(0, 1, exclude_max=True),
)
def test_a_pause_lies_between_nothing_and_the_doubled_base_and_the_cap(
    attempt: int, base: float, cap: float, draw: float
) -> None:
    """0 <= pause <= min(cap, base * 2**(attempt - 1)), for any attempt, without overflow."""
    pause = full_jitter(attempt, base=base, cap=cap, jitter=lambda: draw)
    assert 0 <= pause <= cap
    if attempt < 60:
        assert pause <= base * 2 ** (attempt - 1)


def test_the_bound_doubles_until_the_cap() -> None:
    """With the highest draw the pauses are base, 2 base, 4 base, ..., cap."""
    pauses = [full_jitter(n, base=0.5, cap=3.0, jitter=lambda: 1.0) for n in range(1, 6)]
    assert pauses == [0.5, 1.0, 2.0, 3.0, 3.0]


@pytest.mark.parametrize("raw", ["0", "7", " 120 "])
def test_seconds_are_read(raw: str) -> None:
    """A whole number of seconds is taken as it is (RFC 9110, 10.2.3)."""
    assert retry_after_seconds(raw, WALL) == float(raw)


@pytest.mark.parametrize("ahead", [90, 0, -90])
def test_a_date_counts_from_the_wall_clock(ahead: int) -> None:
    """An HTTP date asks for the seconds until then, one gone by for none."""
    date = datetime.fromtimestamp(WALL, UTC) + timedelta(seconds=ahead)
    assert retry_after_seconds(format_datetime(date, usegmt=True), WALL) == max(0, ahead)


def test_a_date_without_zone_is_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a missing zone nor -0000 lets the local zone in."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    for raw in ("Thu, 01 Jan 2026 00:01:00", "Thu, 01 Jan 2026 00:01:00 -0000"):
        assert retry_after_seconds(raw, WALL) == 60


@pytest.mark.parametrize(
    "raw",
    [None, "", "soon", "-1", "1.5", "1e3", "٣", "nan", "inf", "9" * 5000, "Thu, 99 Foo 2026 00:00:00 GMT", "\x00"],
)
def test_garbage_is_ignored(raw: str | None) -> None:
    """What is neither seconds nor a date says nothing."""
    assert retry_after_seconds(raw, WALL) is None


@given(st.text(max_size=80))
def test_no_text_breaks_the_reader(raw: str) -> None:
    """Any text gives None or a number of seconds that is not negative."""
    seconds = retry_after_seconds(raw, WALL)
    assert seconds is None or seconds >= 0
