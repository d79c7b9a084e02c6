"""Answers in Redis, for many machines: `handrail:idem:<service>:<key>`, and `…:store` for its identity.

Needs Redis 6.2 or later, or Valkey: one server, or a primary with replicas; not a Redis Cluster. A key is safe as
long as Redis keeps it: with `maxmemory-policy noeviction` and `appendonly yes` (`appendfsync always` where the last
second counts too). Replication is asynchronous: a failover may forget the last moments. After a restart or a
failover the identity is another one, so that no caller relies on what may be gone.
"""

import hashlib
import logging
import secrets
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..state._redis import client, reason, shown, unknown_script
from ._redis_script import SCRIPT, TOO_LATE
from ._store_errors import StoreChanged, StoreRefused
from .work import Begin, Free, Held, Keep, State, Work

if TYPE_CHECKING:
    from redis.connection import AbstractConnection

__all__ = ["PREFIX", "RedisStore"]

PREFIX = "handrail:idem:"
_SHA = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()
_STATES = {b"busy": State.BUSY, b"broken": State.BROKEN}

_log = logging.getLogger("handrail")


class RedisStore:
    """The keys of one service. Raises SettingsError where redis-py is missing or does not understand the URL.

    Each work is tried once, and its connection is made at the first use. `patience`: seconds for a connection, and for
    each answer; a server that was frozen carries out nothing more after twice that. `identity` is None before `open`.
    """

    def __init__(self, url: str, service: str, *, patience: float = 1.0) -> None:
        self.shown = shown(url)
        self.identity: str | None = None
        self._redis = client(url, "idempotency_store", patience, self._connected)
        self._latest = 2 * patience
        self._prefix = f"{PREFIX}{service}:".encode()
        self._connects = 0
        self._greeted = -1
        self._ahead = 0.0
        self._stored: object = None
        self._warned: set[str] = set()

    def open(self) -> str:
        """See Backend. Also warns, once, of a server that may forget keys."""
        self.identity = self._greet()
        return self.identity

    def run(self, work: Sequence[Work]) -> list[Held | bool]:
        """See Backend: one round trip, without a transaction, since each key stands for itself.

        StoreChanged where the identity is no longer that which `open` told, until it is asked again.
        """
        try:
            if self._greeted != self._connects:
                self._same(self._greet())
            answers = self._ask(work)
            first = next((n for n, answer in enumerate(answers) if isinstance(answer, Exception)), len(answers))
            if first < len(answers) and all(_not_begun(answer) for answer in answers[first:]):
                self._same(self._greet())
                answers[first:] = self._ask(work[first:])
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
            return [self._result(one, answer) for one, answer in zip(work, answers, strict=True)]
        except BaseException:
            self.close()
            raise

    def tidy(self) -> None:
        """Nothing: keys end by themselves, and `maxmemory` is the bound."""

    def close(self) -> None:
        """See Backend."""
        self._greeted = -1
        try:
            self._redis.connection_pool.disconnect()
        except Exception as error:
            _log.debug("a connection to %s was not closed: %s", self.shown, reason(error))

    def _connected(self, connection: "AbstractConnection") -> None:
        """A connection was made, perhaps in the place of one that was lost in silence."""
        connection.on_connect()  # type: ignore[no-untyped-call]  # redis-py says nothing of it
        self._connects += 1

    def _ask(self, work: Sequence[Work]) -> list[object]:
        """The server's answer to each, or its error. Raises where the identity it holds has changed meanwhile."""
        latest = int((time.monotonic() + self._ahead + self._latest) * 1000)
        pipe = self._redis.pipeline(transaction=False)
        for one in work:
            key = self._prefix + one.key.hex().encode()
            pipe.evalsha(_SHA, 1, key, *_arguments(one, latest))  # type: ignore[arg-type]  # redis-py takes bytes too
        # Last, so that all of the above was done in what bears this identity.
        pipe.get(self._prefix + b"store")
        answers: list[object] = pipe.execute(raise_on_error=False)
        stored = answers.pop()
        if isinstance(stored, Exception):
            raise stored
        if stored != self._stored or self._greeted != self._connects:
            self._same(self._greet())
        return answers

    def _same(self, identity: str) -> None:
        self.identity = self.identity or identity
        if identity != self.identity:
            raise StoreChanged("it was restarted, emptied or replaced, and may have forgotten keys")

    def _greet(self) -> str:
        """Get to know the server, by one connection; returns its identity."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.set(self._prefix + b"store", secrets.token_hex(16), nx=True)
        pipe.get(self._prefix + b"store")
        pipe.script_load(SCRIPT)
        pipe.time()
        pipe.info()
        *needed, info = pipe.execute(raise_on_error=False)
        facts: dict[str, object] = info if isinstance(info, dict) else {}
        if facts.get("redis_mode") == "cluster":
            raise StoreRefused("it is a Redis Cluster: idempotency_store needs one server, or a primary with replicas")
        for answer in needed:
            if isinstance(answer, Exception):
                raise answer
        _, self._stored, _, (seconds, micros) = needed
        self._ahead = seconds + micros / 1e6 - time.monotonic()
        self._greeted = self._connects
        self._warn(facts)
        return _digest(self._stored, facts.get("run_id", ""))

    def _warn(self, facts: dict[str, object]) -> None:
        """Say once what makes this server forget keys that it was told to keep: such a request would run twice."""
        policy = facts.get("maxmemory_policy", "noeviction")
        if facts.get("maxmemory", 0) and policy != "noeviction":
            self._say(
                "evicts keys when it is full (maxmemory-policy %s): set noeviction, which refuses new ones", policy
            )
        if facts.get("aof_enabled", 1) == 0:
            self._say("keeps no log of what it is told (appendonly no), and forgets keys when it is killed: set yes")

    def _say(self, text: str, *values: object) -> None:
        if text not in self._warned:
            self._warned.add(text)
            _log.warning("a request sent twice may be carried out twice: %s " + text, self.shown, *values)

    def _result(self, one: Work, answer: object) -> Held | bool:
        if not isinstance(one, Begin):
            return answer == 1
        assert isinstance(answer, list)
        if answer[0] == b"new":
            return Held(State.NEW, again=answer[1] == 1)
        if answer[0] == b"kept":
            return Held(State.KEPT, answer[1])
        if answer[0] == b"foreign":  # nobody knows what it stands for: as safe as a request that was broken off
            self._say("holds something else at %s", (self._prefix + one.key.hex().encode()).decode())
            return Held(State.BROKEN)
        return Held(_STATES[answer[0]], left=answer[1] / 1000 if len(answer) > 1 else 0.0)


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def _not_begun(answer: object) -> bool:
    """Whether the server refused it before anything was done, for a reason that a new greeting mends."""
    return unknown_script(answer) or (isinstance(answer, Exception) and str(answer).startswith(TOO_LATE))


def _arguments(one: Work, latest: int) -> tuple[object, ...]:
    """What the script wants to know. Milliseconds."""
    if isinstance(one, Begin):
        lease, retention = _ms(one.lease), _ms(one.retention)
        return (b"begin", one.owner, latest, lease, retention, b"1" if one.take_over else b"0")
    if isinstance(one, Keep):
        return (b"keep", one.owner, latest, one.answer, _ms(one.retention))
    if isinstance(one, Free):
        return (b"free", one.owner, latest)
    return (b"renew", one.owner, latest, _ms(one.lease))


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
