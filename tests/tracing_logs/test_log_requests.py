"""Lines that are logged around a request's end: in the span, and without making one."""

import asyncio
import logging
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, format_trace_id

from handrail.tracing.inbound.server import ServerSpans
from handrail.tracing.testing import Spans
from tests.tracing.asgi_server import Server

log = logging.getLogger("tests.requests")


@pytest.fixture
def spans() -> Spans:
    return Spans()


def served(app: Any, spans: Spans) -> ServerSpans:
    return ServerSpans(app, tracing=spans.tracing, routes=app)


async def answer(send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def trace_of(span: ReadableSpan) -> str:
    context = span.get_span_context()
    assert context is not None
    return format_trace_id(context.trace_id)


def ids(caplog: pytest.LogCaptureFixture) -> set[str]:
    return {getattr(record, "trace_id", "") for record in caplog.records if record.name == log.name}


def test_a_line_behind_the_response_names_the_request(spans: Spans, correlation, caplog):
    """A middleware that logs how long it took is in the trace, and that line makes no span of background work."""

    async def app(scope, receive, send):
        await answer(send)
        log.warning("took 3 ms")

    asyncio.run(Server().call(served(app, spans), "/"))
    (span,) = spans.finished
    assert span.kind is SpanKind.SERVER
    assert ids(caplog) == {trace_of(span)}


@pytest.mark.parametrize("how", ["exc_info", "being handled"])
def test_what_came_out_of_the_application_names_the_request(how: str, spans: Spans, correlation, caplog):
    """A server logs an exception when the span has ended: the line is in the trace, by the exception's traceback."""

    async def app(scope, receive, send):
        raise LookupError("no such order")

    async def server() -> None:
        kept: LookupError | None = None
        try:
            await Server().call(served(app, spans), "/")
        except LookupError as error:
            if how == "being handled":
                log.warning("500")
            kept = error
        if how == "exc_info":
            log.error("failed", exc_info=kept)

    asyncio.run(server())
    assert ids(caplog) == {trace_of(spans.server)}


def test_an_exception_of_no_request_has_no_ids(correlation, caplog):
    """An exception that never was in a request names none."""
    try:
        raise LookupError
    except LookupError:
        log.exception("failed")
    assert ids(caplog) == {""}
