"""Handing facts to listeners."""

import logging

import pytest

from handrail.resilience.events import Event, Listeners, NotRetried
from handrail.resilience.testing import RecordingListener

FACT = NotRetried("http://peer", "GET", 1, "503", "unsafe_method")


def test_every_listener_hears_every_event_in_order() -> None:
    """One added twice hears it once; one removed no more; an unknown one may be removed."""
    first, second = RecordingListener(), RecordingListener()
    listeners = Listeners(first)
    listeners.add(second)
    listeners.add(first)
    listeners(FACT)
    listeners.remove(second)
    listeners.remove(second)
    listeners(FACT)
    assert (first.events, second.events) == ([FACT, FACT], [FACT])


def test_a_listener_that_raises_is_named_once_and_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """The request goes on, the others hear it, the log has one line."""

    def broken(event: Event) -> None:
        raise ValueError("mine")

    other = RecordingListener()
    listeners = Listeners(broken, other)
    with caplog.at_level(logging.ERROR, "handrail"):
        listeners(FACT)
        listeners(FACT)
    assert len(other.events) == 2
    assert [record.name for record in caplog.records] == ["handrail"]
    assert "failed on" in caplog.text
