"""The table of lost contexts, row by row, in a protected application: the work is a child of the request's span."""

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any

import anyio.to_thread
import pytest
from opentelemetry import trace
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

import handrail
from handrail.tracing.testing import Spans
from tests.wiring.asgi_drive import request

Endpoint = Callable[[Request], Awaitable[Response]]


def work(*_: object) -> None:
    """What a service does somewhere else."""
    trace.get_tracer("service").start_span("work").end()


async def work_async() -> None:
    work()


def assert_one_trace(spans: Spans) -> None:
    done = [span for span in spans.finished if span.name == "work"]
    assert done
    server = spans.server
    assert server.context is not None
    for span in done:
        assert span.parent is not None
        assert (span.parent.span_id, span.parent.trace_id) == (server.context.span_id, server.context.trace_id)


def served(endpoint: Callable[[Request], Any], **options: Any) -> None:
    app = handrail.protect(Starlette(routes=[Route("/", endpoint)], **options))
    assert request(app)[0] == 200


def through(act: Callable[[], Awaitable[object]]) -> None:
    async def endpoint(_request: Request) -> Response:
        await act()
        return PlainTextResponse("done")

    served(endpoint)


async def in_thread(target: Callable[[], object]) -> None:
    thread = threading.Thread(target=target)
    thread.start()
    await asyncio.to_thread(thread.join)


def test_create_task(spans: Spans) -> None:
    """A4, create_task: kept."""
    through(lambda: asyncio.create_task(work_async()))
    assert_one_trace(spans)


def test_task_group(spans: Spans) -> None:
    """A4, TaskGroup: kept."""

    async def act() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(work_async())

    through(act)
    assert_one_trace(spans)


def test_to_thread(spans: Spans) -> None:
    """A4, asyncio.to_thread: kept."""
    through(lambda: asyncio.to_thread(work))
    assert_one_trace(spans)


def test_anyio_thread(spans: Spans) -> None:
    """A4, anyio.to_thread and run_in_threadpool: kept."""

    async def act() -> None:
        await anyio.to_thread.run_sync(work)
        await run_in_threadpool(work)

    through(act)
    assert_one_trace(spans)


def test_call_soon(spans: Spans) -> None:
    """A4, loop.call_soon: kept."""

    async def act() -> None:
        done = asyncio.Event()

        def call() -> None:
            work()
            done.set()

        asyncio.get_running_loop().call_soon(call)
        await done.wait()

    through(act)
    assert_one_trace(spans)


def test_run_in_executor(spans: Spans) -> None:
    """A4, loop.run_in_executor: kept, where plain OpenTelemetry loses it."""
    through(lambda: asyncio.get_running_loop().run_in_executor(None, work))
    assert_one_trace(spans)


def test_thread_pool(spans: Spans) -> None:
    """A4, ThreadPoolExecutor.submit: kept, where plain OpenTelemetry loses it."""
    with ThreadPoolExecutor(1) as pool:
        through(lambda: asyncio.wrap_future(pool.submit(work)))
    assert_one_trace(spans)


def test_thread(spans: Spans) -> None:
    """A4, threading.Thread: kept, where plain OpenTelemetry loses it."""
    through(lambda: in_thread(work))
    assert_one_trace(spans)


def test_call_soon_threadsafe(spans: Spans) -> None:
    """A4, call_soon_threadsafe from a thread: kept, since the thread has the context."""

    async def act() -> None:
        loop = asyncio.get_running_loop()
        done = asyncio.Event()

        def call() -> None:
            work()
            done.set()

        await in_thread(lambda: loop.call_soon_threadsafe(call))
        await done.wait()

    through(act)
    assert_one_trace(spans)


def test_queue_worker(spans: Spans) -> None:
    """A4, a queue worker started earlier: kept for items in `handrail.carry`; the worker itself keeps nothing."""
    items: queue.Queue[Callable[[], None] | None] = queue.Queue()

    def serve() -> None:
        while (item := items.get()) is not None:
            item()
            assert trace.get_current_span() is trace.INVALID_SPAN

    worker = threading.Thread(target=serve)
    worker.start()

    async def act() -> None:
        items.put(handrail.carry(work))

    through(act)
    items.put(None)
    worker.join()
    assert_one_trace(spans)


def test_parent_ended_before_the_pool_ran(spans: Spans) -> None:
    """A4, ddtrace#9588: the request is answered before its task runs in the pool, and is still its parent."""
    held = threading.Event()
    submitted: list[Future[None]] = []
    with ThreadPoolExecutor(1) as pool:
        pool.submit(held.wait)

        async def act() -> None:
            submitted.append(pool.submit(work))

        through(act)
        assert spans.server.end_time is not None
        held.set()
        submitted[0].result(timeout=60)
    assert_one_trace(spans)


def test_parent_ended_before_the_thread_ran(spans: Spans, caplog: pytest.LogCaptureFixture) -> None:
    """A4, ddtrace#9588 with a thread: the same, and what it tells the ended span is dropped without a warning."""
    answered = threading.Event()

    def later() -> None:
        answered.wait()
        trace.get_current_span().set_attribute("late", True)
        trace.get_current_span().add_event("late")
        work()

    thread = threading.Thread(target=later)

    async def act() -> None:
        thread.start()

    through(act)
    answered.set()
    thread.join()
    assert_one_trace(spans)
    assert caplog.records == []


@pytest.mark.parametrize("asynchronous", [True, False])
def test_streams(spans: Spans, caplog: pytest.LogCaptureFixture, asynchronous: bool) -> None:
    """A4, A3, generators that are streamed: each step is inside the request, and no token is held across a yield."""

    def steps() -> Iterator[str]:
        for part in "abc":
            work()
            yield part

    async def steps_async() -> AsyncIterator[str]:
        for part in steps():
            yield part

    async def endpoint(_request: Request) -> Response:
        return StreamingResponse(steps_async() if asynchronous else steps())

    served(endpoint)
    assert len([span for span in spans.finished if span.name == "work"]) == 3
    assert_one_trace(spans)
    assert "detach" not in caplog.text


def test_sync_endpoint(spans: Spans) -> None:
    """A4, a sync endpoint and a pool that it uses: both in the request's trace."""

    def endpoint(_request: Request) -> Response:
        work()
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(work, range(3)))
        return PlainTextResponse("done")

    served(endpoint)
    assert len([span for span in spans.finished if span.name == "work"]) == 4
    assert_one_trace(spans)


def test_base_http_middleware(spans: Spans) -> None:
    """A4, a BaseHTTPMiddleware outermost: before, behind and inside of it work is in the request's trace."""

    async def dispatch(inner: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        work()
        response = await call_next(inner)
        work()
        return response

    async def endpoint(_request: Request) -> Response:
        await asyncio.get_running_loop().run_in_executor(None, work)
        return PlainTextResponse("done")

    served(endpoint, middleware=[Middleware(BaseHTTPMiddleware, dispatch=dispatch)])
    assert len([span for span in spans.finished if span.name == "work"]) == 3
    assert_one_trace(spans)


def test_other_context_variables_stay(spans: Spans) -> None:
    """A4: only OpenTelemetry's context travels; a variable of somebody else is unset in a new thread, as ever."""
    session: ContextVar[str] = ContextVar("session", default="none")
    seen: list[str] = []

    async def act() -> None:
        session.set("of the request")
        await in_thread(lambda: seen.append(session.get()))
        await asyncio.get_running_loop().run_in_executor(None, lambda: seen.append(session.get()))

    through(act)
    assert seen == ["none", "none"]
