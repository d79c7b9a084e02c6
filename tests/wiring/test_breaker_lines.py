"""What the log says of breakers."""

import logging

import pytest

from handrail._breaker_lines import breaker_lines
from handrail.resilience.events import CircuitChanged, RetriesExhausted

PAY = "http://payment:8003"


def changed(before: str, after: str, cause: str = "failures", open_for: float = 15.0) -> CircuitChanged:
    return CircuitChanged(PAY, "GET", before, after, 0.6, 12, open_for, cause)


@pytest.mark.parametrize(
    ("event", "level", "text"),
    [
        (changed("closed", "open"), logging.WARNING, "opened: 60% of 12 calls failed; next probe in 15.0 s"),
        (changed("closed", "open", "slow_calls"), logging.WARNING, "opened: too many calls were slow"),
        (changed("closed", "open", "shared"), logging.WARNING, "opened: enough other instances opened theirs"),
        (changed("half_open", "open", "manual", 0.0), logging.WARNING, "is held open by hand"),
        (changed("half_open", "closed", "probe"), logging.INFO, "closed: it is called again"),
    ],
)
def test_a_change_is_one_line(caplog: pytest.LogCaptureFixture, event: CircuitChanged, level: int, text: str) -> None:
    """Who opened it, why, and until when; for services whose traces nobody looks at."""
    with caplog.at_level(logging.INFO, "handrail"):
        breaker_lines(event)
    (record,) = caplog.records
    assert record.levelno == level
    assert f"circuit to {PAY} {text}" in record.getMessage()


@pytest.mark.parametrize("event", [changed("open", "half_open"), changed("half_open", "open", "probe")])
def test_a_probe_is_no_news(caplog: pytest.LogCaptureFixture, event: CircuitChanged) -> None:
    """A peer that stays dead makes one line, not one for each probe."""
    with caplog.at_level(logging.INFO, "handrail"):
        breaker_lines(event)
        breaker_lines(RetriesExhausted(PAY, "GET", 3, 1.0, "connect"))
    assert caplog.records == []
