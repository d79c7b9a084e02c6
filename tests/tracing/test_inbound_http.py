"""The SERVER span of an HTTP request: names, attributes, and when it ends."""

import asyncio
from typing import Any

import pytest
from opentelemetry import baggage
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode, format_trace_id, get_current_span

from handrail.tracing.inbound._exchange import App, Receive, Scope, Send
from handrail.tracing.inbound.server import ServerSpans
from handrail.tracing.settings import Telling
from handrail.tracing.testing import Spans
from tests.tracing.asgi_server import Server


def answering(status: int = 200, *chunks: bytes) -> App:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": []})
        for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    return app


BEHIND_PROXIES = Telling(trusted_proxies=("*",))


def traced(app: App, spans: Spans, telling: Telling = BEHIND_PROXIES) -> ServerSpans:
    return ServerSpans(app, tracing=spans.tracing, routes=app, telling=telling)


def attributes(spans: Spans) -> dict[str, Any]:
    return dict(spans.server.attributes or {})


def test_a_request_gets_one_span_with_the_stable_attributes(server: Server, spans: Spans) -> None:
    """http-spans: required and recommended attributes of a server span."""
    server.get(
        traced(answering(201), spans),
        "/orders/7",
        {"host": "shop.example:8443", "user-agent": "curl/8"},
        scheme="https",
        http_version="2",
        query_string=b"a=1&b=2",
        method="POST",
    )
    assert spans.server.name == "POST"
    assert attributes(spans) == {
        "http.request.method": "POST",
        "url.path": "/orders/7",
        "url.query": "a=1&b=2",
        "url.scheme": "https",
        "server.address": "shop.example",
        "server.port": 8443,
        "client.address": "10.0.0.7",
        "network.peer.address": "10.0.0.7",
        "network.peer.port": 50123,
        "network.protocol.version": "2",
        "user_agent.original": "curl/8",
        "http.response.status_code": 201,
    }
    assert spans.server.status.status_code is StatusCode.UNSET


@pytest.mark.parametrize(
    ("method", "name", "said", "original"),
    [("GET", "GET", "GET", None), ("get", "GET", "GET", "get"), ("BREW", "HTTP", "_OTHER", "BREW")],
)
def test_an_unknown_method_does_not_name_the_span(
    server: Server, spans: Spans, method: str, name: str, said: str, original: str | None
) -> None:
    """http-spans: http.request.method is _OTHER and the span is named HTTP; the original is kept."""
    server.get(traced(answering(), spans), method=method)
    found = attributes(spans)
    assert (spans.server.name, found["http.request.method"]) == (name, said)
    assert found.get("http.request.method_original") == original


def test_known_methods_can_be_set(server: Server, spans: Spans, monkeypatch: pytest.MonkeyPatch) -> None:
    """http-spans: OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS is a full override of the list."""
    monkeypatch.setenv("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS", "GET, BREW")
    server.get(traced(answering(), spans), method="BREW")
    assert spans.server.name == "BREW"


@pytest.mark.parametrize(
    ("headers", "address", "port"),
    [
        ({"host": "shop"}, "shop", 80),
        ({"host": "[::1]:8000"}, "::1", 8000),
        ({"host": "shop:1", "x-forwarded-host": "front.example"}, "front.example", 80),
        ({"host": "shop:1", "forwarded": 'for=9.9.9.9;host="front.example:444", host=inner'}, "front.example", 444),
        ({}, "127.0.0.1", 8000),
        ({"host": "not a host/"}, None, None),
    ],
)
def test_the_server_address_is_the_one_that_the_client_used(
    server: Server, spans: Spans, headers: dict[str, str], address: str | None, port: int | None
) -> None:
    """http-spans, "Setting server.address": Forwarded, X-Forwarded-Host, Host, else the socket."""
    server.get(traced(answering(), spans), headers=headers or {"accept": "*/*"})
    assert (attributes(spans).get("server.address"), attributes(spans).get("server.port")) == (address, port)


@pytest.mark.parametrize(
    ("headers", "address"),
    [
        ({"x-forwarded-for": "203.0.113.9, 10.0.0.1"}, "203.0.113.9"),
        ({"forwarded": 'for="[2001:db8::1]:4711";proto=http'}, "2001:db8::1"),
        ({"forwarded": "for=unknown"}, "10.0.0.7"),
        ({"forwarded": "for=_hidden"}, "10.0.0.7"),
    ],
)
def test_the_client_is_looked_for_behind_proxies(
    server: Server, spans: Spans, headers: dict[str, str], address: str
) -> None:
    """http-spans: client.address comes from Forwarded or X-Forwarded-For, network.peer.address from the socket."""
    server.get(traced(answering(), spans), headers=headers)
    assert (attributes(spans)["client.address"], attributes(spans)["network.peer.address"]) == (address, "10.0.0.7")


def test_signatures_in_the_query_are_redacted(server: Server, spans: Spans) -> None:
    """http-spans, url.query: values of signing keys are replaced, names and the rest stay."""
    server.get(traced(answering(), spans), query_string=b"sig=s3cret&x=1&X-Amz-Signature=abc&design=2")
    assert attributes(spans)["url.query"] == "sig=REDACTED&x=1&X-Amz-Signature=REDACTED&design=2"


def test_a_unix_socket_and_no_client_are_fine(server: Server, spans: Spans) -> None:
    """ASGI: client may be missing; of a UNIX socket the name is server.address, and there is no port."""
    headers = {"accept": "*/*"}
    server.get(traced(answering(), spans), headers=headers, server=("/run/app.sock", None), client=None, scheme="")
    assert attributes(spans)["server.address"] == "/run/app.sock"
    assert "server.port" not in attributes(spans)
    assert "client.address" not in attributes(spans)
    assert attributes(spans)["url.scheme"] == "http"


def test_the_parent_comes_from_traceparent_and_baggage_reaches_the_app(server: Server, spans: Spans) -> None:
    """W3C in: the remote span is the parent, and the context holds the SERVER span and the baggage."""
    seen: dict[str, Any] = {}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.update(span=get_current_span(), baggage=baggage.get_baggage("tenant"))
        await answering()(scope, receive, send)

    server.get(
        traced(app, spans),
        headers={"traceparent": f"00-{'a' * 32}-{'b' * 16}-03", "tracestate": "1a=2", "baggage": "tenant=acme"},
    )
    span = spans.server
    assert span.context is not None
    assert span.parent is not None
    assert format_trace_id(span.context.trace_id) == "a" * 32
    assert (span.parent.span_id, span.parent.is_remote) == (int("b" * 16, 16), True)
    assert dict(span.context.trace_state) == {"1a": "2"}
    assert seen["span"].get_span_context() == span.context
    assert seen["baggage"] == "acme"


def test_another_propagator_is_respected(server: Server, spans: Spans, monkeypatch: pytest.MonkeyPatch) -> None:
    """What OTEL_PROPAGATORS or the service chose reads the headers, with all values of a name."""
    from opentelemetry import propagate
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    propagate.set_global_textmap(TraceContextTextMapPropagator())
    server.get(traced(answering(), spans), headers={"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "baggage": "a=1"})
    assert spans.server.parent is not None


@pytest.mark.parametrize("status", [404, 422, 499])
def test_4xx_is_no_error_of_the_server(server: Server, spans: Spans, status: int) -> None:
    """http-spans, status: 4xx leaves a SERVER span UNSET."""
    server.get(traced(answering(status), spans))
    assert spans.server.status.status_code is StatusCode.UNSET
    assert "error.type" not in attributes(spans)


def test_5xx_is_an_error_named_by_its_status(server: Server, spans: Spans) -> None:
    """http-spans: ERROR without a description, error.type is the status as text."""
    server.get(traced(answering(503), spans))
    assert (spans.server.status.status_code, spans.server.status.description) == (StatusCode.ERROR, None)
    assert attributes(spans)["error.type"] == "503"


class Broken(Exception):
    """An error of the application."""


def test_an_exception_is_told_and_passed_on(server: Server, spans: Spans) -> None:
    """error.type is the full name of its class; the exception is an event; the caller gets it unchanged."""
    error = Broken("no stock")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise error

    with pytest.raises(Broken) as caught:
        server.get(traced(app, spans))
    assert caught.value is error
    assert attributes(spans)["error.type"] == f"{__name__}.Broken"
    assert spans.server.status.description == "Broken: no stock"
    assert [event.name for event in spans.server.events] == ["exception"]


def test_an_exception_within_the_body_keeps_the_status(server: Server, spans: Spans) -> None:
    """http-spans, example: the status that was sent stays, error.type says what broke."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ValueError("half")

    with pytest.raises(ValueError, match="half"):
        server.get(traced(app, spans))
    assert attributes(spans)["http.response.status_code"] == 200
    assert attributes(spans)["error.type"] == "ValueError"


def test_the_exception_behind_a_500_is_found_before_and_after_it(server: Server, spans: Spans) -> None:
    """Frameworks answer within their except block, some raise again after it; either way error.type is the class."""

    async def within(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            raise Broken
        except Broken:
            await answering(500)(scope, receive, send)

    async def after(scope: Scope, receive: Receive, send: Send) -> None:
        await answering(500)(scope, receive, send)
        raise Broken

    server.get(traced(within, spans))
    assert attributes(spans)["error.type"] == f"{__name__}.Broken"
    spans.clear()
    with pytest.raises(Broken):
        server.get(traced(after, spans))
    assert attributes(spans)["error.type"] == f"{__name__}.Broken"
    assert attributes(spans)["http.response.status_code"] == 500


def test_an_exception_that_chose_the_status_is_an_answer(server: Server, spans: Spans) -> None:
    """An HTTPException of 503 is no accident: error.type is the status, and there is no exception event."""

    class HTTPException(Exception):
        status_code = 503

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            raise HTTPException
        except HTTPException:
            await answering(503)(scope, receive, send)

    server.get(traced(app, spans))
    assert attributes(spans)["error.type"] == "503"
    assert not spans.server.events


def test_an_app_that_sends_nothing_or_stops_halfway_is_an_error(server: Server, spans: Spans) -> None:
    """The server then answers 500 or cuts the connection, which nobody else would tell."""

    async def silent(scope: Scope, receive: Receive, send: Send) -> None:
        pass

    async def half(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    server.get(traced(silent, spans))
    assert attributes(spans)["error.type"] == "no_response"
    spans.clear()
    server.get(traced(half, spans))
    assert attributes(spans)["error.type"] == "incomplete_response"


def test_the_span_ends_with_the_last_byte_and_work_after_it_has_its_own(server: Server, spans: Spans) -> None:
    """Work after the response is not part of the span's duration, but is still in the trace."""
    ended: list[int] = []
    tracer = spans.provider.get_tracer("app")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answering(200, b"a", b"b")(scope, receive, send)
        ended.append(len(spans.finished))
        tracer.start_span("job").end()

    server.get(traced(app, spans))
    assert ended == [1]
    job, behind = (next(span for span in spans.finished if span.name == name) for name in ("job", "background GET"))
    assert job.parent is not None
    assert behind.context is not None
    assert behind.parent is not None
    assert spans.server.context is not None
    assert (job.parent.span_id, behind.parent.span_id) == (behind.context.span_id, spans.server.context.span_id)


@pytest.mark.parametrize(
    "messages",
    [
        [{"type": "http.response.body", "body": b"x", "more_body": True}, {"type": "http.response.body"}],
        [{"type": "http.response.body"}, {"type": "http.response.trailers", "headers": []}],
        [
            {"type": "http.response.body"},
            {"type": "http.response.trailers", "more_trailers": True},
            {"type": "http.response.trailers"},
        ],
        [{"type": "http.response.pathsend", "path": "/x"}],
        [{"type": "http.response.zerocopysend", "file": 3, "more_body": True}, {"type": "http.response.zerocopysend"}],
    ],
)
def test_every_way_to_end_a_response_ends_the_span(
    server: Server, spans: Spans, messages: list[dict[str, Any]]
) -> None:
    """ASGI and its extensions: the last body, the last trailers, pathsend, zerocopysend; not one message earlier."""
    counts: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        trailers = any(message["type"] == "http.response.trailers" for message in messages)
        await send({"type": "http.response.start", "status": 200, "headers": [], "trailers": trailers})
        for message in messages:
            await send(message)
            counts.append(len(spans.finished))

    server.get(traced(app, spans))
    assert counts == [0] * (len(messages) - 1) + [1]
    assert server.sent[1:] == messages


def test_messages_pass_one_by_one_and_unchanged(server: Server, spans: Spans) -> None:
    """No buffering: each chunk is at the server before the next one is made; the very same objects."""
    seen: list[int] = []
    chunk = {"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(3):
            await send(chunk)
            seen.append(len(server.sent))
        await send({"type": "http.response.body", "body": b""})

    server.get(traced(app, spans))
    assert seen == [2, 3, 4]
    assert server.sent[1] is chunk


def test_a_client_that_leaves_is_no_error(server: Server, spans: Spans) -> None:
    """The span says that the client left; the OSError of the server passes through."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        server.gone = True
        await send({"type": "http.response.body", "body": b"x", "more_body": True})

    with pytest.raises(OSError, match="client disconnected"):
        server.get(traced(app, spans))
    assert spans.server.status.status_code is StatusCode.UNSET
    assert "error.type" not in attributes(spans)
    assert [event.name for event in spans.server.events] == ["handrail.client.disconnected"]


def test_a_client_that_leaves_while_the_body_is_read_is_no_error(server: Server, spans: Spans) -> None:
    """http.disconnect came, and the framework raised its ClientDisconnect, alone or in a group."""

    class ClientDisconnect(Exception):
        pass

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        raise ExceptionGroup("tasks", [ClientDisconnect()])

    server.gone = True
    with pytest.raises(ExceptionGroup):
        server.get(traced(app, spans))
    assert spans.server.status.status_code is StatusCode.UNSET


def test_an_error_of_the_app_after_the_client_left_is_still_an_error(server: Server, spans: Spans) -> None:
    """Only what the disconnect itself raises is excused."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        raise Broken

    server.gone = True
    with pytest.raises(Broken):
        server.get(traced(app, spans))
    assert attributes(spans)["error.type"] == f"{__name__}.Broken"


def test_cancellation_passes_and_is_no_error(server: Server, spans: Spans) -> None:
    """CancelledError is the server's or the caller's wish: UNSET, no error.type, raised on."""

    async def main() -> None:
        entered = asyncio.Event()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            entered.set()
            await asyncio.Event().wait()

        task = asyncio.ensure_future(server.call(traced(app, spans)))
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert spans.server.status.status_code is StatusCode.UNSET
    assert "error.type" not in attributes(spans)


def test_the_context_is_restored_after_the_request(server: Server, spans: Spans) -> None:
    """What the server does next is not under the span, also where the application raised."""

    async def main() -> None:
        before = get_current_span()
        await server.call(traced(answering(), spans))
        assert get_current_span() is before

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            raise Broken

        with pytest.raises(Broken):
            await server.call(traced(app, spans))
        assert get_current_span() is before

    asyncio.run(main())


def test_concurrent_requests_do_not_mix(server: Server, spans: Spans) -> None:
    """State lives in the request: each span has its own status and path."""

    async def main() -> None:
        gate = asyncio.Event()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await gate.wait()
            await answering(200 + int(scope["path"][1:]))(scope, receive, send)

        wrapped = traced(app, spans)
        tasks = [asyncio.ensure_future(server.call(wrapped, f"/{n}")) for n in range(20)]
        gate.set()
        await asyncio.gather(*tasks)

    asyncio.run(main())
    for span in spans.of_kind(SpanKind.SERVER):
        assert span.attributes is not None
        assert f"/{int(str(span.attributes['http.response.status_code'])) - 200}" == span.attributes["url.path"]
    assert len({span.context.trace_id for span in spans.finished if span.context}) == 20


def test_an_unsampled_request_passes_with_its_context(server: Server) -> None:
    """Not sampled is not untraced: the trace goes on with the flag off."""
    spans = Spans(ALWAYS_OFF)
    seen: list[bool] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        context = get_current_span().get_span_context()
        seen.append(context.is_valid and not context.trace_flags.sampled)
        await answering()(scope, receive, send)

    assert server.get(traced(app, spans)) == 200
    assert seen == [True]
    assert not spans.finished


def test_a_name_that_the_application_gave_stays(server: Server, spans: Spans) -> None:
    """The route names the span only where nobody else did."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        get_current_span().update_name("checkout")
        scope["path_template"] = "/orders/{id}"
        await answering()(scope, receive, send)

    server.get(traced(app, spans))
    assert spans.server.name == "checkout"
    assert attributes(spans)["http.route"] == "/orders/{id}"


def test_other_scopes_pass_untouched(server: Server, spans: Spans) -> None:
    """Lifespan and unknown scope types go to the application as they are."""
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    lifespan = {"type": "lifespan"}
    asyncio.run(traced(app, spans)(lifespan, server.receive, server.send))
    assert seen == [{"type": "lifespan"}]
    assert seen[0] is lifespan
    assert not spans.finished


def test_class_based_and_callable_object_apps(server: Server, spans: Spans) -> None:
    """A class whose instances are awaited, as Starlette's endpoints are, and an object with __call__."""

    class Endpoint:
        def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
            self.args = (scope, receive, send)

        def __await__(self) -> Any:
            return answering(202)(*self.args).__await__()

    class Instance:
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await answering(203)(scope, receive, send)

    assert server.get(traced(Endpoint, spans)) == 202
    assert server.get(traced(Instance(), spans)) == 203
    assert len(spans.finished) == 2


def test_wrapped_twice_is_one_span(server: Server, spans: Spans) -> None:
    """The second layer sees the first one's mark, also on a copy of the scope."""

    async def copying(scope: Scope, receive: Receive, send: Send) -> None:
        await traced(answering(), spans)(dict(scope), receive, send)

    server.get(traced(copying, spans))
    assert len(spans.finished) == 1
