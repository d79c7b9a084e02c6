"""The service that calls the others: from coroutines, threads, pools, generators, a queue's worker, and after its
answer.
"""

import asyncio
import os
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import httpx
from fastapi import APIRouter, BackgroundTasks, FastAPI, Request, WebSocket
from fastapi.responses import StreamingResponse

import handrail

__all__ = ["make"]

STOCK, PAY, MAIL = (os.environ.get(f"VOLUME_{name}", "") for name in ("STOCK", "PAY", "MAIL"))

router = APIRouter()
jobs: queue.SimpleQueue[dict[str, str] | None] = queue.SimpleQueue()
client = httpx.AsyncClient(limits=httpx.Limits(max_connections=400), timeout=30)
blocking = httpx.Client(limits=httpx.Limits(max_connections=400), timeout=30)
note: Callable[..., str]


def make(noted: Callable[..., str]) -> FastAPI:
    """The application; `noted` writes the ledger."""
    global note
    note = noted
    app = FastAPI(lifespan=lifespan)
    app.include_router(router)
    return app


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """A worker that is older than any request, and a pool."""
    worker = threading.Thread(target=work)
    worker.start()
    app.state.pool = ThreadPoolExecutor(8)
    yield
    jobs.put(None)
    await asyncio.to_thread(worker.join)
    app.state.pool.shutdown()
    await client.aclose()


def work() -> None:
    """What another thread does with what requests left for it."""
    while (carried := jobs.get()) is not None:
        with handrail.resume(carried, "pack", link=False):
            note("packed")


async def mail(number: int) -> None:
    """After the answer."""
    note("background")
    (await client.post(f"{MAIL}/mail/{number}")).raise_for_status()


def pay(number: int) -> None:
    """In another thread."""
    note("thread")
    blocking.get(f"{PAY}/pay/{number}").raise_for_status()


async def count(number: int) -> None:
    """In the same coroutine."""
    (await client.get(f"{STOCK}/stock/{number}")).raise_for_status()


@router.get("/orders/{number}")
async def order(number: int, request: Request, background: BackgroundTasks) -> dict[str, str]:
    trace_id = note("order", request.headers)
    await count(number)
    await asyncio.get_running_loop().run_in_executor(request.app.state.pool, pay, number)
    jobs.put(handrail.capture())
    background.add_task(mail, number)
    return {"trace_id": trace_id}


@router.get("/plain/{number}")
def plain(number: int, request: Request) -> dict[str, str]:
    thread = threading.Thread(target=pay, args=(number,))
    thread.start()
    thread.join()
    return {"trace_id": note("plain", request.headers)}


@router.get("/stream/{number}")
def stream(number: int, request: Request) -> StreamingResponse:
    def chunks() -> Iterator[str]:
        for _ in range(3):
            note("chunk")
            pay(number)
            yield "chunk\n"

    return StreamingResponse(chunks(), headers={"x-trace-id": note("stream", request.headers)})


@router.get("/held/{number}")
async def held(number: int, request: Request) -> dict[str, str]:
    threading.Event().wait(0.6)  # what generated code does with time.sleep or requests
    return {"trace_id": note("held", request.headers)}


@router.get("/late/{number}")
async def late(number: int) -> None:
    (await client.get(f"{PAY}/hang/{number}", timeout=None)).raise_for_status()


@router.get("/feed/{number}")
async def feed(number: int, request: Request) -> StreamingResponse:
    async def events() -> AsyncIterator[str]:
        for _ in range(3):
            await count(number)
            yield f"data: {note('event')}\n\n"

    trace_id = note("feed", request.headers)
    return StreamingResponse(events(), media_type="text/event-stream", headers={"x-trace-id": trace_id})


@router.websocket("/live/{number}")
async def live(socket: WebSocket, number: int) -> None:
    await socket.accept()
    trace_id = note("live", socket.headers)
    for _ in range(2):
        await socket.receive_text()
        await count(number)
        await socket.send_text(trace_id)
    await socket.close()
