"""Whatever an application sends, in whatever order, and whatever headers come: nothing of ours breaks the request."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import propagate
from opentelemetry.trace import SpanKind

from handrail.tracing.inbound._exchange import Message, Receive, Scope, Send
from handrail.tracing.inbound.server import ServerSpans
from handrail.tracing.propagation import W3CPropagator
from handrail.tracing.settings import Telling
from handrail.tracing.testing import Spans
from tests.tracing.asgi_server import Server

HTTP = ["start", "body", "trailers", "pathsend", "zerocopysend", "push", "debug", "early_hint"]
SOCKET = ["accept", "send", "close", "http.response.start", "http.response.body"]

odd = st.one_of(st.none(), st.booleans(), st.integers(-1, 2000), st.text(max_size=5), st.binary(max_size=5))


def messages(prefix: str, kinds: list[str]) -> st.SearchStrategy[list[Message]]:
    """Messages with their own keys, missing or odd, some of them of no known type or of none at all."""
    types = st.one_of(st.sampled_from([f"{prefix}{kind}" for kind in kinds]), odd)
    keys = st.sampled_from(
        ["type", "status", "body", "more_body", "trailers", "more_trailers", "code", "reason", "subprotocol", "headers"]
    )
    message = st.builds(lambda kind, rest: rest | {"type": kind}, types, st.dictionaries(keys, odd, max_size=4))
    return st.lists(st.one_of(message, st.dictionaries(keys, odd, max_size=3)), max_size=8)


HEADERS = st.lists(
    st.tuples(
        st.one_of(
            st.sampled_from(
                [b"host", b"user-agent", b"traceparent", b"tracestate", b"baggage", b"forwarded"]
                + [b"x-forwarded-" + word for word in (b"for", b"host", b"port", b"proto")]
            ),
            st.binary(max_size=8),
        ),
        st.one_of(
            st.binary(max_size=60),
            st.sampled_from(
                [b"for=1.2.3.4;host=a;proto=https", b"1.2.3.4, ::1", b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"]
            ),
        ),
    ),
    max_size=12,
)
TELLING = st.builds(
    Telling,
    inbound_trace=st.sampled_from(["continue", "link"]),
    trusted_proxies=st.sampled_from([(), ("*",), ("10.0.0.0/8",)]),
    route_sampling=st.sampled_from([(), (("/*", 1.0),)]),
)
ENDS = st.sampled_from([None, ValueError("broken"), OSError("gone"), asyncio.CancelledError(), KeyboardInterrupt()])


@pytest.fixture(autouse=True, scope="module")
def strictly() -> Any:
    """The propagator of the whole module: hypothesis wants no fixture that is made anew for each test."""
    before = propagate.get_global_textmap()
    propagate.set_global_textmap(W3CPropagator())
    yield
    propagate.set_global_textmap(before)


class Measure:
    """Counts."""

    def __init__(self) -> None:
        self.open = self.ended = 0

    def begin(self, *_: Any, **__: Any) -> None:
        self.open += 1

    def end(self, *_: Any, **__: Any) -> None:
        self.open -= 1
        self.ended += 1


async def drive(
    kind: str, sent: list[Message], received: list[Message], headers: Any, telling: Telling, end: BaseException | None
) -> None:
    """One request; the application sends and receives in turns, and ends as it likes."""
    spans, measure, opened = Spans(), Measure(), set[object]()
    at_server: list[Message] = []
    queue = list(received)

    async def receive() -> Message:
        return queue.pop(0)

    async def send(message: Message) -> None:
        at_server.append(message)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in sent:
            await send(message)
            if queue:
                await receive()
        if end is not None:
            raise end

    wrapped = ServerSpans(
        app, tracing=spans.tracing, routes=app, telling=telling, measure=measure, open_exchanges=opened
    )
    scope = Server().scope("/x", type=kind) | {"headers": headers}
    try:
        await wrapped(scope, receive, send)
    except BaseException as error:
        assert error is end  # noqa: PT017  # it may also end without one
    else:
        assert end is None
    assert all(one is other for one, other in zip(at_server, sent, strict=True))
    assert len(spans.of_kind(SpanKind.SERVER)) == 1
    assert (measure.open, measure.ended) == (0, 1 if kind == "http" else 0)
    assert not opened


@settings(max_examples=300, deadline=None)
@given(messages("http.response.", HTTP), messages("http.", ["request", "disconnect"]), HEADERS, TELLING, ENDS)
def test_http(sent: list[Message], received: list[Message], headers: Any, telling: Any, end: Any) -> None:
    """The same messages reach the server, exactly one SERVER span ends, the exception is the application's own."""
    asyncio.run(drive("http", sent, received, headers, telling, end))


@settings(max_examples=300, deadline=None)
@given(
    messages("websocket.", SOCKET), messages("websocket.", ["connect", "receive", "disconnect"]), HEADERS, TELLING, ENDS
)
def test_websocket(sent: list[Message], received: list[Message], headers: Any, telling: Any, end: Any) -> None:
    """The same for connections."""
    asyncio.run(drive("websocket", sent, received, headers, telling, end))
