"""A hop of the storm, bare ASGI: calls the next one for each request; under handrail, or with what people write.

    STORM_NEXT=http://127.0.0.1:9004/work STORM_STACK=handrail uvicorn --factory tests.volume.storm_hop:make

STORM_CLIENT is aiohttp or httpx, STORM_TIMEOUT the seconds that its code gives each call (10). Each connection that is
tried adds a byte to the file STORM_TRIES: what nobody listens for, nobody else can count. `GET /probe` tells how many
seconds a breaker still refuses all calls.
"""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from tenacity import retry, stop_after_attempt, wait_random_exponential

import handrail

__all__ = ["Hop", "make"]

Ask = Callable[[], Awaitable[None]]
Client = Callable[[str, Callable[[], None]], AbstractAsyncContextManager[Ask]]
Scope = MutableMapping[str, Any]
TIMEOUT = float(os.environ.get("STORM_TIMEOUT", "10"))


class Hop:
    """A service as an ASGI application. With `retries`, those that stand in most services that have any."""

    def __init__(self, client: AbstractAsyncContextManager[Ask], *, retries: bool) -> None:
        self._client = client
        self._retries = retries
        self._ask: Ask | None = None

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        status, body = 200, b"ok"
        if scope["path"] == "/work":
            assert self._ask is not None
            try:
                await self._ask()
            except Exception as error:
                if not self._retries:
                    raise  # handrail's to answer
                status, body = 503, repr(error).encode()
        elif scope["path"] == "/probe":
            body = str(max((found.retry_after or 0.0 for found in handrail.breakers().values()), default=0.0)).encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _live(self, receive: Any, send: Any) -> None:
        await receive()
        async with self._client as ask:
            self._ask = _repeated(ask) if self._retries else ask
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})


def _repeated(ask: Ask) -> Ask:
    @retry(stop=stop_after_attempt(3), wait=wait_random_exponential(multiplier=0.1, max=5), reraise=True)
    async def repeated() -> None:
        await ask()

    return repeated


@asynccontextmanager
async def _aiohttp(url: str, tried: Callable[[], None]) -> AsyncIterator[Ask]:
    import socket

    import aiohttp
    from yarl import URL

    def made(info: Any) -> socket.socket:
        tried()
        return socket.socket(info[0], info[1], info[2])

    target, timeout = URL(url), aiohttp.ClientTimeout(total=TIMEOUT)
    connector = aiohttp.TCPConnector(socket_factory=made)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:

        async def ask() -> None:
            async with session.get(target) as answer:
                await answer.read()  # first: aiohttp closes the connection of an answer that is left unread
                answer.raise_for_status()

        yield ask


@asynccontextmanager
async def _httpx(url: str, tried: Callable[[], None]) -> AsyncIterator[Ask]:
    import httpx

    async def trace(event: str, _info: object) -> None:
        if event == "connection.connect_tcp.started":
            tried()

    async with httpx.AsyncClient(timeout=TIMEOUT, trust_env=False) as client:

        async def ask() -> None:
            (await client.get(url, extensions={"trace": trace})).raise_for_status()

        yield ask


def make() -> Any:
    """The application, by the environment."""
    tries = os.open(os.environ["STORM_TRIES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    client: Client = _httpx if os.environ["STORM_CLIENT"] == "httpx" else _aiohttp
    ours = os.environ["STORM_STACK"] == "handrail"
    hop = Hop(client(os.environ["STORM_NEXT"], lambda: void(os.write(tries, b"."))), retries=not ours)
    return handrail.protect(hop) if ours else hop


def void(_written: int) -> None:
    """Nothing of it is of interest."""
