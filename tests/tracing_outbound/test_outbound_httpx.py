"""One CLIENT span per attempt through httpx and httpx2, by the stable conventions, with one traceparent."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest
from opentelemetry import propagate
from opentelemetry.instrumentation.utils import suppress_http_instrumentation
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import Sampler
from opentelemetry.trace import NoOpTracer, ProxyTracerProvider, SpanKind, StatusCode, format_span_id

from handrail.tracing import _quietly, outbound
from handrail.tracing.testing import Spans, as_global


class _Echo(BaseHTTPRequestHandler):
    """Answers with the propagation headers that arrived; /500 fails."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        names = ("traceparent", "tracestate")
        body = json.dumps({name: self.headers.get_all(name) or [] for name in names}).encode()
        self.send_response(500 if self.path == "/500" else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://localhost:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def traced(library: ModuleType, spans: Spans) -> Iterator[ModuleType]:
    undo = outbound.install(library)
    yield library
    undo()


def _call(library: ModuleType, way: str, address: str, **options: Any) -> Any:
    if way == "sync":
        with library.Client() as client:
            return client.get(address, **options)

    async def main() -> Any:
        async with library.AsyncClient() as client:
            return await client.get(address, **options)

    return asyncio.run(main())


WAYS = pytest.mark.parametrize("way", ["sync", "async"])


@WAYS
def test_one_span_with_the_stable_names(traced: ModuleType, spans: Spans, url: str, way: str) -> None:
    """A call is one CLIENT span with the stable attributes, the port and the peer's IP address included."""
    response = _call(traced, way, url + "/items?q=1")
    (span,) = spans.finished
    assert span.kind is SpanKind.CLIENT
    assert span.name == "GET"
    assert span.attributes is not None
    about = dict(span.attributes)
    assert about.pop("network.peer.address") in ("127.0.0.1", "::1")
    port = response.url.port
    assert about == {
        "http.request.method": "GET",
        "url.full": f"{url}/items?q=1",
        "server.address": "localhost",
        "server.port": port,
        "network.peer.port": port,
        "http.response.status_code": 200,
        "network.protocol.version": "1.1",
    }


@WAYS
def test_traceparent_names_the_span_of_the_attempt(traced: ModuleType, spans: Spans, url: str, way: str) -> None:
    """Copied or doubled headers are replaced: one traceparent leaves, and it names the attempt's own span."""
    copied = f"00-{'a' * 32}-{'b' * 16}-01"
    headers = [("traceparent", copied), ("Traceparent", copied), ("tracestate", "other=1")]
    arrived = _call(traced, way, url, headers=headers).json()
    (span,) = spans.finished
    assert span.context is not None
    (traceparent,) = arrived["traceparent"]
    assert traceparent.split("-")[2] == format_span_id(span.context.span_id)
    assert arrived["tracestate"] == []


@WAYS
def test_a_reused_dict_of_headers_stays_as_it_was(traced: ModuleType, spans: Spans, url: str, way: str) -> None:
    """The caller's own headers object is not written to, so the next call does not inherit a traceparent."""
    headers = {"x-mine": "1"}
    first, second = (_call(traced, way, url, headers=headers).json()["traceparent"] for _ in range(2))
    assert headers == {"x-mine": "1"}
    assert first != second


def test_clients_made_earlier_are_traced(library: ModuleType, spans: Spans, url: str) -> None:
    """The class is patched: a client that exists already needs nothing."""
    with library.Client() as client:
        undo = outbound.install(library)
        client.get(url)
        undo()
    assert len(spans.finished) == 1


@WAYS
def test_resend_count(traced: ModuleType, spans: Spans, url: str, way: str) -> None:
    """http.request.resend_count is absent on the first attempt and counts resends from one."""
    for attempt in (1, 2, 3):
        _call(traced, way, url, extensions={"handrail.call": SimpleNamespace(attempt=attempt, timed_out=False)})
    counts = [(span.attributes or {}).get("http.request.resend_count") for span in spans.finished]
    assert counts == [None, 1, 2]


@WAYS
def test_a_failed_call(traced: ModuleType, spans: Spans, way: str) -> None:
    """A2: error.type is the full name of the class, and the default port is told; the same error goes up."""
    with pytest.raises(traced.ConnectError):
        _call(traced, way, "http://127.83.21.7/")
    (span,) = spans.finished
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes is not None
    assert span.attributes["error.type"] == f"{traced.__name__}.ConnectError"
    assert span.attributes["server.port"] == 80
    assert not any(name.startswith("network.peer") for name in span.attributes)


@WAYS
def test_a_server_error(traced: ModuleType, spans: Spans, url: str, way: str) -> None:
    """Status 500 is an ERROR whose error.type is the code."""
    assert _call(traced, way, url + "/500").status_code == 500
    (span,) = spans.finished
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes or {})["error.type"] == "500"


@pytest.mark.parametrize("timed_out", [True, False])
def test_cancellation(library: ModuleType, spans: Spans, timed_out: bool) -> None:
    """Cancelled by our timer: ERROR, error.type timeout. Cancelled by the caller: no error (HTTP conventions)."""

    async def main() -> None:
        entered = asyncio.Event()

        async def hang(*_: object) -> None:
            entered.set()
            await asyncio.Event().wait()

        with ExitStack() as stack:
            stack.callback(
                setattr,
                library.AsyncHTTPTransport,
                "handle_async_request",
                library.AsyncHTTPTransport.handle_async_request,
            )
            library.AsyncHTTPTransport.handle_async_request = hang
            stack.callback(outbound.install(library))
            async with library.AsyncClient() as client:
                call = SimpleNamespace(attempt=1, timed_out=timed_out)
                task = asyncio.create_task(client.get("http://127.0.0.1/", extensions={"handrail.call": call}))
                await entered.wait()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task

    asyncio.run(main())
    (span,) = spans.finished
    assert span.status.status_code is (StatusCode.ERROR if timed_out else StatusCode.UNSET)
    assert (span.attributes or {}).get("error.type") == ("timeout" if timed_out else None)


def test_mock_transports_stay_untouched(traced: ModuleType, spans: Spans) -> None:
    """What does not leave through the library's own transport makes no span."""
    with traced.Client(transport=traced.MockTransport(lambda _request: traced.Response(200))) as client:
        client.get("http://somewhere/")
    assert spans.finished == ()


def test_suppressed_calls_leave_the_current_span_alone(traced: ModuleType, spans: Spans, url: str) -> None:
    """Where instrumentation is suppressed there is no span, and the one around it is not written to."""
    with spans.provider.get_tracer("test").start_as_current_span("mine"), suppress_http_instrumentation():
        _call(traced, "sync", url)
    (span,) = spans.finished
    assert span.attributes == {}


def test_install_and_undo(library: ModuleType, spans: Spans, url: str) -> None:
    """Installing twice is once; undoing leaves the class as it was found, and may be repeated."""
    before = library.HTTPTransport.handle_request, library.AsyncHTTPTransport.handle_async_request
    undo = outbound.install(library)
    assert outbound.install(library) is undo
    _call(library, "sync", url)
    undo()
    undo()
    _call(library, "sync", url)
    assert len(spans.finished) == 1
    assert (library.HTTPTransport.handle_request, library.AsyncHTTPTransport.handle_async_request) == before


def test_undo_below_somebody_else(library: ModuleType, spans: Spans, url: str) -> None:
    """Wrapped by others since, the layer stays and does nothing, until the next install wakes it."""
    transport = library.HTTPTransport
    original = transport.handle_request
    undo = outbound.install(library)
    layer = transport.handle_request

    def theirs(self: Any, request: Any) -> Any:
        return layer(self, request)

    transport.handle_request = theirs
    undo()
    _call(library, "sync", url)
    assert transport.handle_request is theirs
    assert spans.finished == ()
    undo = outbound.install(library)
    _call(library, "sync", url)
    assert len(spans.finished) == 1
    transport.handle_request = layer
    undo()
    assert transport.handle_request is original


def test_other_modules_are_refused() -> None:
    """A module that nobody here knows is a mistake of the caller."""
    with pytest.raises(ValueError, match="cannot trace json"):
        outbound.install(json)


class _Broken(TextMapPropagator, Sampler, SpanProcessor):
    """A part of the service's own that raises wherever it is asked."""

    def extract(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("extract")

    def inject(self, *_: Any, **__: Any) -> None:
        raise RuntimeError("inject")

    @property
    def fields(self) -> set[str]:
        return set()

    def should_sample(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("sample")

    def get_description(self) -> str:
        return "broken"

    def on_end(self, span: object) -> None:
        raise RuntimeError("end")


class _Others(ProxyTracerProvider):
    """Somebody else's provider, whose tracers are not the SDK's, and the SDK behind them."""

    def __init__(self, provider: TracerProvider) -> None:
        self.provider = provider

    def get_tracer(self, *args: Any, **kwargs: Any) -> Any:
        behind = self.provider.get_tracer(*args, **kwargs)
        return type("Other", (NoOpTracer,), {"start_span": staticmethod(behind.start_span)})()


@WAYS
@pytest.mark.parametrize("others", [False, True])
@pytest.mark.parametrize("part", ["propagator", "sampler", "processor"])
def test_a_part_that_raises_fails_no_call(
    library: ModuleType,
    url: str,
    way: str,
    part: str,
    others: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A call goes out where a propagator, sampler or processor of the service raises; the log says so once."""
    monkeypatch.setattr(_quietly, "_told", set())
    provider = TracerProvider(sampler=_Broken() if part == "sampler" else None, shutdown_on_exit=False)
    if part == "processor":
        provider.add_span_processor(_Broken())
    with as_global(cast("TracerProvider", _Others(provider)) if others else provider):
        if part == "propagator":
            propagate.set_global_textmap(_Broken())
        undo = outbound.install(library)
        try:
            assert [_call(library, way, url).status_code for _ in range(2)] == [200, 200]
        finally:
            undo()
    (record,) = [record for record in caplog.records if record.name == "handrail"]
    assert record.levelname == "ERROR"
