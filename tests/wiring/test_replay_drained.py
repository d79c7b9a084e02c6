"""At the end of a server, requests with a key that it has given up are ended before the process is."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

import handrail

pytestmark = pytest.mark.usefixtures("spans")


def test_the_end_of_the_lifespan_waits(tmp_path: Path) -> None:
    """The work is done and its answer kept when the server is told that all has ended."""
    done: list[str] = []

    async def main() -> None:
        begun, going = asyncio.Event(), asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            begun.set()
            await going.wait()
            await send({"type": "http.response.start", "status": 201, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            done.append("request")

        async def receive() -> Any:
            return {"type": "http.request", "body": b""}

        messages = [{"type": "lifespan.shutdown"}, {"type": "lifespan.startup"}]

        async def lifespan() -> Any:
            if len(messages) == 1:
                await ending.wait()
            return messages.pop()

        async def send(message: Any) -> None:
            if message["type"].startswith("lifespan"):
                done.append(message["type"])

        async def both(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                await app(scope, receive, send)

        ending = asyncio.Event()
        service: Any = handrail.protect(both, idempotency_store=f"sqlite:///{tmp_path}/a.sqlite")
        served = asyncio.create_task(service({"type": "lifespan", "asgi": {"version": "3.0"}}, lifespan, send))
        scope = {"type": "http", "method": "POST", "path": "/", "headers": [(b"idempotency-key", b"k")]}
        request = asyncio.create_task(service(scope, receive, send))
        await begun.wait()
        request.cancel()
        await asyncio.wait([request])
        ending.set()
        asyncio.get_running_loop().call_later(0.01, going.set)
        await served

    asyncio.run(main())
    assert done == ["lifespan.startup.complete", "request", "lifespan.shutdown.complete"]
