"""Drives an ASGI app by hand: one request, or a lifespan, and what it answered."""

import asyncio
from collections.abc import MutableMapping
from typing import Any

Messages = list[MutableMapping[str, Any]]


def request(app: Any, path: str = "/", method: str = "GET", **extra: Any) -> tuple[int, bytes]:
    """Status and body of one request."""
    sent: Messages = []

    asked = 0
    answered = asyncio.Event()

    async def receive() -> dict[str, Any]:
        nonlocal asked
        asked += 1
        if asked > 1:
            await answered.wait()  # the client stays until it has its response
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            answered.set()

    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"test")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "state": {},
        **extra,
    }
    asyncio.run(_call(app, scope, receive, send))
    status = next(message["status"] for message in sent if message["type"] == "http.response.start")
    body = b"".join(message.get("body", b"") for message in sent if message["type"] == "http.response.body")
    return status, body


async def _call(app: Any, scope: Any, receive: Any, send: Any) -> None:
    await app(scope, receive, send)


def lifespan(app: Any) -> tuple[list[str], BaseException | None]:
    """What the app answered to startup and shutdown, and what it raised."""
    sent: list[str] = []
    events = iter(("lifespan.startup", "lifespan.shutdown"))

    async def receive() -> dict[str, Any]:
        return {"type": next(events)}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message["type"])

    try:
        asyncio.run(_call(app, {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send))
    except Exception as error:
        return sent, error
    return sent, None
