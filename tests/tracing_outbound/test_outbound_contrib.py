"""Beside opentelemetry-instrumentation-httpx, in whichever order a service switches it on: one span, its hooks."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from opentelemetry.instrumentation._semconv import _OpenTelemetrySemanticConventionStability as Stability
from opentelemetry.instrumentation._semconv import _OpenTelemetryStabilitySignalType as Signal
from opentelemetry.instrumentation._semconv import _StabilityMode
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.trace import Span

from handrail.tracing import outbound
from handrail.tracing.testing import Spans


class _Ok(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Ok) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def _hook(span: Span, _info: object) -> None:
    span.set_attribute("mine", True)


def _second() -> dict[str, Any]:
    return {"handrail.call": SimpleNamespace(attempt=2, timed_out=False)}


def _only(spans: Spans) -> dict[str, Any]:
    (span,) = spans.finished
    return dict(span.attributes or {})


def test_instrumented_before_us(spans: Spans, url: str) -> None:
    """Their wrapper and its hooks are kept; the stable names and what we mend come on top; undo gives all back."""
    HTTPXClientInstrumentor().instrument(request_hook=_hook)
    theirs = httpx.HTTPTransport.__dict__["handle_request"]
    undo = outbound.install(httpx)
    try:
        with httpx.Client() as client:
            client.get(url, extensions=_second())
        about = _only(spans)
        assert about["mine"] is True
        assert about["http.response.status_code"] == about["http.status_code"] == 204
        assert about["http.request.resend_count"] == 1
    finally:
        undo()
        assert httpx.HTTPTransport.__dict__["handle_request"] is theirs
        HTTPXClientInstrumentor().uninstrument()


def test_instrumented_after_us(spans: Spans, url: str) -> None:
    """A later `instrument()` hands us its hooks and doubles nothing; `uninstrument()` takes the hooks away."""
    undo = outbound.install(httpx)
    try:
        HTTPXClientInstrumentor().instrument(request_hook=_hook)
        httpx.get(url)
        about = _only(spans)
        assert about["mine"] is True
        assert "http.status_code" not in about
        spans.clear()
        HTTPXClientInstrumentor().uninstrument()
        httpx.get(url)
        assert "mine" not in _only(spans)
    finally:
        undo()


def test_instrument_client_after_us(spans: Spans, url: str) -> None:
    """A client that is instrumented by itself makes one span per attempt all the same, with its hooks."""
    undo = outbound.install(httpx)
    try:
        with httpx.Client() as client:
            HTTPXClientInstrumentor.instrument_client(client, request_hook=_hook)
            client.get(url, extensions=_second())
        about = _only(spans)
        assert about["mine"] is True
        assert about["http.request.resend_count"] == 1
    finally:
        undo()


def test_instrument_client_before_us(spans: Spans, url: str) -> None:
    """Such a client goes past the class: it keeps its one span."""
    with httpx.Client() as client:
        HTTPXClientInstrumentor.instrument_client(client, request_hook=_hook)
        undo = outbound.install(httpx)
        try:
            client.get(url)
            assert _only(spans)["mine"] is True
        finally:
            undo()


def test_others_keep_their_names(spans: Spans, url: str) -> None:
    """We speak the stable names without switching anybody else to them."""
    before = Stability._get_opentelemetry_stability_opt_in_mode(Signal.HTTP)
    undo = outbound.install(httpx)
    try:
        httpx.get(url)
    finally:
        undo()
    assert "http.response.status_code" in _only(spans)
    assert before is Stability._get_opentelemetry_stability_opt_in_mode(Signal.HTTP) is _StabilityMode.DEFAULT


def test_headers_are_captured_where_they_are_asked_for(spans: Spans, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shortcut past reading all headers is taken only where no header is asked for."""
    monkeypatch.setenv("OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_REQUEST", "x-tenant")
    undo = outbound.install(httpx)
    try:
        httpx.get(url, headers={"X-Tenant": "blue"})
    finally:
        undo()
    assert _only(spans)["http.request.header.x-tenant"] == ("blue",)


def test_the_shortcut_changes_no_attribute(spans: Spans, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Contrib alone in its stable mode and our lean copy of it write the same attributes, but for what we mend."""
    undo = outbound.install(httpx)
    try:
        httpx.get(url)
    finally:
        undo()
    ours = _only(spans)
    spans.clear()
    Stability._initialize()  # else contrib does it below, over what is set here
    monkeypatch.setitem(Stability._OTEL_SEMCONV_STABILITY_SIGNAL_MAPPING, Signal.HTTP, _StabilityMode.HTTP)
    HTTPXClientInstrumentor().instrument()
    try:
        httpx.get(url)
    finally:
        HTTPXClientInstrumentor().uninstrument()
    assert ours == _only(spans)
