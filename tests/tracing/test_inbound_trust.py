"""inbound_trace "link": a public edge starts its own trace and only points at the caller's."""

import pytest
from opentelemetry import baggage
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, ParentBasedTraceIdRatio
from opentelemetry.trace import SpanKind, get_current_span

from handrail.tracing import propagation
from handrail.tracing.inbound._exchange import Receive, Scope, Send
from handrail.tracing.inbound.server import ServerSpans
from handrail.tracing.settings import Telling
from handrail.tracing.testing import Spans
from tests.tracing.asgi_server import Server

LINK = Telling(inbound_trace="link")
SAID = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "tracestate": "x=1", "baggage": "tenant=acme"}


def ask(spans: Spans, headers: dict[str, str], telling: Telling = LINK, times: int = 1) -> dict[str, str]:
    """What leaves from within the last of so many requests."""
    left: dict[str, str] = {}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        propagation.W3CPropagator().inject(left)
        assert baggage.get_baggage("tenant") is None
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    wrapped = ServerSpans(app, tracing=spans.tracing, routes=app, telling=telling)
    for _ in range(times):
        Server().get(wrapped, "/", headers)
    return left


def test_a_new_trace_that_links_the_callers(spans: Spans) -> None:
    """A root span, a link to what the caller says it is; no tracestate and no baggage of it go on."""
    left = ask(spans, SAID)
    span = spans.server
    assert span.parent is None
    assert span.context is not None
    assert span.context.trace_id != int("a" * 32, 16)
    (link,) = span.links
    assert (link.context.trace_id, link.context.span_id) == (int("a" * 32, 16), int("b" * 16, 16))
    assert link.context.is_remote
    assert not link.context.trace_state
    assert dict(link.attributes or {}) == {"handrail.link": "caller"}
    assert set(left) == {"traceparent"}
    assert f"{span.context.trace_id:032x}" in left["traceparent"]


@pytest.mark.parametrize(
    "headers", [{"host": "x"}, {"traceparent": "garbage"}, {"traceparent": SAID["traceparent"] * 2}]
)
def test_without_a_caller_there_is_no_link(spans: Spans, headers: dict[str, str]) -> None:
    """Nothing to point at: none, or a traceparent that must be ignored."""
    ask(spans, headers)
    assert spans.server.parent is None
    assert not spans.server.links


@pytest.mark.parametrize("flags", ["00", "01", "03", "ff"])
def test_the_flags_of_a_stranger_decide_nothing(flags: str) -> None:
    """Ratio 0 records nothing of a thousand sampled callers, ratio 1 all of the unsampled ones."""
    headers = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-{flags}"}
    for ratio, kept in ((0.0, 0), (1.0, 20)):
        spans = Spans(ParentBasedTraceIdRatio(ratio))
        ask(spans, headers, times=20)
        assert len(spans.of_kind(SpanKind.SERVER)) == kept


def test_a_tenth_stays_a_tenth_whatever_strangers_ask_for() -> None:
    """2000 requests that all say "sampled": about 200 are kept (more than eight standard deviations off: an error)."""
    spans = Spans(ParentBasedTraceIdRatio(0.1))
    ask(spans, SAID, times=2000)
    assert 90 < len(spans.of_kind(SpanKind.SERVER)) < 310


def test_continuing_is_the_default(spans: Spans) -> None:
    """Inside a system the caller's trace, flag and tracestate go on."""
    left = ask(spans, {name: value for name, value in SAID.items() if name != "baggage"}, Telling())
    assert spans.server.parent is not None
    assert left["tracestate"] == "x=1"
    unsampled = Spans(ParentBased(ALWAYS_ON))
    ask(unsampled, {"traceparent": f"00-{'a' * 32}-{'b' * 16}-00"}, Telling())
    assert not unsampled.finished


def test_a_call_within_the_process_is_no_stranger(spans: Spans) -> None:
    """It stays below the span that makes it, whatever its headers say."""

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    edge = ServerSpans(inner, tracing=spans.tracing, routes=inner, telling=LINK)

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        assert get_current_span().is_recording()
        await Server().call(edge, "/inner", SAID)
        await inner(scope, receive, send)

    Server().get(ServerSpans(outer, tracing=spans.tracing, routes=outer, telling=LINK), "/outer", SAID)
    inside, outside = spans.of_kind(SpanKind.SERVER)
    assert inside.parent == outside.context
    assert not inside.links
