"""Stale on error: the last good answer to the same GET stands in for one that failed (RFC 5861, 4).

Only what a shared cache may keep and reuse without asking (RFC 9111), and less: nothing with credentials or cookies,
and never between requests that differ in any header that may mean something. In memory, bounded.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf
from typing import Protocol, TypeVar

from .call import Call
from .classify import OK
from .events import FallbackUsed
from .fallback import is_failure
from .policy import Next, NextSync, Tools

__all__ = ["MOST_BYTES", "Answers", "Keeping", "Snapshot", "StaleOnError"]

R = TypeVar("R")

MOST_BYTES = 64 * 1024
"""The longest body that is kept."""
MOST_ANSWERS = 100
"""Answers of one origin that are kept at a time."""
_MOST_HEADERS = 8 * 1024

Headers = tuple[tuple[str, str], ...]
Lookup = Callable[[str], str | None]
"""A header's value by its name in lower case."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An answer by its parts; `note` is for the library alone (the reason phrase, the HTTP version)."""

    status: int
    headers: Headers
    body: bytes
    note: object = None


class Keeping(Protocol[R]):
    """What a `Wire` has besides where its answers can be kept; of one that has not, none ever is."""

    def asked(self, call: Call[R]) -> tuple[str, Headers]:
        """URL and headers of the request, as the code wrote them."""
        ...

    def snapshot(self, call: Call[R], result: R, most: int) -> Snapshot | None:
        """The parts of a result whose body was read already, and is no longer than `most` bytes; else None."""
        ...

    def restore(self, call: Call[R], answer: Snapshot) -> R:
        """A result like that, for the caller."""
        ...


@dataclass(frozen=True, slots=True)
class _Kept:
    answer: Snapshot
    at: float
    age: float
    """Seconds that it was old when it came (the header `Age`)."""
    until: float
    """Seconds of age up to which the peer lets it stand in; infinity where it says nothing."""
    varies: Headers


_Key = tuple[str, Headers]

_GOOD = frozenset({200, 203, 204})
_SECRET = frozenset({"authorization", "proxy-authorization", "cookie", "dpop"})
_CONDITIONAL = frozenset({"range", "if-range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since"})
_FORBIDDEN = frozenset({"no-store", "private", "no-cache", "must-revalidate", "proxy-revalidate"})
# What differs from request to request and means nothing to the answer; everything else counts as if `Vary` named it.
_MEANINGLESS = frozenset(
    {
        *(
            "host",
            "connection",
            "keep-alive",
            "user-agent",
            "content-length",
            "te",
            "date",
            "from",
            "referer",
            "origin",
        ),
        *("dnt", "traceparent", "tracestate", "baggage", "b3", "sentry-trace", "newrelic", "uber-trace-id"),
        *("request-id", "x-request-id", "correlation-id", "x-correlation-id", "x-amzn-trace-id"),
        *("x-cloud-trace-context", "idempotency-key", "grpc-timeout", "x-request-deadline"),
    }
)
_MEANINGLESS_BEGINNINGS = ("x-b3-", "x-envoy-", "x-datadog-", "sec-")
_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "age", "cache-status"})


class Answers:
    """The last good answers of one origin. Safe for threads; no lock is held while a call runs."""

    def __init__(self) -> None:
        self._kept: OrderedDict[_Key, _Kept] = OrderedDict()
        self._lock = threading.Lock()

    def count(self) -> int:
        """How many there are."""
        return len(self._kept)

    def keep(self, key: _Key, answer: _Kept | None) -> None:
        """Put it in the place of the one before; None: there is no longer any."""
        with self._lock:
            self._kept.pop(key, None)
            if answer is not None:
                self._kept[key] = answer
                if len(self._kept) > MOST_ANSWERS:
                    self._kept.popitem(last=False)

    def find(self, key: _Key) -> _Kept | None:
        """What is kept for a request."""
        with self._lock:
            return self._kept.get(key)

    def forget(self, url: str) -> None:
        """An unsafe request to it went well: what was known is no longer so (RFC 9111, 4.4)."""
        with self._lock:
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

        async def run(call: Call[R]) -> R:
            try:
                result = await call_next(call)
            except Exception as error:
                kept = self._stands_in(call) if is_failure(call, error) else None
                if kept is None:
                    raise
                return self._give(call, kept, getattr(error, "policy", call.verdict.cause))
            if not is_failure(call):
                self._keep(call, result)
                return result
            kept = self._stands_in(call)
            if kept is None:
                return result
            await call.wire.discard(result)
            return self._give(call, kept, call.verdict.cause)

        return run

    def wrap_sync(self, call_next: NextSync[R]) -> NextSync[R]:
        """The step for a thread."""

        def run(call: Call[R]) -> R:
            try:
                result = call_next(call)
            except Exception as error:
                kept = self._stands_in(call) if is_failure(call, error) else None
                if kept is None:
                    raise
                return self._give(call, kept, getattr(error, "policy", call.verdict.cause))
            if not is_failure(call):
                self._keep(call, result)
                return result
            kept = self._stands_in(call)
            if kept is None:
                return result
            call.wire.discard_sync(result)
            return self._give(call, kept, call.verdict.cause)

        return run

    def _keep(self, call: Call[R], result: R) -> None:
        wire = _keeping(call)
        if wire is None:
            return
        url, headers = wire.asked(call)
        if call.operation not in ("GET", "HEAD", "OPTIONS", "TRACE"):
            self._answers.forget(url)
        elif call.operation == "GET" and (key := _key(url, headers)) is not None:
            answer = wire.snapshot(call, result, MOST_BYTES)
            self._answers.keep(key, None if answer is None else _kept(answer, headers, self._now()))

    def _stands_in(self, call: Call[R]) -> _Kept | None:
        wire = _keeping(call) if call.operation == "GET" else None
        if wire is None:
            return None
        url, headers = wire.asked(call)
        key = _key(url, headers)
        kept = None if key is None else self._answers.find(key)
        if kept is None:
            return None
        directives = _directives(_all(headers, "cache-control"))
        wanted = _seconds(directives.get("stale-if-error"), inf)  # RFC 5861: requests may say it as well
        age = self._age(kept)
        same = kept.varies == _named(headers, (name for name, _ in kept.varies))
        return kept if same and age <= min(self._seconds, kept.until, wanted) else None

    def _age(self, kept: _Kept) -> float:
        return kept.age + self._now() - kept.at

    def _give(self, call: Call[R], kept: _Kept, cause: str) -> R:
        wire = _keeping(call)
        assert wire is not None
        age = self._age(kept)
        told = (("age", str(int(age))), ("cache-status", "handrail; hit; detail=stale-on-error"))
        old = kept.answer
        result = wire.restore(call, Snapshot(old.status, (*old.headers, *told), old.body, old.note))
        call.verdict = OK
        self._tools.emit(FallbackUsed(call.target, call.operation, "stale", cause, age))
        return result

    def __repr__(self) -> str:
        return f"StaleOnError({self._seconds:g} s)"


def _keeping(call: Call[R]) -> Keeping[R] | None:
    wire = call.wire
    return wire if hasattr(wire, "restore") else None  # type: ignore[return-value] # a protocol of several methods


def _key(url: str, headers: Headers) -> _Key | None:
    """By what answers are kept; None for a request whose answer never is."""
    means: list[tuple[str, str]] = []
    size = len(url)
    for name, value in headers:
        if name in _SECRET or name in _CONDITIONAL:
            return None
        if name not in _MEANINGLESS and not name.startswith(_MEANINGLESS_BEGINNINGS):
            means.append((name, value))
            size += len(name) + len(value)
    asked = _directives(_all(headers, "cache-control"))
    if (
        size > _MOST_HEADERS
        or "@" in url.partition("://")[2].partition("/")[0]
        or {"no-store", "no-cache"} & set(asked)
    ):
        return None
    return url, tuple(sorted(means))


def _kept(answer: Snapshot, asked: Headers, now: float) -> _Kept | None:
    """What is kept of an answer; None where it is none that a shared cache may reuse unasked."""
    said = {name for name, _ in answer.headers}
    directives = _directives(_all(answer.headers, "cache-control"))
    vary = [name.strip().lower() for value in _all(answer.headers, "vary") for name in value.split(",")]
    if answer.status not in _GOOD or "set-cookie" in said or _FORBIDDEN & set(directives) or "*" in vary:
        return None
    until = inf
    if "stale-if-error" in directives:
        fresh = _seconds(directives.get("s-maxage", directives.get("max-age")), 0.0)
        until = fresh + _seconds(directives["stale-if-error"], 0.0)
    age = _seconds(next(iter(_all(answer.headers, "age")), None), 0.0)
    headers = tuple((name, value) for name, value in answer.headers if name not in _HOP)
    clean = Snapshot(answer.status, headers, answer.body, answer.note)
    return _Kept(clean, now, age, until, _named(asked, [name for name in vary if name]))


def _named(headers: Headers, names: Iterable[str]) -> Headers:
    """The values of these headers, in the order of the names."""
    return tuple((name, ", ".join(_all(headers, name))) for name in names)


def _all(headers: Headers, name: str) -> list[str]:
    return [value for key, value in headers if key == name]


def _directives(values: list[str]) -> dict[str, str]:
    """Those of `Cache-Control`, by their names in lower case."""
    found: dict[str, str] = {}
    for word in ",".join(values).split(","):
        name, _, value = word.strip().partition("=")
        if name:
            found[name.strip().lower()] = value.strip().strip('"')
    return found


def _seconds(text: str | None, missing: float) -> float:
    """A number of seconds (RFC 9111, 1.2.2); what is no number counts as 0, which is the most careful reading."""
    if text is None:
        return missing
    return float(text) if text.isascii() and text.isdigit() and len(text) <= 10 else 0.0
