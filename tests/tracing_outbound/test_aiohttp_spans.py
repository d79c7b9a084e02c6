"""One CLIENT span for each attempt through aiohttp, by the stable conventions, with one traceparent; contrib beside."""

import asyncio
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor, create_trace_config
from opentelemetry.instrumentation.utils import suppress_http_instrumentation
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import Span, SpanKind, StatusCode, format_span_id, get_current_span

from handrail.resilience import outbound as resilience_outbound
from handrail.resilience.policy import Tools
from handrail.resilience.registry import Registry
from handrail.resilience.settings import ResilienceSettings
from handrail.tracing import outbound
from handrail.tracing.testing import Spans

if TYPE_CHECKING:
    from tests.tracing_outbound.conftest import Measure


class Peer:
    """What came, and what is answered: the statuses to come, then 200."""

    def __init__(self) -> None:
        self.received: list[dict[str, list[str]]] = []
        self.statuses: list[int] = []
        self.port = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """By the script; /away redirects, /gone hangs up, /socket is a websocket."""
        names = ("traceparent", "tracestate")
        self.received.append({name: request.headers.getall(name, []) for name in names})
        if request.path == "/away":
            return web.Response(status=302, headers={"location": "/there"})
        if request.path == "/gone":
            assert request.transport is not None
            request.transport.abort()
        if request.path == "/socket":
            ws = web.WebSocketResponse()
            await ws.prepare(request)
            await ws.close()
            return ws
        return web.Response(status=self.statuses.pop(0) if self.statuses else 200, text="fine")

    def run(self, call: Callable[[str], Any]) -> Any:
        """`call(url)` on a loop that has the peer."""

        async def main() -> Any:
            app = web.Application()
            app.router.add_route("*", "/{rest:.*}", self.answer)
            runner = web.AppRunner(app, shutdown_timeout=0.1)
            await runner.setup()
            try:
                await web.TCPSite(runner, "127.0.0.1", 0).start()
                self.port = runner.addresses[0][1]
                return await call(f"http://127.0.0.1:{self.port}")
            finally:
                await runner.cleanup()

        return asyncio.run(main())


async def get(url: str, **options: Any) -> int:
    """One GET of a session of its own."""
    async with aiohttp.ClientSession(**options) as session, session.get(url) as response:
        await response.read()
        return response.status


@pytest.fixture
def peer() -> Peer:
    return Peer()


@pytest.fixture
def traced(spans: Spans) -> Iterator[Spans]:
    undo = outbound.install(aiohttp)
    yield spans
    undo()


@pytest.fixture
def guarded(traced: Spans) -> Iterator[Spans]:
    undo = resilience_outbound.install(aiohttp, Registry(ResilienceSettings(backoff_base=0.0), Tools()))
    yield traced
    undo()


def told(span: ReadableSpan) -> dict[str, Any]:
    """The attributes of a span."""
    return dict(span.attributes or {})


def ids(spans: Spans) -> list[str]:
    """The span ids, in the order in which the spans ended."""
    return [format_span_id(span.context.span_id) for span in spans.finished if span.context is not None]


def parents(peer: Peer) -> list[str]:
    """The span ids in the traceparents that came; one for each request."""
    assert all(len(one["traceparent"]) == 1 for one in peer.received)
    return [one["traceparent"][0].split("-")[2] for one in peer.received]


def test_one_span_with_the_stable_names(traced: Spans, peer: Peer) -> None:
    """A call is one CLIENT span with the stable attributes, without the secret in its URL."""
    peer.run(lambda url: get(url + "/a?token=secret"))
    (span,) = traced.finished
    assert (span.name, span.kind, span.status.status_code) == ("GET", SpanKind.CLIENT, StatusCode.UNSET)
    assert told(span) == {
        "http.request.method": "GET",
        "url.full": f"http://127.0.0.1:{peer.port}/a?token=REDACTED",
        "server.address": "127.0.0.1",
        "server.port": peer.port,
        "http.response.status_code": 200,
        "network.protocol.version": "1.1",
        "network.peer.address": "127.0.0.1",
        "network.peer.port": peer.port,
    }
    assert parents(peer) == ids(traced)


def test_each_attempt_has_a_span_and_a_traceparent(guarded: Spans, peer: Peer) -> None:
    """Retries are siblings with their number; each traceparent names its own span."""
    peer.statuses = [503, 503]
    assert peer.run(get) == 200
    assert [told(span).get("http.request.resend_count") for span in guarded.finished] == [None, 1, 2]
    assert [told(span).get("error.type") for span in guarded.finished] == ["503", "503", None]
    assert parents(peer) == ids(guarded)


def test_each_hop_of_a_redirect_has_a_span(guarded: Spans, peer: Peer) -> None:
    """A redirect is two requests, and two spans."""
    peer.run(lambda url: get(url + "/away"))
    assert [told(span)["http.response.status_code"] for span in guarded.finished] == [302, 200]
    assert parents(peer) == ids(guarded)


def test_broken_attempt_names_its_error(guarded: Spans, peer: Peer) -> None:
    """What aiohttp raised stands on the span of the attempt, by its full name."""
    with pytest.raises(aiohttp.ServerDisconnectedError):
        peer.run(lambda url: get(url + "/gone"))
    assert [told(span)["error.type"] for span in guarded.finished] == [
        "aiohttp.client_exceptions.ServerDisconnectedError"
    ] * 3


def test_middleware_of_the_service_is_outside(guarded: Spans, peer: Peer) -> None:
    """A service's own middleware runs in the caller's span, not in that of an attempt."""
    seen = []

    async def mine(request: Any, handler: Any) -> Any:
        seen.append(get_current_span().get_span_context().is_valid)
        return await handler(request)

    peer.run(lambda url: get(url, middlewares=[mine]))
    assert seen == [False]


def test_handshake_of_a_websocket_is_a_span(guarded: Spans, peer: Peer) -> None:
    """The handshake is an HTTP request like any; what follows is not told."""

    async def call(url: str) -> None:
        async with aiohttp.ClientSession() as session, session.ws_connect(url + "/socket") as ws:
            await ws.receive()

    peer.run(call)
    (span,) = guarded.finished
    assert told(span)["http.response.status_code"] == 101


def test_suppressed_call_has_no_span(guarded: Spans, peer: Peer) -> None:
    """`suppress_http_instrumentation` is heard: neither span nor header."""

    async def call(url: str) -> int:
        with suppress_http_instrumentation():
            return await get(url)

    peer.run(call)
    assert guarded.finished == ()
    assert peer.received[0]["traceparent"] == []


def test_excluded_url_has_no_span(spans: Spans, peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    """OTEL_PYTHON_AIOHTTP_CLIENT_EXCLUDED_URLS works as with contrib."""
    monkeypatch.setenv("OTEL_PYTHON_AIOHTTP_CLIENT_EXCLUDED_URLS", "health")
    undo = outbound.install(aiohttp)
    peer.run(lambda url: get(url + "/health"))
    peer.run(lambda url: get(url + "/other"))
    undo()
    assert [told(span)["url.full"].rpartition("/")[2] for span in spans.finished] == ["other"]


@pytest.mark.parametrize("first", [True, False], ids=["contrib first", "contrib later"])
@pytest.mark.parametrize("way", ["instrumentor", "by hand"])
def test_contrib_beside_us_makes_no_second_span(spans: Spans, peer: Peer, way: str, first: bool) -> None:
    """Contrib's trace configs are set aside; the hooks in them are called with the span of each attempt."""
    hooked: list[tuple[str, str]] = []

    def on_request(span: Span, params: aiohttp.TraceRequestStartParams) -> None:
        span.set_attribute("mine", params.method)
        hooked.append(("request", format_span_id(span.get_span_context().span_id)))

    def on_response(span: Span, params: Any) -> None:
        hooked.append(("response", format_span_id(span.get_span_context().span_id)))

    hooks: dict[str, Any] = {"request_hook": on_request, "response_hook": on_response}
    instrumentor = AioHttpClientInstrumentor()

    def theirs() -> None:
        if way == "instrumentor":
            instrumentor.instrument(**hooks)

    undos: list[Callable[[], None]] = []
    steps = [theirs, lambda: undos.append(outbound.install(aiohttp))]
    for step in steps if first else reversed(steps):
        step()
    registry = Registry(ResilienceSettings(backoff_base=0.0), Tools())
    undos.append(resilience_outbound.install(aiohttp, registry))
    try:
        peer.statuses = [503]
        options = {} if way == "instrumentor" else {"trace_configs": [create_trace_config(**hooks)]}
        assert peer.run(lambda url: get(url, **options)) == 200
    finally:
        for undo in reversed(undos):
            undo()
        if way == "instrumentor":
            instrumentor.uninstrument()
    assert [told(span).get("mine") for span in spans.finished] == ["GET", "GET"]
    assert parents(peer) == ids(spans)
    assert hooked == [(kind, one) for one in ids(spans) for kind in ("request", "response")]


def test_undo_gives_contribs_configs_back(spans: Spans, peer: Peer) -> None:
    """A session of the service has its trace configs again, and contrib's span with them."""

    async def call(url: str) -> int:
        mine = aiohttp.TraceConfig()
        async with aiohttp.ClientSession(trace_configs=[mine, create_trace_config()]) as session:
            undo = outbound.install(aiohttp)
            async with session.get(url):
                pass
            assert session.trace_configs == [mine]
            undo()
            async with session.get(url):
                pass
            return len(session.trace_configs)

    assert peer.run(call) == 2
    assert len(spans.finished) == 2


def test_ids_are_in_scope_of_the_caller(traced: Spans, peer: Peer) -> None:
    """The span of an attempt is a child of what is current where the call is made, and not current afterwards."""

    async def call(url: str) -> None:
        with traced.provider.get_tracer("test").start_as_current_span("outer") as outer:
            await get(url)
            assert get_current_span() is outer

    peer.run(call)
    inner, outer = traced.finished
    assert inner.parent is not None
    assert outer.context is not None
    assert inner.parent.span_id == outer.context.span_id


def test_headers_are_captured_where_asked_for(spans: Spans, peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The standard variables work, under the conventions' names, and secrets stay hidden."""
    monkeypatch.setenv("OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_REQUEST", "x-mine,authorization")
    monkeypatch.setenv("OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_RESPONSE", "content-type")
    undo = outbound.install(aiohttp)
    peer.run(lambda url: get(url, headers={"X-Mine": "1", "Authorization": "Basic abc"}))
    undo()
    found = told(spans.finished[0])
    assert found["http.request.header.x-mine"] == ("1",)
    assert found["http.request.header.authorization"] == ("REDACTED",)
    assert found["http.response.header.content-type"] == ("text/plain; charset=utf-8",)


def test_measure_is_told_of_each_attempt(spans: Spans, peer: Peer, measure: "Measure") -> None:
    """Method, origin, status, error and version of each, failed ones included."""
    undo = outbound.install(aiohttp, lambda: measure)
    peer.statuses = [503]
    peer.run(get)
    with pytest.raises(aiohttp.ServerDisconnectedError):
        peer.run(lambda url: get(url + "/gone"))
    undo()
    name = "aiohttp.client_exceptions.ServerDisconnectedError"
    found = [(method, scheme, host, *rest) for method, scheme, host, _, *rest in measure.told]
    assert found == [
        ("GET", "http", "127.0.0.1", 503, "503", "1.1"),
        ("GET", "http", "127.0.0.1", 0, name, ""),
        ("GET", "http", "127.0.0.1", 0, name, ""),
    ]
