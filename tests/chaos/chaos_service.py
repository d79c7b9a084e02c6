"""A service on a real socket that handrail protects, run by each server that we know."""

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import hypercorn.asyncio
import hypercorn.config
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from handrail import protect
from handrail.settings import Overrides

__all__ = ["SERVERS", "TEXT", "Service", "serve", "until"]

TEXT = "the whole of the answer, which is long enough to be broken off in its middle"


class Service:
    """`ledger` has what was charged. Protected by handrail, with these settings."""

    def __init__(self, settings: Overrides | None = None) -> None:
        self.ledger: list[str] = []
        self.seen: list[str] = []
        routes = [
            Route("/charge", self.charge, methods=["POST"]),
            Route("/text", self.text, methods=["GET", "POST"]),
            Route("/items/{id}", self.text),
            Route("/pieces", self.pieces),
            Route("/endless", self.endless),
            Route("/through/{rest:path}", self.through),
            WebSocketRoute("/socket", self.socket),
        ]
        self.app: Any = protect(Starlette(routes=routes), **(settings or {}))
        self.url = ""

    async def charge(self, request: Request) -> Response:
        """The effect that must happen once."""
        self.ledger.append((await request.body()).decode())
        return JSONResponse({"number": len(self.ledger)}, 201)

    async def text(self, request: Request) -> Response:
        """Carry it out."""
        self.seen.append(f"{request.method} {request.url.path}")
        return PlainTextResponse(TEXT)

    async def through(self, request: Request) -> Response:
        """Ask this very service for the rest of the path."""
        async with httpx.AsyncClient() as client:
            found = await client.get(f"{self.url}/{request.path_params['rest']}")
            return PlainTextResponse(found.content, found.status_code)

    async def socket(self, websocket: WebSocket) -> None:
        """Says what it hears, until its client has gone."""
        self.seen.append("socket")
        await websocket.accept()
        with suppress(WebSocketDisconnect):
            while True:
                await websocket.send_text(await websocket.receive_text())
        self.seen.append("socket ended")

    async def endless(self, _request: Request) -> Response:
        """A stream that ends with its client."""

        async def body() -> AsyncIterator[bytes]:
            try:
                yield b"one piece and another"
                await asyncio.Event().wait()
            finally:
                self.seen.append("ended")

        return StreamingResponse(body())

    async def pieces(self, request: Request) -> Response:
        """A stream of two pieces."""
        self.seen.append(request.url.path)

        async def body() -> AsyncIterator[bytes]:
            yield b"one piece"
            yield b"another piece"

        return StreamingResponse(body())


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, at most a minute."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "waited a minute"
        threading.Event().wait(0.005)


@contextmanager
def _uvicorn(app: Any) -> Iterator[int]:
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join(60)


@contextmanager
def _hypercorn(app: Any) -> Iterator[int]:
    config = hypercorn.config.Config()
    config.bind = ["127.0.0.1:0"]
    config.loglevel = "CRITICAL"
    sockets = config.create_sockets()
    port = sockets.insecure_sockets[0].getsockname()[1]
    config.create_sockets = lambda: sockets  # type: ignore[method-assign]  # to know the port
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    def run() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(hypercorn.asyncio.serve(app, config, shutdown_trigger=stop.wait))
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    until(lambda: _listens(port))
    yield port
    loop.call_soon_threadsafe(stop.set)
    thread.join(60)


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


SERVERS: dict[str, Callable[[Any], Any]] = {"uvicorn": _uvicorn, "hypercorn": _hypercorn}


@contextmanager
def serve(server: str = "uvicorn", settings: Overrides | None = None) -> Iterator[Service]:
    """A service that runs."""
    made = Service(settings)
    with SERVERS[server](made.app) as port:
        made.url = f"http://127.0.0.1:{port}"
        yield made
