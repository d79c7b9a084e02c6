"""One CLIENT span and one traceparent for each sending through requests and urllib3, contrib beside it or not."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import requests
import urllib3
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.instrumentation.urllib3 import URLLib3Instrumentor
from opentelemetry.instrumentation.utils import suppress_http_instrumentation, suppress_instrumentation
from opentelemetry.trace import SpanKind, StatusCode, format_span_id

from handrail.tracing import outbound
from handrail.tracing.outbound import _urllib3_contrib
from handrail.tracing.testing import Spans

if TYPE_CHECKING:
    from tests.tracing_outbound.conftest import Measure


class _Echo(BaseHTTPRequestHandler):
    """Answers with the propagation headers that arrived; /redirect leads on, /500 fails, /gone says nothing."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/gone":
            self.close_connection = True
            return
        names = ("traceparent", "tracestate")
        body = json.dumps({name: self.headers.get_all(name) or [] for name in names}).encode()
        self.send_response({"/500": 500, "/redirect": 302}.get(self.path, 200))
        self.send_header("location", "/there")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Echo) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://localhost:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def call() -> SimpleNamespace:
    """On whose behalf requests are sent."""
    return SimpleNamespace(attempt=1, timed_out=False)


@pytest.fixture
def traced(spans: Spans, measure: "Measure", call: SimpleNamespace) -> Iterator[None]:
    undo = outbound.install(urllib3, lambda: measure, lambda: call)
    yield
    undo()


def _requests(address: str, **options: Any) -> bytes:
    return requests.get(address, **options).content


def _urllib3(address: str, **options: Any) -> bytes:
    with urllib3.PoolManager() as pool:
        return pool.request("GET", address, **options).data


WAYS = pytest.mark.parametrize("get", [_requests, _urllib3])
Get = Callable[..., bytes]


@WAYS
def test_one_span_with_the_stable_names(traced: None, spans: Spans, measure: "Measure", url: str, get: Get) -> None:
    """A call is one CLIENT span and one duration, with the attributes that httpx has."""
    get(url + "/items?q=1&api_key=secret")
    (span,) = spans.finished
    assert (span.name, span.kind) == ("GET", SpanKind.CLIENT)
    port = int(url.rpartition(":")[2])
    about = dict(span.attributes or {})
    assert about.pop("network.peer.address") in ("127.0.0.1", "::1")
    shown = about.pop("url.full")
    assert isinstance(shown, str)
    assert shown.startswith(f"{url}/items?q=1&api_key=")
    assert "secret" not in shown
    assert about == {
        "http.request.method": "GET",
        "server.address": "localhost",
        "server.port": port,
        "network.peer.port": port,
        "http.response.status_code": 200,
        "network.protocol.version": "1.1",
    }
    assert measure.told == [("GET", "http", "localhost", port, 200, None, "1.1")]


@WAYS
def test_traceparent_names_the_span_of_the_attempt(traced: None, spans: Spans, url: str, get: Get) -> None:
    """Headers copied in any case are replaced: one traceparent leaves, and the caller's dict stays as it was."""
    headers = {"TraceParent": f"00-{'a' * 32}-{'b' * 16}-01", "tracestate": "other=1"}
    before = dict(headers)
    arrived = json.loads(get(url, headers=headers))
    (span,) = spans.finished
    assert span.context is not None
    (traceparent,) = arrived["traceparent"]
    assert traceparent.split("-")[2] == format_span_id(span.context.span_id)
    assert arrived["tracestate"] == []
    assert headers == before


@WAYS
def test_failures(traced: None, spans: Spans, measure: "Measure", url: str, get: Get) -> None:
    """A status of 400 and more, and what breaks off, are errors with their type; measured too."""
    get(url + "/500")
    with pytest.raises((requests.ConnectionError, urllib3.exceptions.HTTPError)):
        get(url + "/gone", **({"retries": False} if get is _urllib3 else {}))
    kinds = [(span.attributes or {}).get("error.type") for span in spans.finished]
    assert kinds == ["500", "urllib3.exceptions.ProtocolError"]
    assert {span.status.status_code for span in spans.finished} == {StatusCode.ERROR}
    assert [told[5] for told in measure.told] == kinds


def test_redirects_and_retries_of_urllib3_are_spans_beside_each_other(traced: None, spans: Spans, url: str) -> None:
    """urllib3 calls itself again: each sending is a span with the caller's parent, counted, none within another."""
    host, port = url.removeprefix("http://").split(":")
    with spans.provider.get_tracer("test").start_as_current_span("caller") as caller:
        pool = urllib3.HTTPConnectionPool(host, int(port))
        pool.request("GET", "/redirect")
        retries = urllib3.Retry(2, status_forcelist=[500], raise_on_status=False)
        assert pool.request("GET", "/500", retries=retries).status == 500
        with pytest.raises(urllib3.exceptions.MaxRetryError):
            pool.request("GET", "/gone", retries=1)
    found = [span for span in spans.finished if span.kind is SpanKind.CLIENT]
    assert {span.parent and span.parent.span_id for span in found} == {caller.get_span_context().span_id}
    counts = [(span.attributes or {}).get("http.request.resend_count") for span in found]
    assert counts == [None, 1, None, 1, 2, None, 1]
    status = [(span.attributes or {}).get("http.response.status_code") for span in found]
    assert status == [302, 200, 500, 500, 500, None, None]


@WAYS
def test_resend_count(traced: None, spans: Spans, url: str, get: Get, call: SimpleNamespace) -> None:
    """http.request.resend_count is absent on the first attempt and counts resends from one."""
    for call.attempt in (1, 2, 3):
        get(url)
    counts = [(span.attributes or {}).get("http.request.resend_count") for span in spans.finished]
    assert counts == [None, 1, 2]


def test_whoever_reads_the_body_ends_the_span(traced: None, spans: Spans, url: str, call: SimpleNamespace) -> None:
    """Where the call tells its end, the span lasts until then, and has the error that a body came to."""
    call.tells_end = True
    requests.get(url)
    assert not list(spans.finished)
    call.ended(requests.exceptions.ChunkedEncodingError("broken"), None)
    call.ended(None, None)
    (span,) = spans.finished
    assert (span.attributes or {})["error.type"] == "requests.exceptions.ChunkedEncodingError"


@WAYS
@pytest.mark.parametrize("block", [suppress_instrumentation, suppress_http_instrumentation])
def test_suppressed_is_suppressed(traced: None, spans: Spans, url: str, get: Get, block: Any) -> None:
    """Within OpenTelemetry's own blocks, in which exporters run, there is no span and no header."""
    with block():
        assert json.loads(get(url))["traceparent"] == []
    assert spans.finished == ()


@pytest.mark.parametrize("order", ["before", "after"])
@WAYS
def test_contrib_beside_us(spans: Spans, measure: "Measure", url: str, get: Get, order: str) -> None:
    """A2: contrib's instrumentors before or after us: one span, one traceparent; their hooks apply to it."""
    both = (RequestsInstrumentor(), URLLib3Instrumentor())
    asked: dict[str, Any] = {"tracer_provider": spans.provider}
    asked |= {"request_hook": lambda span, *_: span.set_attribute("asked", True)}
    asked |= {"response_hook": lambda span, *_: span.set_attribute("answered", True)}
    asked |= {"excluded_urls": "left-out"}
    sending = SimpleNamespace(attempt=1, timed_out=False)
    if get is _requests:
        sending.request = requests.Request("GET", url).prepare()
    try:
        for one in both if order == "before" else ():
            one.instrument(**asked)
        undo = outbound.install(urllib3, lambda: measure, lambda: sending)
        for one in both if order == "after" else ():
            one.instrument(**asked)
        arrived = json.loads(get(url))
        get(url + "/left-out")
        (span,) = spans.finished
        assert span.context is not None
        assert [text.split("-")[2] for text in arrived["traceparent"]] == [format_span_id(span.context.span_id)]
        assert (span.attributes or {}).get("asked") is True
        assert (span.attributes or {}).get("answered") is True
        undo()
        spans.clear()
        get(url)
        assert len(spans.finished) >= 1  # theirs again
    finally:
        for one in both:
            one.uninstrument()
    assert _urllib3_contrib.hooks(None) is None


def test_undo_gives_the_classes_back(spans: Spans) -> None:
    """After the undo nothing of ours is left; installing for requests and urllib3 is one layer."""
    owner = urllib3.HTTPConnectionPool
    before = vars(owner)["urlopen"], vars(owner)["_make_request"]
    undo = outbound.install(urllib3)
    assert outbound.install(requests) is undo
    assert vars(owner)["urlopen"] is not before[0]
    undo()
    undo()
    assert (vars(owner)["urlopen"], vars(owner)["_make_request"]) == before
