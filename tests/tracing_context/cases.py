"""Every way in which work of a request reaches another thread, task or process: is its span still current there?

A plain script, so that it runs under any Python without pytest: `python cases.py plain|handrail` prints a JSON object
of mechanism to "kept" or "lost". docs/context.md shows the same table, and test_context_table.py compares.
"""

import asyncio
import contextlib
import json
import multiprocessing
import queue
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing.pool import ThreadPool
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
from opentelemetry.context import attach, detach
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, get_current_span, set_span_in_context
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

HANDRAIL = sys.argv[-1] == "handrail"
SPAN = NonRecordingSpan(SpanContext(0xABC, 0xDEF, False, TraceFlags(TraceFlags.SAMPLED)))
CASES: dict[str, Callable[[], Any]] = {}


def case(mechanism: str) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    def add(function: Callable[[], Any]) -> Callable[[], Any]:
        CASES[mechanism] = function
        return function

    return add


def look(*_: object) -> int:
    """The span that is current here."""
    return get_current_span().get_span_context().span_id


def wrapped(fn: Callable[[], None]) -> Callable[[], None]:
    if not HANDRAIL:
        return fn
    from handrail.tracing.context import carry

    return carry(fn)


@contextlib.contextmanager
def request() -> Iterator[None]:
    token = attach(set_span_in_context(SPAN))
    try:
        yield
    finally:
        detach(token)


def in_request(main: Callable[[], Any]) -> Any:
    """What `main` finds, on a loop of its own with the span current."""

    async def run() -> Any:
        with request():
            return await main()

    return asyncio.run(run())


def from_thread(make: Callable[[Callable[[], None]], threading.Thread]) -> int:
    found: list[int] = []
    with request():
        thread = make(lambda: found.append(look()))
        thread.start()
    thread.join()
    return found[0]


# Processes first: a fork is best made before there are threads.


def to_pipe(sender: Any) -> None:
    sender.send(look())


def from_process(method: str) -> int:
    context: Any = multiprocessing.get_context(method)
    receiver, sender = context.Pipe(duplex=False)
    with request():
        process = context.Process(target=to_pipe, args=(sender,))
        process.start()
    process.join()
    return int(receiver.recv())


@case("`multiprocessing.Process`, forked")
def process_fork() -> int:
    return from_process("fork")


@case("`multiprocessing.Process`, spawned")
def process_spawn() -> int:
    return from_process("spawn")


@case("`ProcessPoolExecutor.submit`, spawned")
def process_pool() -> int:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool, request():
        return pool.submit(look).result()


@case("`ProcessPoolExecutor.map`, spawned")
def process_pool_map() -> int:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool, request():
        return next(pool.map(look, [1]))


@case("`multiprocessing.Pool`, spawned")
def multiprocessing_pool() -> int:
    with multiprocessing.get_context("spawn").Pool(1) as pool, request():
        return min(pool.apply(look), *pool.map(look, [1]))


@case("`asyncio.create_task`")
def task() -> int:
    async def main() -> int:
        async def work() -> int:
            return look()

        return await asyncio.create_task(work())

    return int(in_request(main))


@case("`asyncio.TaskGroup`")
def task_group() -> int:
    async def main() -> int:
        async def work() -> int:
            return look()

        async with asyncio.TaskGroup() as group:
            made = group.create_task(work())
        return made.result()

    return int(in_request(main))


@case("`loop.call_soon`, `call_later`")
def call_soon() -> int:
    async def main() -> int:
        loop = asyncio.get_running_loop()
        soon: asyncio.Future[int] = loop.create_future()
        later: asyncio.Future[int] = loop.create_future()
        loop.call_soon(lambda: soon.set_result(look()))
        loop.call_later(0, lambda: later.set_result(look()))
        return min(await soon, await later)

    return int(in_request(main))


@case("`asyncio.to_thread`")
def to_thread() -> int:
    return int(in_request(lambda: asyncio.to_thread(look)))


@case("`anyio.to_thread.run_sync`")
def anyio_thread() -> int:
    return int(in_request(lambda: anyio.to_thread.run_sync(look)))


@case("`anyio.from_thread.run` out of such a thread")
def anyio_back() -> int:
    async def work() -> int:
        return look()

    return int(in_request(lambda: anyio.to_thread.run_sync(lambda: anyio.from_thread.run(work))))


@case("sync endpoint (`run_in_threadpool`)")
def threadpool() -> int:
    return int(in_request(lambda: run_in_threadpool(look)))


async def stream(response: Response) -> None:
    async def receive() -> Any:
        await asyncio.get_running_loop().create_future()  # the client stays

    async def send(_message: Any) -> None:
        pass

    await response({"type": "http", "asgi": {"spec_version": "2.4"}}, receive, send)


@case("sync generator in a `StreamingResponse`")
def sync_stream() -> int:
    found: list[int] = []

    def body() -> Iterator[str]:
        found.append(look())
        yield "a"
        found.append(look())
        yield "b"

    in_request(lambda: stream(StreamingResponse(body())))
    return min(found)


@case("async generator in a `StreamingResponse`")
def async_stream() -> int:
    found: list[int] = []

    async def body() -> AsyncIterator[str]:
        found.append(look())
        yield "a"
        found.append(look())
        yield "b"

    in_request(lambda: stream(StreamingResponse(body())))
    return min(found)


@case("sync `BackgroundTask`")
def background() -> int:
    found: list[int] = []
    in_request(lambda: stream(Response("", background=BackgroundTask(lambda: found.append(look())))))
    return found[0]


@case("`loop.run_in_executor(None, ...)`")
def default_executor() -> int:
    async def main() -> int:
        return await asyncio.get_running_loop().run_in_executor(None, look)

    return int(in_request(main))


@case("`loop.run_in_executor(ThreadPoolExecutor, ...)`")
def own_executor() -> int:
    async def main() -> int:
        with ThreadPoolExecutor(1) as pool:
            return await asyncio.get_running_loop().run_in_executor(pool, look)

    return int(in_request(main))


class Other(Executor):
    """An executor of somebody's own making; its one worker is there before any request."""

    def __init__(self) -> None:
        self.calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self.worker = threading.Thread(target=self.work)
        self.worker.start()

    def work(self) -> None:
        while (call := self.calls.get()) is not None:
            call()

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        future: Future[Any] = Future()
        self.calls.put(lambda: future.set_result(fn(*args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self.calls.put(None)
        self.worker.join()


@case("`loop.run_in_executor` with an executor of another kind")
def other_executor() -> int:
    with Other() as pool:

        async def main() -> int:
            return int(await asyncio.get_running_loop().run_in_executor(pool, look))

        return int(in_request(main))


@case("`ThreadPoolExecutor.submit`")
def pool_submit() -> int:
    with ThreadPoolExecutor(1) as pool, request():
        return pool.submit(look).result()


@case("`ThreadPoolExecutor.map`")
def pool_map() -> int:
    with ThreadPoolExecutor(1) as pool, request():
        return next(pool.map(look, [1]))


@case("`threading.Thread(target=...)`")
def thread() -> int:
    return from_thread(lambda fn: threading.Thread(target=fn, daemon=True))


@case("a subclass of `Thread` with its own `run`")
def thread_subclass() -> int:
    class Own(threading.Thread):
        def __init__(self, fn: Callable[[], None]) -> None:
            super().__init__()
            self.fn = fn

        def run(self) -> None:
            self.fn()

    return from_thread(Own)


@case("`threading.Timer`")
def timer() -> int:
    return from_thread(lambda fn: threading.Timer(0, fn))


@case("`loop.call_soon_threadsafe` from a thread of the request")
def threadsafe() -> int:
    async def main() -> int:
        loop = asyncio.get_running_loop()
        found: asyncio.Future[int] = loop.create_future()
        threading.Thread(target=lambda: loop.call_soon_threadsafe(lambda: found.set_result(look()))).start()
        return await found

    return int(in_request(main))


@case("`asyncio.run_coroutine_threadsafe` from a thread of the request")
def coroutine_threadsafe() -> int:
    async def main() -> int:
        loop = asyncio.get_running_loop()
        found: asyncio.Future[int] = loop.create_future()

        async def work() -> None:
            found.set_result(look())

        threading.Thread(target=lambda: asyncio.run_coroutine_threadsafe(work(), loop)).start()
        return await found

    return int(in_request(main))


@case("`multiprocessing.pool.ThreadPool`: `apply`, `map`, `imap`, `starmap`")
def thread_pool() -> int:
    with request(), ThreadPool(1) as pool:
        return min(pool.apply(look), *pool.map(look, [1]), *pool.imap(look, [1]), *pool.starmap(look, [(1, 2)]))


def queue_worker(wrap: Callable[[Callable[[], None]], Callable[[], None]]) -> int:
    items: queue.Queue[Callable[[], None] | None] = queue.Queue()
    found: list[int] = []

    def work() -> None:
        while (item := items.get()) is not None:
            item()

    worker = threading.Thread(target=work)
    worker.start()
    with request():
        items.put(wrap(lambda: found.append(look())))
    items.put(None)
    worker.join()
    return found[0]


@case("`queue.Queue`, worker started earlier")
def queue_plain() -> int:
    return queue_worker(lambda fn: fn)


@case("`queue.Queue`, worker started earlier, item in `handrail.carry`")
def queue_carried() -> int:
    return queue_worker(wrapped)


def asyncio_queue(wrap: Callable[[Callable[[], None]], Callable[[], None]]) -> int:
    found: list[int] = []

    async def main() -> None:
        items: asyncio.Queue[Callable[[], None] | None] = asyncio.Queue()

        async def work() -> None:
            while (item := await items.get()) is not None:
                item()

        worker = asyncio.create_task(work())
        with request():
            items.put_nowait(wrap(lambda: found.append(look())))
        items.put_nowait(None)
        await worker

    asyncio.run(main())
    return found[0]


@case("`asyncio.Queue`, worker started earlier")
def asyncio_queue_plain() -> int:
    return asyncio_queue(lambda fn: fn)


@case("`asyncio.Queue`, worker started earlier, item in `handrail.carry`")
def asyncio_queue_carried() -> int:
    return asyncio_queue(wrapped)


def main() -> None:
    undo: Callable[[], None] = lambda: None  # noqa: E731 (one of two)
    if HANDRAIL:
        from handrail.tracing import context

        undo = context.install()
    known = {SPAN.get_span_context().span_id: "kept", 0: "lost"}
    found = {mechanism: known[function()] for mechanism, function in CASES.items()}
    undo()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
