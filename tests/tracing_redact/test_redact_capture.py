"""Captured headers: the standard variables, the conventions' names, nothing secret in clear."""

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan

from handrail.tracing import redact
from handrail.tracing.inbound._exchange import Receive, Scope, Send
from handrail.tracing.inbound.server import ServerSpans
from handrail.tracing.redact._capture import capturing
from handrail.tracing.redact._headers import captures, header_attributes
from handrail.tracing.testing import Spans
from tests.tracing.asgi_server import Server

PREFIX = "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_"
SENT = {
    "host": "shop",
    "X-Tenant": "blue",
    "Authorization": "Bearer sesame",
    "Referer": "http://a/?token=sesame#sesame",
}


async def app(scope: Scope, _receive: Receive, send: Send) -> None:
    headers = [(b"Content-Type", b"text/plain"), (b"set-cookie", b"a=sesame"), (b"set-cookie", b"b=sesame")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def _served(monkeypatch: pytest.MonkeyPatch, **variables: str) -> ReadableSpan:
    for name, value in variables.items():
        monkeypatch.setenv(PREFIX + name, value)
    spans = Spans()
    assert Server().get(ServerSpans(app, tracing=spans.tracing, routes=app), headers=SENT) == 200
    return spans.server


def _headers(span: ReadableSpan) -> dict[str, object]:
    return {key: value for key, value in (span.attributes or {}).items() if ".header." in key}


def test_nothing_asked_for_nothing_in_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the variables the very app is called, and no header is on the span."""
    assert capturing(app, {}) is app
    assert capturing(app, {PREFIX + "SERVER_REQUEST": " , "}) is app
    assert _headers(_served(monkeypatch)) == {}


def test_names_keep_their_dash_and_values_are_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """A1-8: http.request.header.x-tenant, a list, one item for each line of the header."""
    span = _served(monkeypatch, SERVER_REQUEST="x-tenant", SERVER_RESPONSE="content-type,set-cookie")
    assert _headers(span) == {
        "http.request.header.x-tenant": ("blue",),
        "http.response.header.content-type": ("text/plain",),
        "http.response.header.set-cookie": ("REDACTED", "REDACTED"),
    }


def test_everything_captured_leaks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A1-8: `.*` shows what is harmless, and authorization, cookies and tokens in URLs never."""
    found = _headers(_served(monkeypatch, SERVER_REQUEST=".*", SERVER_RESPONSE=".*"))
    assert found["http.request.header.x-tenant"] == ("blue",)
    assert found["http.request.header.referer"] == ("http://a/?token=REDACTED",)
    assert "sesame" not in repr(found)


def test_sanitize_fields_hides_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """SANITIZE_FIELDS is honoured as contrib does: a regular expression found anywhere in the name, in any case."""
    span = _served(monkeypatch, SERVER_REQUEST="x-.*", SANITIZE_FIELDS="TEN")
    assert _headers(span) == {"http.request.header.x-tenant": ("REDACTED",)}


def test_a_broken_expression_is_a_plain_name() -> None:
    """A variable with a mistake must not end the service."""
    capture = captures({PREFIX + "SERVER_REQUEST": "x-(, x-tenant"}, "SERVER_REQUEST")
    assert capture is not None
    assert capture([(b"x-(", b"1"), (b"X-Tenant", b"2")]) == {
        "http.request.header.x-(": ["1"],
        "http.request.header.x-tenant": ["2"],
    }


def test_the_client_side_takes_contribs_arguments() -> None:
    """What contrib reads for a CLIENT span, under the conventions' names and without secrets."""
    found = header_attributes(
        {"x-tenant": ["blue"], "proxy-authorization": ["sesame"]}, [".*"], ["other"], lambda name: f"a.response.{name}"
    )
    assert found == {
        "http.response.header.x-tenant": ["blue"],
        "http.response.header.proxy-authorization": ["REDACTED"],
    }
    assert header_attributes(None, ["x"], None, str) == {}


def test_deny_and_allow_reach_headers() -> None:
    """A name that the service added is hidden; one that it allows is shown."""
    undo = redact.use(redact.Redaction(deny=("X-Tenant",), allow=("x_api_key",)))
    try:
        capture = captures({PREFIX + "SERVER_REQUEST": ".*"}, "SERVER_REQUEST")
        assert capture is not None
        headers = httpx.Headers({"X-Tenant": "blue", "X-Api-Key": "seen"})
        assert list(capture(headers.raw).values()) == [["REDACTED"], ["seen"]]
    finally:
        undo()
