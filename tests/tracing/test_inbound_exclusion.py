"""Excluded paths leave no span and no metric, and hand the caller's context on."""

import asyncio
import time
from typing import Any

import pytest
from opentelemetry import baggage
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased
from opentelemetry.trace import SpanContext, SpanKind, get_current_span

from handrail.tracing import propagation
from handrail.tracing.inbound._exchange import Receive, Scope, Send
from handrail.tracing.inbound._patterns import matcher
from handrail.tracing.inbound.server import ServerSpans
from handrail.tracing.settings import Telling
from handrail.tracing.testing import Spans
from tests.tracing.asgi_server import Server

PARENT = f"00-{'a' * 32}-{'b' * 16}-01"


class App:
    """Makes one outbound call: a CLIENT span and the headers that leave."""

    def __init__(self, spans: Spans) -> None:
        self.spans = spans
        self.current: SpanContext | None = None
        self.left: dict[str, str] = {}
        self.tenant: object = None
        self.scope: Scope = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.current = get_current_span().get_span_context()
        self.tenant = baggage.get_baggage("tenant")
        propagation.W3CPropagator().inject(self.left)
        self.spans.provider.get_tracer("client").start_span("GET", kind=SpanKind.CLIENT).end()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})


@pytest.fixture
def spans() -> Spans:
    """With the SDK's default sampler."""
    return Spans(ParentBased(ALWAYS_ON))


def request(spans: Spans, path: str, headers: dict[str, str] | None = None, *patterns: str, **more: Any) -> App:
    app = App(spans)
    telling = Telling(exclude_routes=patterns) if patterns else Telling()
    Server().get(ServerSpans(app, tracing=spans.tracing, routes=app, telling=telling), path, headers, **more)
    return app


@pytest.mark.parametrize("flags", ["00", "01", "03"])
def test_the_callers_context_passes_through_unchanged(spans: Spans, flags: str) -> None:
    """A1-15: the next span is the caller's child, the flags are as they came, baggage goes along; no orphan."""
    traceparent = f"00-{'a' * 32}-{'b' * 16}-{flags}"
    app = request(spans, "/health", {"traceparent": traceparent, "tracestate": "x=1", "baggage": "tenant=acme"})
    assert app.left == {"traceparent": traceparent, "tracestate": "x=1", "baggage": "tenant=acme"}
    assert app.tenant == "acme"
    assert not spans.of_kind(SpanKind.SERVER)
    children = spans.of_kind(SpanKind.CLIENT)
    assert len(children) == int(flags, 16) % 2
    for child in children:
        assert child.parent is not None
        assert child.parent.span_id == int("b" * 16, 16)


def test_without_a_caller_what_it_calls_is_no_trace_of_its_own(spans: Spans) -> None:
    """An unsampled context: the health check of a dependency is told not to trace either."""
    app = request(spans, "/readyz")
    assert not spans.finished
    assert app.current is not None
    assert app.current.is_valid
    assert not app.current.trace_flags.sampled
    assert app.left["traceparent"].endswith("-02")


def test_it_is_not_the_host_that_counts(spans: Spans) -> None:
    """A1-15: a host, a query or a longer path that holds an excluded word excludes nothing."""
    for path, headers in (("/", {"host": "health"}), ("/healthy", {"host": "x"}), ("/api/health", {"host": "x"})):
        spans.clear()
        request(spans, path, headers, query_string=b"next=/health")
        assert len(spans.of_kind(SpanKind.SERVER)) == 1


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("/internal/*", "/internal/a/b", True),
        ("/internal/*", "/internal", False),
        ("/jobs/{id}/ping", "/jobs/7/ping", True),
        ("/jobs/{id}/ping", "/jobs/7/8/ping", False),
        ("/jobs/{id}/ping", "/jobs//ping", False),
        ("*.css", "/static/site.css", True),
        ("/a.b", "/aXb", False),
        ("/a", "/a\n", False),
        ("/a*", "/a\nb", True),
        ("/x{", "/x{", True),
    ],
)
def test_patterns(spans: Spans, pattern: str, path: str, fits: bool) -> None:
    """`{name}` is one segment, `*` is anything, all else is itself."""
    request(spans, path, None, pattern, "/other")
    assert (not spans.of_kind(SpanKind.SERVER)) is fits


def test_below_a_root_path_the_rest_of_the_path_counts_too(spans: Spans) -> None:
    """A probe knows the path within the application, a proxy the whole one."""
    request(spans, "/api/health", root_path="/api")
    assert not spans.of_kind(SpanKind.SERVER)
    request(spans, "/apix/health", root_path="/api")
    assert spans.of_kind(SpanKind.SERVER)


def test_nothing_is_excluded_where_the_list_is_empty(spans: Spans) -> None:
    """An empty list is a list."""
    app = App(spans)
    Server().get(ServerSpans(app, tracing=spans.tracing, routes=app, telling=Telling(exclude_routes=())), "/health")
    assert spans.of_kind(SpanKind.SERVER)


def test_the_frameworks_own_tracing_stays_silent(spans: Spans) -> None:
    """No SERVER span of somebody else's in the place of ours."""
    app = request(spans, "/health")
    assert app.scope["fastapi.telemetry"] is None
    assert app.scope["starlette.opentelemetry"] is True


def test_a_call_within_the_process_stays_below_the_request_that_makes_it(spans: Spans) -> None:
    """The local span is the context then, and is nobody's to replace."""
    inner = App(spans)
    wrapped = ServerSpans(inner, tracing=spans.tracing, routes=inner)

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        await Server().call(wrapped, "/health")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    Server().get(ServerSpans(outer, tracing=spans.tracing, routes=outer), "/orders")
    (client,) = spans.of_kind(SpanKind.CLIENT)
    assert client.parent is not None
    assert client.parent == spans.server.context


def test_the_context_is_restored_and_exceptions_pass(spans: Spans) -> None:
    """As with any other request."""

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("down")

    async def main() -> None:
        with pytest.raises(ValueError, match="down"):
            await Server().call(ServerSpans(broken, tracing=spans.tracing, routes=broken), "/health")
        assert not get_current_span().get_span_context().is_valid

    asyncio.run(main())
    assert not spans.finished


def test_strangers_are_no_callers_there_either(spans: Spans) -> None:
    """With inbound_trace "link" the context of a stranger does not pass through."""
    app = App(spans)
    telling = Telling(inbound_trace="link")
    Server().get(
        ServerSpans(app, tracing=spans.tracing, routes=app, telling=telling), "/health", {"traceparent": PARENT}
    )
    assert not spans.finished
    assert "a" * 32 not in app.left["traceparent"]


def test_a_strangers_long_path_does_not_hold_the_loop() -> None:
    """Three stars and 16,000 characters are tried in one way, not in every way to share them among the stars."""
    fits = matcher(["/a/*/b/*/b/*/c"])
    began = time.process_time()
    assert not fits("/a" + "/b" * 8000 + "/d")
    assert time.process_time() - began < 5  # the wrong way takes hours
    assert fits("/a/1/b/2/3/b/4/c")
