"""A2: each way of putting contrib's httpx instrumentation and retries together, and headers that are copied by hand."""

import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

import httpx
import pytest
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor, SyncOpenTelemetryTransport
from opentelemetry.trace import SpanKind, use_span
from starlette.responses import StreamingResponse

from handrail.tracing import outbound
from handrail.tracing.inbound._exchange import App
from handrail.tracing.inbound.server import ServerSpans
from handrail.tracing.testing import Spans, as_global
from tests.tracing.asgi_server import Server

seen: list[list[tuple[str, str]]] = []


class _Peer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        seen.append([(name.lower(), value) for name, value in self.headers.items()])
        self.send_response(503 if len(seen) < 3 else 204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Peer) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def spans() -> Iterator[Spans]:
    found = Spans()
    seen.clear()
    with as_global(found.provider):
        yield found


class Retrying(httpx.BaseTransport):
    """Attempts through the transport within, until the peer answers: three."""

    def __init__(self, within: httpx.BaseTransport) -> None:
        self.within = within

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        while (response := self.within.handle_request(request)).status_code >= 500:
            response.close()
        return response

    def close(self) -> None:
        self.within.close()


class RetryingSubclass(httpx.HTTPTransport):
    """The same through super()."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        while (response := super().handle_request(request)).status_code >= 500:
            response.close()
        return response


def hook(span: Any, *_info: object) -> None:
    span.set_attribute("hooked", True)


def plain() -> httpx.Client:
    return httpx.Client(transport=Retrying(httpx.HTTPTransport()))


def subclass() -> httpx.Client:
    return httpx.Client(transport=RetryingSubclass())


def by_hand() -> httpx.Client:
    return httpx.Client(transport=SyncOpenTelemetryTransport(Retrying(httpx.HTTPTransport()), request_hook=hook))


def by_hand_within() -> httpx.Client:
    return httpx.Client(transport=Retrying(SyncOpenTelemetryTransport(httpx.HTTPTransport(), request_hook=hook)))


def client_alone() -> httpx.Client:
    client = plain()
    HTTPXClientInstrumentor.instrument_client(client, request_hook=hook)
    return client


def mounted() -> httpx.Client:
    client = httpx.Client(mounts={"http://": Retrying(httpx.HTTPTransport())})
    HTTPXClientInstrumentor.instrument_client(client, request_hook=hook)
    return client


@pytest.mark.parametrize("when", ["client first", "instrument() first", "no instrument()"])
@pytest.mark.parametrize("ours", ["before", "after"])
@pytest.mark.parametrize("make", [plain, subclass, by_hand, by_hand_within, client_alone, mounted])
def test_one_span_and_one_traceparent_per_attempt(
    spans: Spans, url: str, make: Callable[[], httpx.Client], ours: str, when: str
) -> None:
    """A2, the table of compositions: three attempts are three spans beside one another, never one, four or six."""
    instrumentor = HTTPXClientInstrumentor()
    undo = outbound.install(httpx) if ours == "before" else None
    try:
        if when == "instrument() first":
            instrumentor.instrument()
        client = make()
        if when == "client first":
            instrumentor.instrument()
        undo = undo or outbound.install(httpx)
        with spans.provider.get_tracer("service").start_as_current_span("call"), client:
            client.get(url)
    finally:
        if undo is not None:
            undo()
        if when != "no instrument()":
            instrumentor.uninstrument()
    attempts = spans.of_kind(SpanKind.CLIENT)
    (call,) = spans.of_kind(SpanKind.INTERNAL)
    assert [span.parent for span in attempts] == [call.context] * 3
    sent = [[value.split("-")[2] for name, value in fields if name == "traceparent"] for fields in seen]
    assert sent == [[f"{span.context.span_id:016x}"] for span in attempts if span.context]
    hooked = [bool((span.attributes or {}).get("hooked")) for span in attempts]
    assert hooked == [make in (by_hand, by_hand_within, client_alone, mounted)] * 3


def test_after_undo_transports_are_contribs_again(spans: Spans, url: str) -> None:
    """What was moved below the retries is put back where the service had put it."""
    client = client_alone()
    outbound.install(httpx)()
    with client:
        client.get(url)
    assert [bool((span.attributes or {}).get("hooked")) for span in spans.finished] == [True]


OLD = f"00-{'c' * 32}-{'d' * 16}-01"
COPIED: dict[str, Any] = {
    "verbatim": {"traceparent": OLD, "tracestate": "old=1", "baggage": "user=7"},
    "in capitals": {"Traceparent": OLD, "TRACESTATE": "old=1", "Baggage": "user=7"},
    "tuples": [("traceparent", OLD), ("tracestate", "old=1"), ("baggage", "user=7")],
    "bytes": [(b"traceparent", OLD.encode()), (b"TraceState", b"old=1"), (b"baggage", b"user=7")],
    "twice": [("traceparent", OLD), ("TraceParent", OLD), ("tracestate", "old=1"), ("TraceState", "old=2")],
    "headers": httpx.Headers([("TraceParent", OLD), ("tracestate", "old=1"), ("baggage", "user=7")]),
}


@pytest.mark.parametrize("how", COPIED)
def test_headers_copied_by_hand(spans: Spans, url: str, how: str) -> None:
    """One traceparent, that of the attempt; no tracestate of another parent; what the caller holds is unchanged."""
    headers = COPIED[how]
    before = repr(headers)
    undo = outbound.install(httpx)
    try:
        with httpx.Client() as client:
            for _ in range(3):
                client.get(url, headers=headers)
    finally:
        undo()
    assert repr(headers) == before
    for span, fields in zip(spans.finished, seen, strict=True):
        context = span.context
        assert context is not None
        told = [value for name, value in fields if name == "traceparent"]
        assert told == [f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"]
        assert [name for name, _ in fields].count("tracestate") == 0
        assert [name for name, _ in fields].count("baggage") <= 1


def test_a_span_held_across_a_yield_harms_nobody(spans: Spans, caplog: pytest.LogCaptureFixture) -> None:
    """A3 (python#2606): a client leaves a stream whose generator has a span open: ours detaches, and says nothing."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def chunks() -> AsyncIterator[bytes]:
            span = spans.provider.get_tracer("service").start_span("stream")
            with use_span(span, end_on_exit=True):
                for _ in range(3):
                    yield b"x"

        await StreamingResponse(chunks())(scope, receive, send)

    with caplog.at_level(logging.DEBUG, logger="opentelemetry"):
        Server().get(cast("App", ServerSpans(app, tracing=spans.tracing, routes=None)), "/")
    assert "detach" not in caplog.text
    assert [span.name for span in spans.finished] == ["stream", "GET"]
    assert spans.finished[0].parent == spans.server.context
