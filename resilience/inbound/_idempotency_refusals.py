"""What is answered in place of the app, where a key says that it may not be asked: a problem, and what to do."""

from dataclasses import dataclass

from ..keyed import IN_FLIGHT, INTERRUPTED_KEY, MISDIRECTED_KEY, NOT_KEPT, REFUSED
from ._answer import Answer

__all__ = [
    "BODY_SLOW",
    "INTERRUPTED",
    "IN_FLIGHT_YET",
    "MISDIRECTED",
    "REUSED",
    "Refusal",
    "away",
    "invalid",
    "not_kept",
]

_POLICY = "idempotency"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A problem. `outcome`: what the trace calls it; `reason`: the token that tells handrails why a key was refused,
    None where the answer is about something else.
    """

    answer: Answer
    outcome: str
    reason: str | None = None

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The reason, beside the headers of the problem."""
        return [] if self.reason is None else [(REFUSED.encode(), self.reason.encode())]


def _final(status: int, kind: str, detail: str, outcome: str, reason: str) -> Refusal:
    """One that stays the same however often it is asked: nobody further out shall ask again."""
    return Refusal(Answer(status, kind, detail, _POLICY, overloaded=status == 409), outcome, reason)


IN_FLIGHT_YET = Refusal(
    Answer(
        409,
        "idempotency-key-in-flight",
        "a request with this Idempotency-Key is under way: send the same request again later, and get its answer",
        _POLICY,
        retry_after=1.0,
    ),
    "in_flight",
    IN_FLIGHT,
)
REUSED = _final(
    422,
    "idempotency-key-reused",
    "this Idempotency-Key was used for another request (its body, query, content type, cookies or credentials differ): "
    "send a new key with a new request; if it is the same one, look whether it was carried out",
    "mismatch",
    "reused",
)
INTERRUPTED = _final(
    409,
    "idempotency-key-interrupted",
    "the first request with this Idempotency-Key broke off before it was answered, and may have been carried out: "
    "look whether it was, and send a new key if it was not",
    "interrupted",
    INTERRUPTED_KEY,
)
MISDIRECTED = _final(
    421,
    "misdirected",
    "this Idempotency-Key relies on another store of answers than this instance has; nothing was done: "
    "send the request again without Idempotency-Key-Store, or let all instances share one store",
    "misdirected",
    MISDIRECTED_KEY,
)
BODY_SLOW = Refusal(
    Answer(408, "idempotency-body-slow", "the body did not come in time to be compared: send it again", _POLICY),
    "body_slow",
)

_MISSING = {
    "too_large": "its answer was too large to be kept",
    "set_cookie": "its answer set a cookie, and such answers are not kept here",
    "broken_off": "its answer broke off before its end",
    "unkeepable": "its answer was of a kind that cannot be kept",
}


def not_kept(status: int | None, missing: str) -> Refusal:
    """It was carried out with this status (None: nobody knows), and the answer cannot be given again."""
    with_status = "" if status is None else f" with status {status}"
    return _final(
        409,
        "idempotency-answer-not-kept",
        f"the request with this Idempotency-Key was carried out{with_status}, but {_MISSING.get(missing, missing)}: "
        "do not send it again; look at what it did",
        "not_kept",
        NOT_KEPT,
    )


def invalid(detail: str) -> Refusal:
    """400: the key is none."""
    return _final(400, "idempotency-key-invalid", detail, "invalid", "invalid")


def away(reason: str) -> Refusal:
    """503: nobody can say whether it was carried out before, so it was not begun."""
    detail = f"the store of answers is away ({reason}), so nothing was done: send the request again later"
    return Refusal(Answer(503, "idempotency-store-unavailable", detail, _POLICY, retry_after=1.0), "refused_store_away")
