"""The words of a waterfall: durations, and what a span is called."""

from collections.abc import Container, Mapping
from urllib.parse import urlsplit

from ..tracing import semconv
from ..tracing.local.read import Event, Span, Trace

__all__ = ["clean", "duration", "error_of", "hedges", "label", "peers", "status_of"]

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


def hedges(trace: Trace) -> frozenset[str]:
    """Spans that are the second request beside a slow first one: their parents' events tell of them.

    On the wire a hedge has the number of a first retry. The event comes just before it is sent.
    """
    resent: dict[str, list[Span]] = {}
    for span in trace.spans:
        if span.kind == _CLIENT and str(span.attributes.get(semconv.HTTP_RESEND_COUNT)) == "1":
            resent.setdefault(span.parent_id, []).append(span)
    found: set[str] = set()
    for parent in trace.spans if resent else ():
        for event in parent.events:
            if event.name == semconv.EVENT_HEDGE_SENT:
                own = [span for span in resent.get(parent.span_id, ()) if span.span_id not in found]
                near = sorted(
                    (span for span in own if _is_to(span, event)), key=lambda span: abs(span.start - event.time)
                )
                found.update(span.span_id for span in near[:1])
    return frozenset(found)


def _is_to(span: Span, event: Event) -> bool:
    target = str(event.attributes.get(semconv.TARGET, "")).partition("://")[2]
    return target.replace("[", "").replace("]", "") == _address(span)


def label(span: Span, known: Mapping[str, str], hedged: Container[str] = ()) -> str:
    """The span's name; an HTTP call also says where it went and which resend it was.

    `known` is what `peers` found: a service is a better name than its address. `hedged` is from `hedges`.
    """
    name = clean(span.name) or "(no name)"
    address = _address(span)
    if span.kind != _CLIENT or not address:
        return name
    path = urlsplit(str(span.attributes.get("url.full", ""))).path
    where = f"→ {known[address]}" if address in known else address
    again = span.attributes.get(semconv.HTTP_RESEND_COUNT)
    which = "hedge: " if span.span_id in hedged else f"retry {again}: " if again else ""
    return clean(f"{which}{name} {where}{path if path != '/' else ''}")


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
