"""What an event or a link of a span means, as one sentence."""

import re
from collections.abc import Mapping

from ..tracing import semconv
from ..tracing.local.read import Event, Link, Span
from ._waterfall_text import clean, duration

__all__ = ["continued", "sentence"]

_KINDS = ("", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
"""By the number that OTLP has for it."""
_NORMAL = frozenset({None, 1000, 1001, 1005})
"""Close codes of a websocket that ended as it should (RFC 6455, 7.4.1)."""
_REASONS = {
    "one_shot_body": "its body could be read only once",
    "deadline": "no time is left",
    "retry_after": "it asked to wait for too long",
    "circuit_breaker": "the circuit is open",
    "retry_budget": "retries to it are at their share of the calls",
    "own_retries": "its client has retries of its own",
    "overloaded": "it says that it is overloaded",
    "bulkhead": "as many calls to it as may be are under way",
    "throttle": "it accepts few calls, and some are not sent",
}


def sentence(item: Event | Link) -> tuple[str, str, str]:
    """(symbol, sentence, style) of an event or a link."""
    if isinstance(item, Link):
        return "⇠", clean(f"linked from trace {_short(item.trace_id, 12)} span {_short(item.span_id, 8)}"), "cyan"
    say = _SENTENCES.get(item.name)
    if say is not None:
        symbol, said, style = say(item.attributes)
        return symbol, clean(said), style
    shown = ", ".join(f"{key}={value}" for key, value in list(item.attributes.items())[:4])
    return "·", clean(f"{item.name} {shown}"), "dim"


def continued(span: Span) -> str:
    """What a span of another trace is, that links to this one; the whole id, since it is copied from here."""
    kind = _KINDS[span.kind] if 0 <= span.kind < len(_KINDS) else ""
    return clean(f'trace {span.trace_id} {kind} "{span.name}" continues it')


def _short(identity: str, length: int) -> str:
    return f"{identity[:length]}…" if len(identity) > length else identity


def _retry(about: Mapping[str, object]) -> tuple[str, str, str]:
    asked = " as asked" if about.get(semconv.RETRY_AFTER_HONOURED) is True else ""
    return (
        "↻",
        f"retry in {_seconds(about, semconv.RETRY_DELAY)}{asked} after {_cause(about)} ({_attempt(about)})",
        "yellow",
    )


def _refused(about: Mapping[str, object]) -> tuple[str, str, str]:
    reason = str(about.get(semconv.RETRY_REASON, "?"))
    if reason == "unsafe_method":
        method = about.get(semconv.OPERATION, "the call")
        return "·", f"{method} is not repeated without an Idempotency-Key (after {_cause(about)})", "yellow"
    return "·", f"not retried after {_cause(about)}: {_REASONS.get(reason, reason)}", "yellow"


def _exhausted(about: Mapping[str, object]) -> tuple[str, str, str]:
    attempts = about.get(semconv.RETRY_ATTEMPT, "?")
    return "✗", f"gave up after {attempts} attempts, the last by {_cause(about)}", "red"


_OPENED = {
    "slow_calls": "too many calls were slow",
    "probe": "the probe failed",
    "manual": "isolated by hand",
    "shared": "other instances opened theirs",
}


def _second(about: Mapping[str, object]) -> tuple[str, str, str]:
    layer = str(about.get(semconv.RETRY_LAYER, "?"))
    who = "a retry by hand" if layer == "hand-written" else layer
    return "↻", f"made again by {who}, over the retries of handrail, at {about.get(semconv.PLACE, '?')}", "red"


def _keys(about: Mapping[str, object]) -> tuple[str, str, str]:
    now = "honours idempotency keys" if about.get(semconv.IDEMPOTENCY_HONOURED) is True else "honours keys no longer"
    return "·", f"the peer {now}{_target(about)}", "dim"


def _unguarded(about: Mapping[str, object]) -> tuple[str, str, str]:
    place = about.get(semconv.PLACE, "?")
    if about.get(semconv.UNGUARDED_REFUSED) is True:
        return "✗", f"refused a connection past all policies{_target(about)}, of {place}", "red"
    return "·", f"connected past all policies{_target(about)}, by {place}", "yellow"


def _shedding(about: Mapping[str, object]) -> tuple[str, str, str]:
    refused = about.get(semconv.SHEDDING_REFUSED, "?")
    if about.get(semconv.SHEDDING_BEGAN) is not True:
        return "◆", f"load shedding ended: {refused} requests in {_seconds(about, semconv.SHEDDING_SECONDS)}", "green"
    under_way, limit = about.get(semconv.SHEDDING_UNDER_WAY, "?"), about.get(semconv.SHEDDING_LIMIT, "?")
    return "◆", f"load shedding began: {under_way} requests under way, {limit} may be", "magenta"


def _circuit(about: Mapping[str, object]) -> tuple[str, str, str]:
    before, after = about.get(semconv.CIRCUIT_BREAKER_FROM, "?"), about.get(semconv.CIRCUIT_BREAKER_TO, "?")
    rate, calls = about.get(semconv.CIRCUIT_BREAKER_FAILURE_RATE), about.get(semconv.CIRCUIT_BREAKER_CALLS)
    cause = str(about.get(semconv.CIRCUIT_BREAKER_CAUSE, "failures"))
    why = f": {_OPENED[cause]}" if after == "open" and cause in _OPENED else ""
    if after == "open" and cause == "failures" and isinstance(rate, (int, float)):
        why = f": {rate:.0%} of {calls} calls failed"
    return "◆", f"circuit {before} → {after}{why}{_target(about)}", "green" if after == "closed" else "magenta"


def _rejected(about: Mapping[str, object]) -> tuple[str, str, str]:
    after = f", retry after {_seconds(about, semconv.RETRY_AFTER)}" if semconv.RETRY_AFTER in about else ""
    return "✗", f"not sent: {about.get(semconv.POLICY, 'a policy')} refused{_target(about)}{after}", "red"


def _queued(about: Mapping[str, object]) -> tuple[str, str, str]:
    waited, limit = _seconds(about, semconv.QUEUE_WAIT), about.get(semconv.QUEUE_LIMIT, "?")
    return "⏳", f"waited {waited} for a place among {limit} calls{_target(about)}", "yellow"


def _hedged(about: Mapping[str, object]) -> tuple[str, str, str]:
    return "↻", f"no answer for {_seconds(about, semconv.HEDGE_DELAY)}: sent a second time, beside the first", "yellow"


def _hedge_won(about: Mapping[str, object]) -> tuple[str, str, str]:
    after = _seconds(about, semconv.HEDGE_DELAY)
    return "·", f"the second answered first, after {after}; the first was cancelled", "green"


def _timeout(about: Mapping[str, object]) -> tuple[str, str, str]:
    limit = _seconds(about, semconv.TIMEOUT_LIMIT)
    return "✗", f"{about.get(semconv.POLICY, 'timeout')}: cut off at {limit} ({_attempt(about)})", "red"


def _broke_off(about: Mapping[str, object]) -> tuple[str, str, str]:
    return "✗", f"body lost after the headers: {_cause(about)} ({_attempt(about)})", "red"


def _met(about: Mapping[str, object]) -> tuple[str, str, str]:
    outcome, first = str(about.get(semconv.IDEMPOTENCY_OUTCOME)), about.get(semconv.IDEMPOTENCY_FIRST_TRACE)
    mark, said, colour = _MET.get(outcome, ("✗", f"Idempotency-Key: {outcome.replace('_', ' ')}", "yellow"))
    return mark, f"{said}{f' (first: trace {first})' if first else ''}", colour


_MET = {
    "replayed": ("↻", "answered before: the kept answer was given again", "dim"),
    "in_flight": ("·", "a request with the same Idempotency-Key is under way", "yellow"),
    "mismatch": ("✗", "the Idempotency-Key was used for another request", "yellow"),
    "interrupted": ("✗", "the first request with this Idempotency-Key broke off: it may have been carried out", "red"),
    "refused_store_away": ("✗", "refused: the store of answers is away", "red"),
    "ran_unguarded": ("·", "run unguarded: the store of answers is away", "yellow"),
    "ran_again": ("↻", "carried out again: the first request with this Idempotency-Key broke off", "yellow"),
}


def _expired(about: Mapping[str, object]) -> tuple[str, str, str]:
    refused = about.get(semconv.DEADLINE_MODE) == "enforce"
    late = _seconds(about, semconv.DEADLINE_LATE)
    return "✗", f"came {late} after its caller's deadline{': refused' if refused else ''}", "red"


def _not_served(about: Mapping[str, object]) -> tuple[str, str, str]:
    policy, reason = about.get(semconv.POLICY, "?"), about.get(semconv.REFUSED_REASON)
    return "✗", f"answered {about.get(semconv.HTTP_STATUS, '?')} by {policy}{f' ({reason})' if reason else ''}", "red"


def _shared(about: Mapping[str, object]) -> tuple[str, str, str]:
    first = about.get(semconv.SHARED_TRACE)
    return "↻", f"the answer to a request like it{f' (trace {first})' if first else ''}", "dim"


def _chaos(about: Mapping[str, object]) -> tuple[str, str, str]:
    return "✗", f"chaos: a fault was injected on purpose: {about.get(semconv.CHAOS_RULE, '?')}", "magenta"


def _left(_about: Mapping[str, object]) -> tuple[str, str, str]:
    return "·", "the client left", "yellow"


def _held(about: Mapping[str, object]) -> tuple[str, str, str]:
    value = about.get(semconv.BLOCKED_DURATION)
    seconds = f"{value:.2f} s" if isinstance(value, (int, float)) else "?"
    place, culprit = _place(about), about.get(semconv.BLOCKED_CULPRIT)
    function = str(about.get(semconv.CODE_FUNCTION, "")).rpartition(".")[2]
    inside = f" in {function}" if function else ""
    if culprit is True:
        return "✗", f"held the event loop {seconds}{f' at {place}{inside}' if place else ''}", "red"
    if culprit is False and place:
        return "⏳", f"waited {seconds} for {place}, which held the event loop", "yellow"
    by = f"{place}{inside}" if place else "code that keeps the GIL"
    return "⏳", f"the event loop was held {seconds} by {by}", "yellow"


def _place(about: Mapping[str, object]) -> str:
    """`shop.py:35`, or nothing."""
    name = re.split(r"[/\\]", str(about.get(semconv.CODE_FILE, "")))[-1]
    return f"{name}:{about.get(semconv.CODE_LINE, '?')}" if name else ""


def _accepted(about: Mapping[str, object]) -> tuple[str, str, str]:
    named = about.get(semconv.WEBSOCKET_SUBPROTOCOL)
    return "·", f"websocket accepted{f' (subprotocol {named})' if named else ''}", "dim"


def _refused_socket(about: Mapping[str, object]) -> tuple[str, str, str]:
    return "✗", f"websocket refused with {about.get(semconv.HTTP_STATUS) or 'no status'}", "yellow"


def _closed(about: Mapping[str, object]) -> tuple[str, str, str]:
    by = about.get(semconv.WEBSOCKET_CLOSED_BY)
    code, reason = about.get(semconv.WEBSOCKET_CLOSE_CODE), about.get(semconv.WEBSOCKET_CLOSE_REASON)
    said = f"{'' if code is None else f', code {code}'}{f': {reason}' if reason else ''}"
    if by == "connection":
        return "✗", f"websocket lost without a close{said}", "yellow"
    return "·", f"websocket closed by the {by or 'other side'}{said}", "dim" if code in _NORMAL else "yellow"


def _cut(_about: Mapping[str, object]) -> tuple[str, str, str]:
    return "✗", "cancelled before it was done", "yellow"


def _exception(about: Mapping[str, object]) -> tuple[str, str, str]:
    kind = str(about.get("exception.type", "exception")).rpartition(".")[2]
    message = about.get("exception.message")
    return "✗", f"{kind}: {message}" if message else kind, "red"


_SENTENCES = {
    semconv.EVENT_RETRY_SCHEDULED: _retry,
    semconv.EVENT_RETRY_REFUSED: _refused,
    semconv.EVENT_RETRY_EXHAUSTED: _exhausted,
    semconv.EVENT_SECOND_RETRY: _second,
    semconv.EVENT_KEYS_HONOURED: _keys,
    semconv.EVENT_UNGUARDED: _unguarded,
    semconv.EVENT_CIRCUIT_BREAKER_CHANGED: _circuit,
    semconv.EVENT_CALL_REJECTED: _rejected,
    semconv.EVENT_CALL_QUEUED: _queued,
    semconv.EVENT_HEDGE_SENT: _hedged,
    semconv.EVENT_HEDGE_WON: _hedge_won,
    semconv.EVENT_TIMEOUT: _timeout,
    semconv.EVENT_IDEMPOTENCY: _met,
    semconv.EVENT_REQUEST_EXPIRED: _expired,
    semconv.EVENT_REQUEST_REFUSED: _not_served,
    semconv.EVENT_REQUEST_SHARED: _shared,
    semconv.EVENT_LOAD_SHEDDING: _shedding,
    semconv.EVENT_ATTEMPT_FAILED: _broke_off,
    semconv.EVENT_CHAOS: _chaos,
    semconv.EVENT_CLIENT_LEFT: _left,
    semconv.EVENT_LOOP_BLOCKED: _held,
    semconv.EVENT_BACKGROUND_CUT: _cut,
    semconv.EVENT_WEBSOCKET_ACCEPTED: _accepted,
    semconv.EVENT_WEBSOCKET_REJECTED: _refused_socket,
    semconv.EVENT_WEBSOCKET_CLOSED: _closed,
    "exception": _exception,
}


def _seconds(about: Mapping[str, object], key: str) -> str:
    value = about.get(key)
    return duration(value * 1e9) if isinstance(value, (int, float)) else "?"


def _cause(about: Mapping[str, object]) -> str:
    return str(about.get(semconv.RETRY_CAUSE, "a failure"))


def _attempt(about: Mapping[str, object]) -> str:
    return f"attempt {about.get(semconv.RETRY_ATTEMPT, '?')}"


def _target(about: Mapping[str, object]) -> str:
    target = about.get(semconv.TARGET)
    return f" ({str(target).partition('://')[2] or target})" if target else ""
