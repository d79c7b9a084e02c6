"""A line in the log for each breaker that opens or closes: for services whose traces and metrics nobody looks at."""

import logging

from .resilience.events import CircuitChanged, Event

__all__ = ["breaker_lines"]

_log = logging.getLogger("handrail")

_WHY = {
    "slow_calls": "too many calls were slow",
    "probe": "the probe failed",
    "shared": "enough other instances opened theirs",
}


def breaker_lines(event: Event) -> None:
    """A resilience listener: WARNING where a circuit opens, INFO where it closes; a probe under way is no news."""
    if not isinstance(event, CircuitChanged):
        return
    if event.after == "closed":
        _log.info("circuit to %s closed: it is called again", event.target)
    elif event.after != "open" or event.before == "open":
        return
    elif event.cause == "manual":
        _log.warning("circuit to %s is held open by hand, until it is closed by hand", event.target)
    elif event.before == "closed":
        why = _WHY.get(event.cause, f"{event.failure_rate:.0%} of {event.calls} calls failed")
        _log.warning("circuit to %s opened: %s; next probe in %.1f s", event.target, why, event.open_for)
