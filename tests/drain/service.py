"""The service of the trial: quick and slow answers, an event stream, a websocket; and a ledger of what was begun."""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from handrail import protect

LEDGER = Path(os.environ["DRAIN_LEDGER"])


def note(what: str, request_id: str) -> None:
    """One line of the ledger: a single write, so that it is whole whatever happens to the process."""
    with LEDGER.open("ab", buffering=0) as ledger:
        ledger.write(f"{what} {request_id}\n".encode())


async def order(request: Request) -> PlainTextResponse:
    """Takes as long as it is told, and is in the ledger twice: begun, and done."""
    request_id, seconds = request.query_params["id"], float(request.query_params.get("seconds", "0"))
    note("begun", request_id)
    await request.body()
    await anyio.sleep(seconds)
    note("done", request_id)
    return PlainTextResponse(request_id)


async def who(_request: Request) -> PlainTextResponse:
    """The worker that answers."""
    return PlainTextResponse(str(os.getpid()))


async def events(request: Request) -> StreamingResponse:
    """An event every tenth of a second, for ever."""

    async def pieces() -> AsyncIterator[str]:
        number = 0
        note("stream-begun", request.query_params["id"])
        try:
            while True:
                number += 1
                yield f"data: {number}\n\n"
                await anyio.sleep(0.1)
        finally:
            note("stream-told", request.query_params["id"])

    return StreamingResponse(pieces(), media_type="text/event-stream")


async def large(_request: Request) -> StreamingResponse:
    """More than any buffer takes."""

    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1 << 20)

    return StreamingResponse(pieces())


async def socket(websocket: WebSocket) -> None:
    """Says what it hears, until it hears that its client has gone."""
    await websocket.accept()
    try:
        while True:
            await websocket.send_text(await websocket.receive_text())
    except WebSocketDisconnect:
        note("socket-told", websocket.query_params["id"])


@asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncIterator[None]:
    """Says when it has ended."""
    yield
    print("the lifespan has ended", flush=True)


app = protect(
    Starlette(
        lifespan=lifespan,
        routes=[
            Route("/orders", order, methods=["GET", "POST"]),
            Route("/who", who),
            Route("/events", events),
            Route("/large", large),
            WebSocketRoute("/socket", socket),
        ],
    )
)

if __name__ == "__main__":
    sys.exit("to be run by a server: uvicorn tests.drain.service:app")
