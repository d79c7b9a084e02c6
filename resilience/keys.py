"""Idempotency keys for calls whose code wrote none, where the peer says that it honours them.

draft-ietf-httpapi-idempotency-key-header: one key per logical call, the same on every attempt. A peer that honours keys
says so in its answers (`idempotency-key-honoured: ?1`); from then on POST and PATCH to it are retried like GET.

Behind one origin there may be several instances, each with a store of its own, and the second attempt may meet another
than the first. So a peer names its store (`?1;store="6c0f..."`), a key names the store that it relies on, and an
instance with another store refuses it before it does anything (421): the call then goes out once more without a key,
as it would have without us.

In between there may be somebody who hands on the peer's answers, and not our keys: a gateway that lets known headers
pass alone, or a service that copies the headers of another one. So a promise names the Host that was asked, and the key
that has come (`?1;store="6c0f...";host="payment:8003";key="93ae..."`). Where the Host is not ours, keys are given, and
relied upon after one of them was named; where a key of ours is not named, they are not for ten minutes.
"""

from typing import Any

from .call import Call, Resend
from .classify import MISDIRECTED
from .events import KeysHonoured
from .keyed import HONOURED, HONOURS, METHODS, MISDIRECTED_KEY, REFUSED, Key, Promise, promise, seen
from .policy import Tools

__all__ = ["HONOURED", "HONOURS", "Keys"]

BELIEVED = 600.0
"""Seconds after which what a peer said is too old: it may have been replaced since."""

_BETWEEN = frozenset({"502", "503", "504"})


class Keys:
    """What one origin says of keys, and a key for each call that needs one. Safe for threads.

    Never assumed: an origin that has not said it gets no key (mode `auto`). It is taken back by the first answer to a
    POST or PATCH that does not say it again; answers of 502, 503 and 504 without it leave things as they are, since a
    gateway gives them in the place of the peer; and it is forgotten after `BELIEVED` seconds without another answer.
    An origin that was heard to have two stores, or to lose our keys, is not believed for as long.
    """

    __slots__ = ("_distrusted_until", "_offered_until", "_store", "_tools", "_until", "honoured", "target")

    def __init__(self, target: str, tools: Tools | None = None) -> None:
        self.target = target
        self.honoured = False
        """What the peer said last."""
        self._until = 0.0
        self._store = ""
        self._distrusted_until = 0.0
        self._offered_until = 0.0
        """Until when keys are given without relying on them, to see whether they arrive."""
        self._tools = tools or Tools()

    def give(self, call: Call[Any], mode: str) -> None:
        """Give an unsafe call a key, and with it the right to be sent again. `mode`: auto, always or off."""
        if call.resend is not Resend.UNSAFE or call.operation not in METHODS:
            return
        if mode == "always" or (mode == "auto" and self._holds(call)):
            call.key = Key.new(self._store if mode == "auto" else "")
            call.resend = Resend.KEYED
        elif mode == "auto" and self._offered_until and self._tools.clock.now() < self._offered_until:
            call.key = Key.new(self._store)

    def lapsed(self, call: Call[Any], mode: str) -> bool:
        """Whether a call was given its key by a promise that has been taken back since."""
        return call.key is not None and mode == "auto" and not self._holds(call)

    def learn(self, call: Call[Any], result: object) -> None:
        """Hear what an answer to an unsafe call says of keys."""
        if call.operation not in METHODS:
            return
        said = promise(call.wire.header(result, HONOURS))
        if said is not None:
            self._heard(call, said)
        elif call.verdict.cause not in _BETWEEN:
            self._offered_until = 0.0
            self._change(call, False)
        if call.verdict.cause == "421" and call.attempt == 1 and self.refused(call, result) == MISDIRECTED_KEY:
            call.key = None
            call.resend = Resend.UNSAFE
            call.verdict = MISDIRECTED

    def refused(self, call: Call[Any], result: object) -> str | None:
        """The reason for which an answer refuses a key that we gave; None where it is an answer to the request."""
        return None if call.key is None else call.wire.header(result, REFUSED)

    def _heard(self, call: Call[Any], said: Promise) -> None:
        now = self._tools.clock.now()
        if now < self._distrusted_until:
            return
        key = call.key if call.key is not None and call.key.store else None
        lost = key is not None and said.host is not None and said.key != seen(key[1:-1])
        if lost or (self.honoured and said.store != self._store):
            self._distrusted_until = now + BELIEVED
            self._offered_until = 0.0
            self._change(call, False)
            return
        if key is None and said.host is not None and not self._is_here(said.host):
            if not self.honoured:
                self._store = said.store
                self._offered_until = now + BELIEVED
            return
        self._offered_until = 0.0
        self._store = said.store
        self._until = now + BELIEVED
        self._change(call, True)

    def _is_here(self, host: str) -> bool:
        """Whether it is where we have sent the request: ports that go without saying are left out by some."""
        scheme, _, ours = self.target.lower().partition("://")
        port = ":443" if scheme == "https" else ":80"
        return ours.removesuffix(port) == host.lower().removesuffix(port)

    def _holds(self, call: Call[Any]) -> bool:
        if self.honoured and self._tools.clock.now() > self._until:
            self._change(call, False)
        return self.honoured

    def _change(self, call: Call[Any], honoured: bool) -> None:
        # Without a lock: two threads that cross at the change may tell it twice, and the last answer holds.
        if self.honoured is not honoured:
            self.honoured = honoured
            self._tools.emit(KeysHonoured(self.target, call.operation, honoured))
