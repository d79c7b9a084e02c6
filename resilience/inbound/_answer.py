"""Which answer an unhandled error deserves: 503, 504, or none of ours (RFC 9110, 15.6; RFC 9457)."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from math import ceil

from .. import errors
from ..backoff import retry_after_seconds
from ..classify import RELAYED
from ..keyed import IN_FLIGHT, INTERRUPTED_KEY, NOT_KEPT, REFUSED
from ..outbound.failure import failure_of
from ._status_errors import Refusal, refusal_of

__all__ = ["FAILED", "PROBLEM", "Answer", "answer_to"]

PROBLEM = b"application/problem+json"
_TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}
"""RFC 9110's words, where older Pythons have older ones."""
_STATUSES = {429: 503, 502: 503, 503: 503, 504: 504}
"""The status of a dependency's response that nobody handled, and what it makes of ours."""

OVERLOADED = (b"x-envoy-overloaded", b"true")
"""Says to the caller: do not retry (Envoy's router). So that retries are not multiplied from hop to hop."""

_UNDECIDED = frozenset({IN_FLIGHT, INTERRUPTED_KEY, NOT_KEPT})
"""Reasons for which a dependency refuses a key that are no mistake of the service's."""

_LONGEST = 2**31
"""Seconds, 68 years: RFC 9111, 1.2.2 gives it as the largest of all numbers of seconds."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A problem: `kind` names it (the end of its type URI), `retry_after` is seconds or an HTTP date.

    `overloaded`: whoever asks again adds load to what has too much of it, or has been asked again already.
    """

    status: int
    kind: str
    detail: str
    policy: str | None = None
    target: str | None = None
    retry_after: float | str | None = None
    overloaded: bool = False

    @property
    def title(self) -> str:
        """What the status is called, RFC 9110; for one that nobody knows, what its class is called there."""
        try:
            return _TITLES.get(self.status) or HTTPStatus(self.status).phrase
        except ValueError:
            return "Server Error" if self.status >= 500 else "Client Error"

    def headers(self, body: bytes, kind: bytes = PROBLEM) -> list[tuple[bytes, bytes]]:
        """Response headers. Retry-After is rounded up to whole seconds: RFC 9110, 10.2.3."""
        headers = [
            (b"content-type", kind),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
            (b"vary", b"accept"),
        ]
        if (wait := self.wait) is not None:
            headers.append((b"retry-after", str(wait).encode("latin-1", "replace")))
        if self.target is not None:
            headers.append((b"proxy-status", self._whose().encode("latin-1", "replace")))
        if self.overloaded:  # Envoy, and handrail further out, do not retry then
            headers.append(OVERLOADED)
        return headers

    def body(self, trace_id: str | None, link: str = "") -> bytes:
        """The document; members that nobody knows are left out. `link`: where the trace is seen."""
        members: dict[str, object] = {
            "type": f"urn:handrail:problem:{self.kind}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "trace_id": trace_id,
            "trace": link or None,
            "policy": self.policy,
            "target": self.target,
            "retry_after": self.wait,
        }
        known = {name: value for name, value in members.items() if value is not None}
        return json.dumps(known, ensure_ascii=False).encode("utf-8", "backslashreplace")

    def _whose(self) -> str:
        """RFC 9209, 2.3: it was the next hop that failed, and which one; our callers do not blame us for it."""
        error = "http_response_timeout" if self.status == 504 else "destination_unavailable"
        return f"{RELAYED}{error}; next-hop={_quoted(str(self.target))}"

    @property
    def wait(self) -> int | str | None:
        """What Retry-After says: whole seconds, or a date; None where nobody knows."""
        wait = self.retry_after
        if isinstance(wait, float):
            return ceil(wait) if 0 <= wait <= _LONGEST else None
        return wait


FAILED = Answer(500, "failed", "the service met an error that it was not prepared for")
"""To strangers: nothing of the error itself."""


def _quoted(text: str) -> str:
    """A string of RFC 9651, 3.3.3: printable ASCII alone."""
    plain = text.encode("ascii", "replace").decode()
    return '"' + "".join(letter for letter in plain if letter.isprintable() and letter not in '"\\\\') + '"'


def answer_to(error: BaseException, clean: Callable[[str], str] = str) -> Answer | None:
    """The answer to an error that nobody handled, None where it is not about a dependency.

    `clean` takes secrets out of what the error says: h11 quotes the header that it refuses.

    A group counts if all its leaves do; the answer is then to the one that asks for most
    patience. Causes are not looked at: code that wraps an error has decided itself.
    """
    answers = [_answer_to_leaf(leaf, clean) for leaf in _leaves(error)]
    known = [answer for answer in answers if answer is not None]
    if not known or len(known) < len(answers):
        return None
    return max(known, key=lambda answer: (answer.status == 503, _seconds(answer)))


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _seconds(answer: Answer) -> float:
    return answer.retry_after if isinstance(answer.retry_after, float) else 0.0


def _answer_to_leaf(error: BaseException, clean: Callable[[str], str]) -> Answer | None:
    if isinstance(error, errors.Rejected):
        kind = error.policy.replace("_", "-")
        return Answer(503, kind, str(error), error.policy, error.target, error.retry_after, overloaded=True)
    failure = failure_of(error)
    again = failure is not None and failure.used_up
    if isinstance(error, errors.TimedOut):
        kind = error.policy.replace("_", "-")
        return Answer(504, kind, str(error), error.policy, error.target, overloaded=again)
    if failure is not None:
        said = clean(str(error)) or type(error).__name__
        detail = f"{failure.target}: {said} (attempts: {failure.attempts}, last cause: {failure.cause})"
        if failure.cause == "network" and not again:  # not to be repeated, and nobody knows whether it was carried out
            detail += "; it may have been carried out"
        if failure.cause in ("timeout", "deadline"):
            return Answer(504, "dependency-timeout", detail, "retry", failure.target, overloaded=again)
        return Answer(503, "dependency-unreachable", detail, "retry", failure.target, overloaded=again)
    return _answer_to_status(error)


def _answer_to_status(error: BaseException) -> Answer | None:
    """The error of `response.raise_for_status()`."""
    refusal = refusal_of(error)
    if refusal is None:
        return None
    if (reason := refusal.headers.get(REFUSED)) in _UNDECIDED:
        return _answer_to_key(refusal, reason)
    status = _STATUSES.get(refusal.status)
    if status is None:
        return None
    detail = f"{refusal.target} answered {refusal.status}"
    again = refusal.failure is not None and refusal.failure.used_up
    if refusal.failure is not None:
        detail += f" (attempts: {refusal.failure.attempts})"
    overloaded = refusal.headers.get("x-envoy-overloaded") == "true" or again
    kind = f"dependency-{refusal.status}"
    return Answer(status, kind, detail, None, refusal.target, _wait(refusal.headers), overloaded=overloaded)


def _answer_to_key(refusal: Refusal, reason: str) -> Answer:
    """The service gave a key, and was answered about that: it does not say what became of the request."""
    detail = f"{refusal.target} answered {refusal.status}: the Idempotency-Key of the request is {reason}"
    wait = _wait(refusal.headers)
    if reason != IN_FLIGHT:
        detail += "; it may have been carried out"
    return Answer(503, "dependency-key", detail, "idempotency", refusal.target, wait, overloaded=reason != IN_FLIGHT)


def _wait(headers: Mapping[str, str]) -> float | str | None:
    """What the peer's `Retry-After` asks for: seconds, or a date; None where it says nothing that a client can use."""
    text = headers.get("retry-after")
    seconds = retry_after_seconds(text, 0.0)  # of a date, since the epoch: it stays the date that it is
    if text is None or seconds is None:
        return None
    return seconds if text.strip().isdigit() else formatdate(seconds, usegmt=True)
