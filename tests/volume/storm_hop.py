"""A hop of the storm: calls the next one for each request; under handrail, or with the stack that people write.

STORM_NEXT=http://127.0.0.1:9004 STORM_STACK=handrail uvicorn --factory tests.volume.storm_hop:make
"""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from tenacity import retry, stop_after_attempt, wait_random_exponential

from handrail import protect

__all__ = ["make"]

Handler = Callable[[Request], Awaitable[Response]]


def _handler(next_hop: str, client: Callable[[], httpx.AsyncClient]) -> Handler:
    """What a service does in its business code; handrail does the rest."""

    async def work(request: Request) -> Response:
        answer = await client().get(next_hop)
        answer.raise_for_status()
        return JSONResponse({"from": request.url.path})

    return work


def _with_retries(next_hop: str, client: Callable[[], httpx.AsyncClient]) -> Handler:
    """The same with the retry that stands in most services that have one."""

    @retry(stop=stop_after_attempt(3), wait=wait_random_exponential(multiplier=0.1, max=5), reraise=True)
    async def ask() -> None:
        (await client().get(next_hop)).raise_for_status()

    async def work(request: Request) -> Response:
        try:
            await ask()
        except httpx.HTTPError as error:
            return JSONResponse({"error": str(error)}, status_code=503)
        return JSONResponse({"from": request.url.path})

    return work


async def ready(_request: Request) -> Response:
    return JSONResponse({})


def make() -> Starlette:
    """The application, by STORM_NEXT and STORM_STACK."""
    held: list[httpx.AsyncClient] = []
    ours = os.environ["STORM_STACK"] == "handrail"
    work = (_handler if ours else _with_retries)(os.environ["STORM_NEXT"], lambda: held[0])

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        # httpx's usual limits: it looks at each idle connection for each request.
        async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
            held.append(client)
            yield

    app = Starlette(routes=[Route("/work", work), Route("/ready", ready)], lifespan=lifespan)
    return protect(app) if ours else app
