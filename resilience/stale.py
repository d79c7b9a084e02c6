"""Stale on error: the last good answer to the same GET stands in for one that failed (RFC 5861, 4).

Only what a shared cache may keep and reuse without asking (RFC 9111), and less: nothing with credentials or cookies,
and never between requests that differ in any header that may mean something. In memory, bounded.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Protocol, TypeVar

from ._stale_rules import Headers, Kept, Key, Snapshot, kept_of, key_of
from .call import Call
from .classify import OK
from .events import FallbackUsed
from .fallback import is_failure
from .policy import Next, NextSync, Tools

__all__ = ["MOST_BYTES", "Answers", "Keeping", "Later", "Snapshot", "StaleOnError"]

_log = logging.getLogger("handrail")

R = TypeVar("R")
Later = Callable[[Snapshot], None]

MOST_BYTES = 64 * 1024
"""The longest body that is kept."""
MOST_ANSWERS = 100
"""Answers of one origin that are kept at a time."""
_READING = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


class Keeping(Protocol[R]):
    """What a `Wire` has besides where its answers can be kept; of one that has not, none ever is."""

    def asked(self, call: Call[R]) -> tuple[str, Headers, Hashable]:
        """URL and headers of the request as the code wrote them, and the way to the peer; see `key_of`."""
        ...

    def snapshot(self, call: Call[R], result: R, most: int, later: Later) -> Snapshot | None:
        """The parts of a result whose body was read already, and is no longer than `most` bytes; else None.

        Where its body is the caller's to read: the parts without it, not `whole`; and when he has read all of it,
        `later` is to be called with all, on whatever thread that is.
        """
        ...

    def restore(self, call: Call[R], answer: Snapshot) -> R:
        """A result like that, for the caller."""
        ...


class Answers:
    """The last good answers of one origin. Safe for threads; no lock is held while a call runs."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Key, Kept] = OrderedDict()
        self._lock = threading.Lock()
        self.changes = 0
        """How often something was forgotten since."""

    def count(self) -> int:
        """How many there are."""
        return len(self._kept)

    def keep(self, key: Key, answer: Kept | None) -> None:
        """Put it in the place of the one before; None: there is no longer any."""
        with self._lock:
            self.changes += answer is None
            self._put(key, answer)

    def keep_late(self, key: Key, answer: Kept | None, changes: int) -> None:
        """The same for one that came some time ago, where nothing newer came and nothing was forgotten since."""
        with self._lock:
            old = self._kept.get(key)
            if self.changes == changes and (old is None or answer is None or old.at <= answer.at):
                self._put(key, answer)

    def _put(self, key: Key, answer: Kept | None) -> None:
        self._kept.pop(key, None)
        if answer is not None:
            self._kept[key] = answer
            if len(self._kept) > MOST_ANSWERS:
                self._kept.popitem(last=False)

    def find(self, key: Key) -> Kept | None:
        """What is kept for a request."""
        with self._lock:
            return self._kept.get(key)

    def forget(self, url: str) -> None:
        """An unsafe request to it went well: what was known is no longer so (RFC 9111, 4.4)."""
        with self._lock:
            self.changes += 1
            for key in [key for key in self._kept if key[0] == url]:
                del self._kept[key]


class StaleOnError:
    """Keeps good answers to GET, and gives one of at most `seconds` of age where the call failed for good.

    Such an answer says so: `Age` (RFC 9111), and `Cache-Status: handrail; hit; detail=stale-on-error` (RFC 9211).
    """

    def __init__(self, seconds: float, *, answers: Answers | None = None, tools: Tools | None = None) -> None:
        self._seconds = seconds
        self._answers = answers or Answers()
        self._tools = tools or Tools()
        self._now = self._tools.clock.now

    def wrap(self, call_next: Next[R]) -> Next[R]:
        """The step for an event loop."""

        async def run(call: "Call[R]") -> R:
            try:
                result = await call_next(call)
            except Exception as error:
                instead = self._instead(call, getattr(error, "policy", "")) if is_failure(call, error) else None
                if instead is None:
                    raise
                return instead[0]
            if not is_failure(call):
                self._keep(call, result)
                return result
            instead = self._instead(call)
            if instead is None:
                return result
            with suppress(Exception):  # of no matter to anybody
                await call.wire.discard(result)
            return instead[0]

        return run

    def wrap_sync(self, call_next: NextSync[R]) -> NextSync[R]:
        """The step for a thread."""

        def run(call: "Call[R]") -> R:
            try:
                result = call_next(call)
            except Exception as error:
                instead = self._instead(call, getattr(error, "policy", "")) if is_failure(call, error) else None
                if instead is None:
                    raise
                return instead[0]
            if not is_failure(call):
                self._keep(call, result)
                return result
            instead = self._instead(call)
            if instead is None:
                return result
            with suppress(Exception):
                call.wire.discard_sync(result)
            return instead[0]

        return run

    def _keep(self, call: Call[R], result: R) -> None:
        wire = _keeping(call)
        if wire is None:
            return
        try:
            url, headers, way = wire.asked(call)
            if call.operation not in _READING:
                self._answers.forget(url)
            elif call.operation == "GET" and (key := key_of(url, headers, way)) is not None:
                self._keep_parts(wire, call, result, key, headers)
        except Exception as error:  # somebody's own kind of request or response; the call went well
            _log.debug("an answer of %s is not kept: %r", call.target, error)

    def _keep_parts(self, wire: Keeping[R], call: "Call[R]", result: R, key: Key, asked: Headers) -> None:
        answers, now, changes = self._answers, self._now(), self._answers.changes

        def later(answer: Snapshot) -> None:
            answers.keep_late(key, kept_of(answer, asked, now), changes)

        answer = wire.snapshot(call, result, MOST_BYTES, later)
        kept = None if answer is None else kept_of(answer, asked, now)
        if kept is None or kept.answer.whole:  # until the body was read, the one before is the last that is known
            answers.keep(key, kept)

    def _instead(self, call: Call[R], cause: str = "") -> tuple[R] | None:
        """What stands in for the failure of `call`, if there is anything; told, and its verdict set."""
        wire = _keeping(call) if call.operation == "GET" else None
        if wire is None:
            return None
        try:
            url, headers, way = wire.asked(call)
            key = key_of(url, headers, way)
            kept = None if key is None else self._answers.find(key)
            now = self._now()
            if kept is None or not kept.stands_in(headers, now, self._seconds):
                return None
            result = wire.restore(call, kept.answer.aged(kept.age_at(now)))
        except Exception as error:  # likewise; what failed is the answer then
            _log.debug("no kept answer of %s: %r", call.target, error)
            return None
        told = FallbackUsed(call.target, call.operation, "stale", cause or call.verdict.cause, kept.age_at(now))
        call.verdict = OK
        self._tools.emit(told)
        return (result,)

    def __repr__(self) -> str:
        return f"StaleOnError({self._seconds:g} s)"


def _keeping(call: Call[R]) -> Keeping[R] | None:
    wire = call.wire
    return wire if hasattr(wire, "restore") else None  # type: ignore[return-value] # a protocol of several methods
