"""Work that runs after the response: in the trace, under a span of its own, outside of the SERVER span."""

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import fastapi
import litestar
import pytest
import quart
from litestar.background_tasks import BackgroundTask as LitestarTask
from litestar.background_tasks import BackgroundTasks as LitestarTasks
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import Span, SpanKind, StatusCode, get_current_span
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from handrail.tracing.inbound import _background
from handrail.tracing.inbound._exchange import App, Receive, Scope, Send
from handrail.tracing.inbound.server import ServerSpans
from handrail.tracing.testing import Spans
from tests.tracing.asgi_server import Server

OWN = __name__


def traced(app: object, spans: Spans) -> ServerSpans:
    return ServerSpans(cast("App", app), tracing=spans.tracing, routes=app)


def span(spans: Spans, name: str) -> ReadableSpan:
    """The one span of this name."""
    (found,) = [one for one in spans.finished if one.name == name]
    return found


def above(child: ReadableSpan, parent: ReadableSpan) -> bool:
    assert parent.context is not None
    assert child.context is not None
    return child.parent is not None and child.parent == parent.context


def worker(spans: Spans) -> Callable[..., Awaitable[None]]:
    async def work(*_: object) -> None:
        spans.provider.get_tracer("app").start_span("child").end()

    return work


def the_work(spans: Spans, function: str = "worker.<locals>.work") -> ReadableSpan:
    """The background span, below the SERVER span, with the work's own span below it; and nothing else."""
    behind = span(spans, f"background {OWN}.{function}")
    assert (behind.kind, behind.status.status_code) == (SpanKind.INTERNAL, StatusCode.UNSET)
    assert (behind.attributes or {})["code.function.name"] == f"{OWN}.{function}"
    assert above(behind, spans.server)
    assert above(span(spans, "child"), behind)
    assert behind.start_time is not None
    assert spans.server.end_time is not None
    assert behind.start_time >= spans.server.end_time
    assert len(spans.finished) == 3
    return behind


def starlette(respond: Callable[[], Response], *middleware: Middleware) -> Starlette:
    async def endpoint(request: Request) -> Response:
        return respond()

    return Starlette(routes=[Route("/orders/{id}", endpoint)], middleware=list(middleware))


class Around(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: Callable[..., Any]) -> Response:
        return cast("Response", await call_next(request))


@pytest.mark.parametrize("middleware", [[], [Middleware(Around)], [Middleware(Around), Middleware(Around)]])
def test_starlettes_task(server: Server, spans: Spans, middleware: list[Middleware]) -> None:
    """A1-3: the task has its own INTERNAL span, also below BaseHTTPMiddleware, which runs it in another task."""
    app = starlette(lambda: PlainTextResponse("ok", background=BackgroundTask(worker(spans), 7)), *middleware)
    server.get(traced(app, spans), "/orders/7")
    the_work(spans)


def test_a_synchronous_task_runs_in_a_thread_with_its_span(server: Server, spans: Spans) -> None:
    """A sync function finds its span as the current one in the pool's thread."""
    threads: list[object] = []

    def work() -> None:
        threads.append(threading.current_thread())
        spans.provider.get_tracer("app").start_span("child").end()

    app = starlette(lambda: PlainTextResponse("ok", background=BackgroundTask(functools.partial(work))))
    server.get(traced(app, spans), "/orders/7")
    assert threads != [threading.main_thread()]
    the_work(spans, "test_a_synchronous_task_runs_in_a_thread_with_its_span.<locals>.work")


@pytest.mark.parametrize("middleware", [False, True])
def test_fastapis_tasks(server: Server, spans: Spans, middleware: bool) -> None:
    """One span for each task of BackgroundTasks, all below the SERVER span, one behind the other."""
    app = fastapi.FastAPI()
    if middleware:
        app.add_middleware(Around)

    async def other() -> None:
        pass

    @app.get("/orders/{order}")
    async def read(order: int, background_tasks: fastapi.BackgroundTasks) -> int:
        background_tasks.add_task(worker(spans), 1)
        background_tasks.add_task(other)
        return order

    server.get(traced(app, spans), "/orders/7")
    first = span(spans, f"background {OWN}.worker.<locals>.work")
    second = span(spans, f"background {OWN}.test_fastapis_tasks.<locals>.other")
    assert above(first, spans.server)
    assert above(second, spans.server)
    assert above(span(spans, "child"), first)
    assert first.end_time is not None
    assert second.start_time is not None
    assert first.end_time <= second.start_time
    assert len(spans.finished) == 4


@pytest.mark.parametrize("in_group", [False, True])
@pytest.mark.parametrize("sync", [False, True])
def test_litestars_tasks(server: Server, spans: Spans, in_group: bool, sync: bool) -> None:
    """Alone, in a row, or at once in a task group; a sync one keeps its own name."""

    def plain() -> None:
        spans.provider.get_tracer("app").start_span("child").end()

    function: Callable[..., Any] = plain if sync else worker(spans)

    @litestar.get("/orders/{order:int}")
    async def read() -> litestar.Response[str]:
        return litestar.Response("ok", background=LitestarTasks([LitestarTask(function)], run_in_task_group=in_group))

    server.get(traced(litestar.Litestar([read], openapi_config=None), spans), "/orders/7")
    the_work(spans, "test_litestars_tasks.<locals>.plain" if sync else "worker.<locals>.work")


@pytest.mark.parametrize("sync", [False, True])
def test_quarts_task(spans: Spans, sync: bool) -> None:
    """add_background_task makes a task that may outlive the request: its span is below the SERVER span all the same."""
    app = quart.Quart(__name__)
    done: list[asyncio.Event] = []

    def plain() -> None:
        spans.provider.get_tracer("app").start_span("child").end()

    function: Callable[..., Any] = plain if sync else worker(spans)

    @app.get("/orders/<int:order>")
    async def read(order: int) -> str:
        app.add_background_task(function)
        return str(order)

    async def main() -> None:
        await Server().call(traced(app, spans), "/orders/7")
        await asyncio.gather(*app.background_tasks)

    asyncio.run(main())
    assert not done
    name = "test_quarts_task.<locals>.plain" if sync else "worker.<locals>.work"
    behind = span(spans, f"background {OWN}.{name}")
    assert above(behind, spans.server)
    assert above(span(spans, "child"), behind)
    assert len(spans.finished) == 3


def test_any_application_that_runs_on(server: Server, spans: Spans) -> None:
    """What has no name of its own is named after the request; its span spans all that ran after the last byte."""
    tracer = spans.provider.get_tracer("app")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("ok")(scope, receive, send)
        with tracer.start_as_current_span("first"):
            tracer.start_span("nested").end()
        await asyncio.create_task(later())

    async def later() -> None:
        get_current_span().set_attribute("rows", 3)
        tracer.start_span("second").end()

    server.get(traced(app, spans))
    behind = span(spans, "background GET")
    assert above(behind, spans.server)
    assert above(span(spans, "first"), behind)
    assert above(span(spans, "nested"), span(spans, "first"))
    assert above(span(spans, "second"), behind)
    assert (behind.attributes or {})["rows"] == 3
    assert behind.start_time == spans.server.end_time
    assert "rows" not in (spans.server.attributes or {})


def test_a_middleware_that_goes_on_below_base_http_middleware(server: Server, spans: Spans) -> None:
    """Two tasks share the request: what the inner one does after the response is found too."""

    class Inner:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await self.app(scope, receive, send)
            spans.provider.get_tracer("app").start_span("child").end()

    app = starlette(lambda: PlainTextResponse("ok"), Middleware(Around), Middleware(Inner))
    server.get(traced(app, spans), "/orders/7")
    behind = span(spans, "background GET /orders/{id}")
    assert above(behind, spans.server)
    assert above(span(spans, "child"), behind)


def test_time_alone_is_no_work(server: Server, spans: Spans, monkeypatch: pytest.MonkeyPatch) -> None:
    """An application that returns late, as on a busy machine, and did nothing that could be seen: no span."""
    now = [10**18]
    monkeypatch.setattr("handrail.tracing.inbound._exchange.time_ns", lambda: now[0])

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("ok")(scope, receive, send)
        now[0] += 10**10

    server.get(traced(app, spans), "/")
    assert [one.name for one in spans.finished] == ["GET"]


@pytest.mark.parametrize("middleware", [[], [Middleware(Around)]])
def test_where_nothing_ran_after_the_response_there_is_no_span(
    server: Server, spans: Spans, middleware: list[Middleware]
) -> None:
    """Plain and streamed responses, with and without BaseHTTPMiddleware: the SERVER span alone."""

    async def chunks() -> AsyncIterator[bytes]:
        yield b"a"
        yield b"b"

    for respond in (lambda: PlainTextResponse("ok"), lambda: StreamingResponse(chunks())):
        spans.clear()
        server.get(traced(starlette(respond, *middleware), spans), "/orders/7")
        assert [one.name for one in spans.finished] == ["GET /orders/{id}"]


@pytest.mark.parametrize("middleware", [[], [Middleware(Around)]])
def test_an_exception_in_the_task_is_the_tasks(server: Server, spans: Spans, middleware: list[Middleware]) -> None:
    """It is told once, on the background span, reaches the server, and the answer stays a good one."""

    async def broken() -> None:
        raise ValueError("no printer")

    app = starlette(lambda: PlainTextResponse("ok", background=BackgroundTask(broken)), *middleware)
    with pytest.raises(ValueError, match="no printer"):
        server.get(traced(app, spans), "/orders/7")
    (behind,) = [one for one in spans.finished if one.kind is SpanKind.INTERNAL]
    assert (behind.attributes or {})["error.type"] == "ValueError"
    assert [event.name for event in behind.events] == ["exception"]
    assert spans.server.status.status_code is StatusCode.UNSET
    assert not spans.server.events


def test_an_exception_after_the_last_byte_of_any_application(server: Server, spans: Spans) -> None:
    """The response was fine: its span is, and what broke after it is told on a span of its own."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("ok")(scope, receive, send)
        raise ValueError("no printer")

    with pytest.raises(ValueError, match="no printer"):
        server.get(traced(app, spans))
    assert spans.server.status.status_code is StatusCode.UNSET
    assert (span(spans, "background GET").attributes or {})["error.type"] == "ValueError"


def test_work_behind_a_503_is_not_part_of_it(server: Server, spans: Spans) -> None:
    """An answer of 5xx waits for the exception behind it; background work ends that wait."""
    app = starlette(lambda: PlainTextResponse("later", 503, background=BackgroundTask(worker(spans))))
    server.get(traced(app, spans), "/orders/7")
    the_work(spans)
    assert (spans.server.attributes or {})["error.type"] == "503"


def test_a_log_line_about_the_exception_behind_a_500_names_the_request(server: Server, spans: Spans) -> None:
    """A1-6: while the exception is on its way up, the SERVER span is current, and gets it."""
    seen: list[int] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            raise ValueError("no stock")
        except ValueError:
            await PlainTextResponse("oops", 500)(scope, receive, send)
            seen.append(get_current_span().get_span_context().span_id)
            raise

    with pytest.raises(ValueError, match="no stock"):
        server.get(traced(app, spans))
    assert spans.server.context is not None
    assert seen == [spans.server.context.span_id]
    assert (spans.server.attributes or {})["error.type"] == "ValueError"
    assert len(spans.finished) == 1


def test_work_that_is_cut_off_is_no_error(spans: Spans) -> None:
    """The server stops: the span ends, says so, and is no error; the cancellation passes."""

    async def main() -> None:
        entered = asyncio.Event()

        async def work() -> None:
            entered.set()
            await asyncio.Event().wait()

        app = starlette(lambda: PlainTextResponse("ok", background=BackgroundTask(work)))
        task = asyncio.ensure_future(Server().call(traced(app, spans), "/orders/7"))
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    (behind,) = [one for one in spans.finished if one.kind is SpanKind.INTERNAL]
    assert behind.status.status_code is StatusCode.UNSET
    assert [event.name for event in behind.events] == ["handrail.background.cancelled"]


def test_a_task_left_running_has_a_parent_that_exists(spans: Spans) -> None:
    """asyncio.create_task without waiting: its spans are in the trace, below the SERVER span or the work's."""

    async def main(work_too: bool) -> None:
        gate = asyncio.Event()
        tracer = spans.provider.get_tracer("app")
        left: list[asyncio.Task[None]] = []

        async def late() -> None:
            await gate.wait()
            current = get_current_span()
            assert not current.is_recording()
            current.add_event("too late, and nobody is warned")
            tracer.start_span("late").end()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            left.append(asyncio.create_task(late()))
            await PlainTextResponse("ok")(scope, receive, send)
            if work_too:
                tracer.start_span("soon").end()

        await Server().call(traced(app, spans))
        gate.set()
        await left[0]

    asyncio.run(main(False))
    assert above(span(spans, "late"), spans.server)
    spans.clear()
    asyncio.run(main(True))
    assert above(span(spans, "late"), span(spans, "background GET"))


def test_a_call_within_the_process_from_unnamed_work_is_below_it(server: Server, spans: Spans) -> None:
    """Unlike a pipelined request, which comes from the same client as the one before it."""
    inner = traced(PlainTextResponse("ok"), spans)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("ok")(scope, receive, send)
        await Server().call(inner, "/inner", client=("127.0.0.1", 123))

    server.get(traced(app, spans), "/outer")
    outside, inside = spans.of_kind(SpanKind.SERVER)
    assert above(inside, span(spans, "background GET"))
    assert above(span(spans, "background GET"), outside)


def test_the_current_span_passes_for_the_one_behind_it(server: Server, spans: Spans) -> None:
    """Others look at its class and read its name and attributes; to read begins no work."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        current: Any = get_current_span()
        assert all(isinstance(current, kind) for kind in (ReadableSpan, Span))
        assert (current.name, current.kind, current.attributes["url.path"]) == ("GET", SpanKind.SERVER, "/x")
        current.set_attributes({"a": 1})
        current.set_attribute("b", 2)
        current.add_event("e")
        current.add_link(current.get_span_context())
        current.set_status(StatusCode.ERROR, "bad")
        current.record_exception(ValueError("x"))
        current.update_name("named")
        await PlainTextResponse("ok")(scope, receive, send)
        assert (current.name, current.is_recording()) == ("named", True)

    server.get(traced(app, spans), "/x")
    (found,) = spans.finished
    assert found.name == "named"
    assert dict(found.attributes or {}).items() >= {"a": 1, "b": 2}.items()
    assert [event.name for event in found.events] == ["e", "exception"]
    assert (len(found.links), found.status.description) == (1, "bad")


def test_an_unsampled_request_makes_no_background_span(server: Server) -> None:
    """Not sampled is the whole of it, work included; the context goes on."""
    spans = Spans(ALWAYS_OFF)
    app = starlette(lambda: PlainTextResponse("ok", background=BackgroundTask(worker(spans))))
    assert server.get(traced(app, spans), "/orders/7") == 200
    assert not spans.finished


def test_a_task_outside_of_any_request_runs_as_ever(spans: Spans) -> None:
    """The patched classes do nothing where there is no request of ours."""
    traced(starlette(lambda: PlainTextResponse("ok")), spans)
    asyncio.run(cast("Any", BackgroundTask(worker(spans))()))
    asyncio.run(cast("Any", LitestarTask(worker(spans))()))
    assert [one.name for one in spans.finished] == ["child", "child"]


def test_what_runs_is_named_through_what_is_around_it() -> None:
    """Partials, bound methods, callable objects."""

    class Mailer:
        def send(self) -> None: ...

        def __call__(self) -> None: ...

    prefix = f"{OWN}.test_what_runs_is_named_through_what_is_around_it.<locals>.Mailer"
    assert _background.named(Mailer().send) == f"{prefix}.send"
    assert _background.named(functools.partial(functools.partial(Mailer().send))) == f"{prefix}.send"
    assert _background.named(Mailer()) == prefix
    assert _background.named(print) == "builtins.print"
