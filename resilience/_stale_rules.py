"""Which answers may stand in for a failed one: RFC 9111 (what a shared cache may reuse) and RFC 5861, read narrowly."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from math import inf

__all__ = ["Headers", "Kept", "Key", "Snapshot", "kept_of", "key_of"]

Headers = tuple[tuple[str, str], ...]
"""Names in lower case."""
Key = tuple[str, Headers, Hashable]
"""URL, the headers that may mean something, and by which way the client reaches the peer."""

_MOST_HEADERS = 8 * 1024


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An answer by its parts; `note` is for the library alone (the reason phrase, the HTTP version)."""

    status: int
    headers: Headers
    body: bytes
    note: object = None
    whole: bool = True
    """Whether the body is there."""

    def aged(self, age: float) -> "Snapshot":
        """The same with what tells the caller that it is `age` seconds old."""
        told = (("age", str(int(age))), ("cache-status", "handrail; hit; detail=stale-on-error"))
        return Snapshot(self.status, (*self.headers, *told), self.body, self.note)


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer that may stand in; `at` is when it came, in monotonic seconds."""

    answer: Snapshot
    at: float
    age: float
    """Seconds that it was old when it came (the header `Age`)."""
    until: float
    """Seconds of age up to which the peer lets it stand in; infinity where it says nothing."""
    varies: Headers
    """The request's headers that the peer named in `Vary`."""

    def age_at(self, now: float) -> float:
        """Seconds."""
        return self.age + now - self.at

    def stands_in(self, asked: Headers, now: float, most: float) -> bool:
        """Whether it may answer a request with these headers, at most `most` seconds old."""
        wanted = _seconds(_directives(_all(asked, "cache-control")).get("stale-if-error"), inf)  # RFC 5861, 4
        same = self.varies == _named(asked, [name for name, _ in self.varies])
        return same and self.age_at(now) <= min(most, self.until, wanted)


_GOOD = frozenset({200, 203, 204})
_SECRET = frozenset({"authorization", "proxy-authorization", "cookie", "dpop"})
_CONDITIONAL = frozenset({"range", "if-range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since"})
_FORBIDDEN = frozenset({"no-store", "private", "no-cache", "must-revalidate", "proxy-revalidate"})
# What differs from request to request and means nothing to the answer; everything else counts as if `Vary` named it.
_MEANINGLESS = frozenset(
    {
        *("connection", "keep-alive", "user-agent", "content-length", "te", "date", "from", "referer", "dnt"),
        *("traceparent", "tracestate", "baggage", "b3", "sentry-trace", "newrelic", "uber-trace-id"),
        *("request-id", "x-request-id", "correlation-id", "x-correlation-id", "x-amzn-trace-id"),
        *("x-cloud-trace-context", "idempotency-key", "grpc-timeout", "x-request-deadline"),
    }
)
_MEANINGLESS_BEGINNINGS = ("x-b3-", "x-envoy-", "x-datadog-", "sec-")
_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "age", "cache-status"})


def key_of(url: str, headers: Headers, way: Hashable = None) -> Key | None:
    """By what answers are kept; None for a request whose answer never is.

    `way` tells apart clients that are somebody else to the peer, or trust another one: certificates, proxies.
    """
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
    return url, tuple(sorted(means)), way


def kept_of(answer: Snapshot, asked: Headers, now: float) -> Kept | None:
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
    clean = Snapshot(answer.status, headers, answer.body, answer.note, answer.whole)
    return Kept(clean, now, age, until, _named(asked, [name for name in vary if name]))


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
