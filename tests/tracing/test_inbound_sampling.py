"""route_sampling: the share of new traces that begin at a route."""

import random

import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, ParentBasedTraceIdRatio, Sampler, TraceIdRatioBased
from opentelemetry.trace import NoOpTracerProvider, get_current_span

from handrail.tracing.inbound._exchange import Receive, Scope, Send
from handrail.tracing.inbound.server import ServerSpans
from handrail.tracing.provider import Tracing
from handrail.tracing.settings import Telling
from handrail.tracing.testing import Spans
from tests.tracing.asgi_server import Server

Rates = tuple[tuple[str, float], ...]


async def ok(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body"})


def kept(rates: Rates, path: str, headers: dict[str, str] | None = None, sampler: Sampler = ALWAYS_ON) -> bool:
    spans = Spans(ParentBased(sampler))
    app = ServerSpans(ok, tracing=spans.tracing, routes=ok, telling=Telling(route_sampling=rates))
    Server().get(app, path, headers)
    return bool(spans.finished)


@pytest.mark.parametrize(
    ("rates", "path", "expected"),
    [
        ((("/poll", 0.0),), "/poll", False),
        ((("/poll", 0.0),), "/polls", True),
        ((("/orders/{id}", 0.0),), "/orders/7", False),
        ((("/orders/{id}", 0.0),), "/orders/7/items", True),
        ((("/orders/*", 0.0),), "/orders/7/items", False),
        ((("/orders/hot", 1.0), ("/orders/*", 0.0)), "/orders/hot", True),
        ((("/orders/*", 0.0), ("/orders/hot", 1.0)), "/orders/hot", False),
        ((("/a(b", 0.0),), "/a(b", False),
        ((("/a", 0.0),), "/a\n", True),
    ],
)
def test_the_first_pattern_that_fits_counts(rates: Rates, path: str, expected: bool) -> None:
    """Outside of all patterns the usual sampler decides."""
    assert kept(rates, path) is expected


def test_a_route_may_be_kept_more_often_than_the_rest() -> None:
    """1.0 for the till, with a service-wide ratio of nothing."""
    assert kept((("/checkout", 1.0),), "/checkout", sampler=TraceIdRatioBased(0))
    assert not kept((("/checkout", 1.0),), "/other", sampler=TraceIdRatioBased(0))


@pytest.mark.parametrize(("flags", "expected"), [("01", True), ("00", False)])
@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_a_parent_is_never_overridden(rate: float, flags: str, expected: bool) -> None:
    """Half a trace is worse than none: who has a parent follows it."""
    headers = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-{flags}"}
    assert kept((("/x", rate),), "/x", headers) is expected


def test_the_trace_id_decides_as_the_standard_sampler_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same traces that TraceIdRatioBased keeps anywhere else, under the very id that it looked at."""
    dice = random.Random(3)
    ids = [dice.getrandbits(128) | 1 for _ in range(400)]
    spans = Spans(ParentBasedTraceIdRatio(1.0))
    monkeypatch.setattr(spans.provider.id_generator, "generate_trace_id", iter(ids).__next__)
    app = ServerSpans(ok, tracing=spans.tracing, routes=ok, telling=Telling(route_sampling=(("/x", 0.25),)))
    for _ in ids:
        Server().get(app, "/x")
    limit = TraceIdRatioBased.get_bound_for_rate(0.25)
    expected = [one for one in ids if one & TraceIdRatioBased.TRACE_ID_LIMIT < limit]
    assert [span.context.trace_id for span in spans.finished if span.context] == expected
    assert 50 < len(expected) < 150


def test_what_is_below_follows_the_root() -> None:
    """The children of a root that is not kept are not kept either, and its flag says so to others."""
    spans = Spans(ParentBased(ALWAYS_ON))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        spans.provider.get_tracer("app").start_span("child").end()
        context = get_current_span().get_span_context()
        assert context.is_valid
        assert not context.trace_flags.sampled
        await ok(scope, receive, send)

    telling = Telling(route_sampling=(("/x", 0.0),))
    Server().get(ServerSpans(app, tracing=spans.tracing, routes=app, telling=telling), "/x")
    assert not spans.finished


def test_it_leaves_other_tracers_and_other_providers_alone() -> None:
    """The sampler of the service is not touched; a provider that is not the SDK's decides by itself."""
    spans = Spans(ALWAYS_ON)
    telling = Telling(route_sampling=(("/x", 0.0),))
    app = ServerSpans(ok, tracing=spans.tracing, routes=ok, telling=telling)
    Server().get(app, "/x")
    Server().get(app, "/y")
    assert spans.provider.sampler is ALWAYS_ON
    spans.provider.get_tracer("handrail").start_span("mine").end()
    assert [span.name for span in spans.finished] == ["GET", "mine"]
    other = Tracing(NoOpTracerProvider(), ours=False)
    assert Server().get(ServerSpans(ok, tracing=lambda: other, routes=ok, telling=telling), "/x") == 200


def test_another_provider_later_is_asked_too() -> None:
    """`tracing` is asked at each request; what was made for the first provider is not used for the second."""
    both = [Spans(ALWAYS_ON), Spans(ALWAYS_ON)]
    each = iter(both)
    telling = Telling(route_sampling=(("/x", 1.0),))
    app = ServerSpans(ok, tracing=lambda: next(each).tracing(), routes=ok, telling=telling)
    Server().get(app, "/x")
    Server().get(app, "/x")
    assert [len(spans.finished) for spans in both] == [1, 1]
