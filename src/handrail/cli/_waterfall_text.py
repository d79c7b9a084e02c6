"""The words of a waterfall: durations, what a span is called, what an event means."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from ..tracing import semconv
from ..tracing.local.read import Event, Span, Trace

__all__ = ["clean", "duration", "error_of", "event_text", "label", "peers", "status_of"]

_SERVER, _CLIENT = 2, 3  # kinds in OTLP
_CONTROL = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0)), "\N{REPLACEMENT CHARACTER}")


def clean(text: str) -> str:
    """One line without control characters: a span name must not steer the terminal."""
    return " ".join(text.split()).translate(_CONTROL)


def duration(nanoseconds: float) -> str:
    """Three figures with a unit: `640 µs`, `12.3 ms`, `1.92 s`, `2 min 05 s`."""
    for unit, size in (("µs", 1e3), ("ms", 1e6), ("s", 1e9)):
        value = nanoseconds / size
        if value < 9.995:
            return f"{value:.2f} {unit}" if unit != "µs" else f"{value:.0f} {unit}"
        if value < 99.95:
            return f"{value:.1f} {unit}" if unit != "µs" else f"{value:.0f} {unit}"
        if value < 999.5 and unit != "s":
            return f"{value:.0f} {unit}"
    minutes, seconds = divmod(round(nanoseconds / 1e9), 60)
    return f"{minutes} min {seconds:02d} s"


def peers(trace: Trace) -> dict[str, str]:
    """Which service answered behind which `host:port`, where the trace shows exactly one."""
    calls = {span.span_id: _address(span) for span in trace.spans if span.kind == _CLIENT}
    found: dict[str, set[str]] = {}
    for span in trace.spans:
        address = calls.get(span.parent_id)
        if address and span.kind == _SERVER:
            found.setdefault(address, set()).add(span.service)
    return {address: min(services) for address, services in found.items() if len(services) == 1}


def label(span: Span, known: Mapping[str, str]) -> str:
    """The span's name; an HTTP call also says where it went and which resend it was.

    `known` is what `peers` found: a service is a better name than its address.
    """
    name = clean(span.name) or "(no name)"
    address = _address(span)
    if span.kind != _CLIENT or not address:
        return name
    path = urlsplit(str(span.attributes.get("url.full", ""))).path
    where = f"→ {known[address]}" if address in known else address
    again = span.attributes.get(semconv.HTTP_RESEND_COUNT)
    return clean((f"retry {again}: " if again else "") + f"{name} {where}{path if path != '/' else ''}")


def _address(span: Span) -> str:
    host, port = span.attributes.get(semconv.SERVER_ADDRESS), span.attributes.get(semconv.SERVER_PORT)
    return "" if host is None else str(host) if port in (None, 80, 443) else f"{host}:{port}"


def status_of(span: Span) -> str:
    """`http.response.status_code`, or nothing."""
    return clean(str(span.attributes.get(semconv.HTTP_STATUS, "")))


def error_of(span: Span) -> str:
    """`error.type` without its module where it says more than the status code, for a failed span."""
    if not span.failed:
        return ""
    kind = clean(str(span.attributes.get(semconv.ERROR_TYPE, ""))).rpartition(".")[2]
    return "" if kind == status_of(span) else kind or clean(span.message)


def event_text(event: Event) -> tuple[str, str, str]:
    """(symbol, sentence, style) of an event."""
    say = _SENTENCES.get(event.name)
    if say is not None:
        symbol, sentence, style = say(event.attributes)
        return symbol, clean(sentence), style
    shown = ", ".join(f"{key}={value}" for key, value in list(event.attributes.items())[:4])
    return "·", clean(f"{event.name} {shown}"), "dim"


def _retry(about: Mapping[str, object]) -> tuple[str, str, str]:
    asked = " as asked" if about.get(semconv.RETRY_AFTER_HONOURED) is True else ""
    return (
        "↻",
        f"retry in {_seconds(about, semconv.RETRY_DELAY)}{asked} after {_cause(about)} ({_attempt(about)})",
        "yellow",
    )


def _refused(about: Mapping[str, object]) -> tuple[str, str, str]:
    return "·", f"not retried after {_cause(about)}: {about.get(semconv.RETRY_REASON, '?')}", "yellow"


def _exhausted(about: Mapping[str, object]) -> tuple[str, str, str]:
    attempts = about.get(semconv.RETRY_ATTEMPT, "?")
    return "✗", f"gave up after {attempts} attempts, the last by {_cause(about)}", "red"


def _circuit(about: Mapping[str, object]) -> tuple[str, str, str]:
    before, after = about.get(semconv.CIRCUIT_BREAKER_FROM, "?"), about.get(semconv.CIRCUIT_BREAKER_TO, "?")
    rate, calls = about.get(semconv.CIRCUIT_BREAKER_FAILURE_RATE), about.get(semconv.CIRCUIT_BREAKER_CALLS)
    why = f": {rate:.0%} of {calls} calls failed" if after == "open" and isinstance(rate, (int, float)) else ""
    return "◆", f"circuit {before} → {after}{why}{_target(about)}", "green" if after == "closed" else "magenta"


def _rejected(about: Mapping[str, object]) -> tuple[str, str, str]:
    after = f", retry after {_seconds(about, semconv.RETRY_AFTER)}" if semconv.RETRY_AFTER in about else ""
    return "✗", f"not sent: {about.get(semconv.POLICY, 'a policy')} refused{_target(about)}{after}", "red"


def _timeout(about: Mapping[str, object]) -> tuple[str, str, str]:
    limit = _seconds(about, semconv.TIMEOUT_LIMIT)
    return "✗", f"{about.get(semconv.POLICY, 'timeout')}: cut off at {limit} ({_attempt(about)})", "red"


def _broke_off(about: Mapping[str, object]) -> tuple[str, str, str]:
    return "✗", f"body lost after the headers: {_cause(about)} ({_attempt(about)})", "red"


def _left(_about: Mapping[str, object]) -> tuple[str, str, str]:
    return "·", "the client left", "yellow"


def _exception(about: Mapping[str, object]) -> tuple[str, str, str]:
    kind = str(about.get("exception.type", "exception")).rpartition(".")[2]
    message = about.get("exception.message")
    return "✗", f"{kind}: {message}" if message else kind, "red"


_SENTENCES = {
    semconv.EVENT_RETRY_SCHEDULED: _retry,
    semconv.EVENT_RETRY_REFUSED: _refused,
    semconv.EVENT_RETRY_EXHAUSTED: _exhausted,
    semconv.EVENT_CIRCUIT_BREAKER_CHANGED: _circuit,
    semconv.EVENT_CALL_REJECTED: _rejected,
    semconv.EVENT_TIMEOUT: _timeout,
    semconv.EVENT_ATTEMPT_FAILED: _broke_off,
    semconv.EVENT_CLIENT_LEFT: _left,
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
