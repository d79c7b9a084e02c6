"""Notices that a call which had its retries is made again: by another retry layer, over ours.

Two layers multiply: three attempts each are nine requests to a peer that is down. What was used up is remembered in the
context, and the same request from the same lines soon after is a second layer.
"""

import logging
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from ._trail import Trail, trail
from .call import Call
from .events import SecondRetry
from .policy import Tools

__all__ = ["SecondLayer", "remembered"]

_log = logging.getLogger("handrail")

HAND_WRITTEN = "hand-written"
SOON = 3.0
"""Seconds within which the same request is a hand-written retry; later it is a poll."""
LATER = 60.0
"""Seconds within which it is one of a library that is seen on the stack."""
_PLACES = 1000

_said: set[str] = set()


@dataclass(frozen=True, slots=True)
class _UsedUp:
    """One call that failed for good, and when; forgotten with its context, or by the next."""

    target: str
    operation: str
    likeness: object
    at: float
    trail: Trail


remembered: ContextVar[_UsedUp | None] = ContextVar("handrail_used_up", default=None)
"""What failed last in this context. A task made meanwhile has a copy; what it does is not seen here."""


class SecondLayer:
    """`remember` what failed after its retries, `look` whether it comes again. A good call pays for neither."""

    __slots__ = ("_attempts", "_tools")

    def __init__(self, attempts: int, tools: Tools) -> None:
        self._attempts = attempts
        self._tools = tools

    def remember(self, call: Call[Any]) -> None:
        """Keep the call in the context, where its library can tell it from others."""
        likeness = call.likeness()
        if likeness is not None:
            now = self._tools.clock.now()
            remembered.set(_UsedUp(call.target, call.operation, likeness, now, trail()))

    def look(self, call: Call[Any]) -> None:
        """Tell it where `call` is what was used up, made again; asked only while something is remembered."""
        used = remembered.get()
        if used is None:
            return
        passed = self._tools.clock.now() - used.at
        if passed > LATER:
            remembered.set(None)
            return
        if (used.target, used.operation) != (call.target, call.operation) or used.likeness != call.likeness():
            return
        found = trail(named=True)
        if not found.again(used.trail) or (found.layer is None and passed > SOON):
            return
        remembered.set(None)
        self._tell(call, found.layer or HAND_WRITTEN, found.place)

    def _tell(self, call: Call[Any], layer: str, place: str) -> None:
        self._tools.emit(SecondRetry(call.target, call.operation, layer, place))
        if place in _said or len(_said) >= _PLACES:
            return
        _said.add(place)
        who = "a loop" if layer is HAND_WRITTEN else layer
        _log.warning(
            "%s %s at %s failed after the retries of handrail (%d attempts) and is made again by %s: the two multiply. "
            'Take that retry away, or ours: attempts = 1 under [origins."%s"] in handrail.toml',
            call.operation,
            call.target,
            place,
            self._attempts,
            who,
            call.target,
        )
