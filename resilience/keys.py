"""Idempotency keys for calls whose code wrote none, where the peer says that it honours them.

draft-ietf-httpapi-idempotency-key-header: one key per logical call, the same on every attempt. A peer that honours keys
says so in its answers (`idempotency-key-honoured: ?1`); from then on POST and PATCH to it are retried like GET.
"""

from typing import Any
from uuid import uuid4

from .call import Call, Resend
from .events import KeysHonoured
from .policy import Tools

__all__ = ["HONOURED", "HONOURS", "METHODS", "Keys"]

HONOURS = "idempotency-key-honoured"
"""The response header by which a service says that a key makes POST and PATCH safe to send to it again."""
HONOURED = "?1"
"""Its value: a structured-field boolean (RFC 9651, 3.3.6). Anything else says that keys are not honoured."""
METHODS = frozenset({"POST", "PATCH"})
"""The methods that a key makes safe; the only ones that are given one, and whose answers are looked at."""

BELIEVED = 600.0
"""Seconds after which what a peer said is too old: it may have been replaced since."""

_BETWEEN = frozenset({"502", "503", "504"})


class Keys:
    """What one origin says of keys, and a key for each call that needs one. Safe for threads.

    Never assumed: an origin that has not said it gets no key (mode `auto`). It is taken back by the first answer to a
    POST or PATCH that does not say it again; answers of 502, 503 and 504 without it leave things as they are, since a
    gateway gives them in the place of the peer; and it is forgotten after `BELIEVED` seconds without another answer.
    """

    __slots__ = ("_tools", "_until", "honoured", "target")

    def __init__(self, target: str, tools: Tools | None = None) -> None:
        self.target = target
        self.honoured = False
        """What the peer said last."""
        self._until = 0.0
        self._tools = tools or Tools()

    def give(self, call: Call[Any], mode: str) -> None:
        """Give an unsafe call a key, and with it the right to be sent again. `mode`: auto, always or off."""
        if call.resend is not Resend.UNSAFE or call.operation not in METHODS:
            return
        if mode == "always" or (mode == "auto" and self._holds(call)):
            call.key = f'"{uuid4()}"'
            call.resend = Resend.KEYED

    def lapsed(self, call: Call[Any], mode: str) -> bool:
        """Whether a call was given its key by a promise that has been taken back since."""
        return call.key is not None and mode == "auto" and not self._holds(call)

    def learn(self, call: Call[Any], result: object) -> None:
        """Hear what an answer to an unsafe call says of keys."""
        if call.operation not in METHODS:
            return
        if call.wire.header(result, HONOURS) == HONOURED:
            self._until = self._tools.clock.now() + BELIEVED
            self._change(call, True)
        elif call.verdict.cause not in _BETWEEN:
            self._change(call, False)

    def _holds(self, call: Call[Any]) -> bool:
        if self.honoured and self._tools.clock.now() > self._until:
            self._change(call, False)
        return self.honoured

    def _change(self, call: Call[Any], honoured: bool) -> None:
        # Without a lock: two threads that cross at the change may tell it twice, and the last answer holds.
        if self.honoured is not honoured:
            self.honoured = honoured
            self._tools.emit(KeysHonoured(self.target, call.operation, honoured))
