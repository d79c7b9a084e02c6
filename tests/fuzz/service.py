"""What the raw client talks to: one application, under handrail, and bare below `/bare`; `/_state` is beside both."""

import asyncio
import gc
import json
import os
from collections.abc import Awaitable, Callable
from typing import Any

import handrail
from handrail import _wire

__all__ = ["Planned", "front"]

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
COUNTS = (
    *("http_server_active_requests", "handrail_server_requests_under_way"),
    *("handrail_server_requests_waiting", "handrail_server_streams_open"),
)


running = {"http": 0, "websocket": 0}
"""Calls of the guarded app that have not ended. A server may never tell a websocket that its client has left."""


class Planned(Exception):
    """The app's own bug."""


async def app(scope: Any, receive: Receive, send: Send) -> None:
    """Reads, or not; answers at once, late, in pieces, or not at all."""
    path = scope["path"].removeprefix("/bare")
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
    elif scope["type"] == "websocket":
        await _socket(receive, send)
    elif path.startswith("/lazy"):
        await _answer(send, 200, b"not read")
    elif path.startswith("/raise"):
        raise Planned
    elif path.startswith("/stream"):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        for _ in range(5):
            await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
            await asyncio.sleep(0.01)  # noqa: TID251  (a stream takes its time)
        await send({"type": "http.response.body", "body": b""})
    elif path.startswith("/big"):
        await _answer(send, 200, b"x" * 1_000_000)
    else:
        size = await _body(receive)
        if path.startswith("/slow"):
            await asyncio.sleep(0.05)  # noqa: TID251  (its work)
        if size is not None:
            await _answer(send, 201 if scope["method"] == "POST" else 200, b"%d" % size)


async def _body(receive: Receive) -> int | None:
    """Its length; None where its client has left before its end."""
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            return size


async def _answer(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-length", b"%d" % len(body)), (b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _socket(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": str(len(message.get("text") or ""))})


async def _lifespan(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def counted(scope: Any, receive: Receive, send: Send) -> None:
    """The app, and its calls are counted."""
    kind = scope["type"]
    running[kind] = running.get(kind, 0) + 1
    try:
        await app(scope, receive, send)
    finally:
        running[kind] -= 1


guarded = handrail.protect(counted)


async def front(scope: Any, receive: Receive, send: Send) -> None:
    """What the server serves."""
    path = scope.get("path", "")
    if path == "/_state":
        await _answer(send, 200, json.dumps(state()).encode())
    elif path.startswith("/bare"):
        await app(scope, receive, send)
    else:
        await guarded(scope, receive, send)


def state() -> dict[str, Any]:
    """What goes up and down again, and what the process holds."""
    from handrail.tracing.metrics import _prometheus

    process = _wire.current()
    assert process is not None
    page, _ = _prometheus.page(lambda: process.metrics().scraped)("")
    counts = {}
    for line in page.decode().splitlines():
        name, _, value = line.rpartition(" ")
        if name.startswith(COUNTS) and float(value):
            counts[name] = float(value)
    return {
        "counts": counts,
        "running": running,
        "tasks": len(asyncio.all_tasks()),
        "pid": os.getpid(),
        "objects": len(gc.get_objects()),
    }
