"""The current span of a request, copied: what somebody does to a context, a job's arguments, a log record."""

import copy
import pickle
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import NonRecordingSpan, Span, get_current_span

from handrail.tracing.inbound._exchange import Receive, Scope, Send
from handrail.tracing.inbound.server import ServerSpans
from handrail.tracing.testing import Spans
from tests.tracing.asgi_server import Server


def current(server: Server, spans: Spans, do: Any) -> Any:
    """What `do` makes of the span that is current within a request."""
    made: list[Any] = []

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        made.append(do(get_current_span()))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    assert server.get(ServerSpans(app, tracing=spans.tracing, routes=app)) == 200
    return made[0]


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy])
def test_a_copy_is_one_of_the_span_itself(server: Server, make: Any) -> None:
    """As of a span of ours that is not behind anything: a ReadableSpan, or the span that records nothing."""
    spans = Spans()
    copied = current(server, spans, make)
    assert type(copied) is ReadableSpan
    assert copied.context == spans.server.context
    assert type(current(server, Spans(ALWAYS_OFF), make)) is NonRecordingSpan


def test_a_pickle_is_one_of_the_span_itself(server: Server) -> None:
    """A span that records nothing can be pickled; one that records cannot, and says what the SDK's says."""

    def refused(span: Span) -> str:
        with pytest.raises(TypeError) as caught:
            pickle.dumps(span)
        return str(caught.value)

    unsampled = pickle.loads(current(server, Spans(ALWAYS_OFF), pickle.dumps))
    assert type(unsampled) is NonRecordingSpan
    assert unsampled.get_span_context().is_valid
    spans = Spans()
    assert current(server, spans, refused) == refused(spans.provider.get_tracer("app").start_span("a"))
