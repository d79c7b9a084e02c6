"""A service as most are: quick and slow routes, threads, a pool, a cold start, a bad moment now and then."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

import handrail

COLD, COLD_FOR = 30, 0.4
"""Requests that are slower by so many seconds, at first."""
SLOWER, FROM, UNTIL = 5, 10.0, 15.0
"""What the dependency takes, and when, in seconds from the first request."""
PAUSES = (18.0, 22.0)
"""When the event loop is kept busy for `PAUSE` seconds, as by a collection of garbage."""
PAUSE = 0.4

pool = asyncio.Semaphore(10)
begun: list[float] = []


def _busy(seconds: float) -> None:
    ends = time.thread_time() + seconds
    while time.thread_time() < ends:
        pass


def _pause() -> None:
    _busy(PAUSE)


async def _beginning() -> float:
    """Seconds since the first request; the first ones are slow."""
    if not begun:
        loop = asyncio.get_running_loop()
        for when in PAUSES:
            loop.call_later(when, _pause)
    begun.append(time.monotonic())
    if len(begun) < COLD:
        await asyncio.sleep(COLD_FOR)  # noqa: TID251  (connections are made, templates compiled)
    return time.monotonic() - begun[0]


def _takes(work: Callable[[float, int], Awaitable[None]]) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        await work(await _beginning(), int(request.path_params["number"]))
        return JSONResponse({"path": request.url.path})

    return endpoint


async def _quick(_now: float, _number: int) -> None:
    await asyncio.sleep(0.001)  # noqa: TID251  (a cache)


async def _dependency(now: float, _number: int) -> None:
    await asyncio.sleep(0.05 * (SLOWER if FROM < now < UNTIL else 1))  # noqa: TID251  (another service)


async def _pooled(_now: float, _number: int) -> None:
    async with pool:
        await asyncio.sleep(0.05)  # noqa: TID251  (a query)


async def _mixed(_now: float, number: int) -> None:
    await asyncio.sleep(1.0 + number % 10 / 10 if number % 4 == 0 else 0.01)  # noqa: TID251  (it depends)


async def _poll(_now: float, _number: int) -> None:
    await asyncio.sleep(8.0)  # noqa: TID251  (nothing has happened)


def sync(request: Request) -> Response:
    """Starlette runs it in a thread."""
    _busy(0.002)
    time.sleep(0.01)  # noqa: TID251  (a driver that blocks)
    return JSONResponse({"path": request.url.path})


async def events(_request: Request) -> Response:
    """For ever."""

    async def pieces() -> AsyncIterator[str]:
        while True:
            yield "data: 1\n\n"
            await asyncio.sleep(0.5)  # noqa: TID251  (there is not more to tell)

    return StreamingResponse(pieces(), media_type="text/event-stream")


async def alive(_request: Request) -> Response:
    """For the wait for the server."""
    return JSONResponse({})


guarded = handrail.protect(
    Starlette(
        routes=[
            Route("/alive", alive),
            Route("/events", events),
            Route("/quick/{number}", _takes(_quick)),
            Route("/dependency/{number}", _takes(_dependency)),
            Route("/pooled/{number}", _takes(_pooled)),
            Route("/mixed/{number}", _takes(_mixed)),
            Route("/poll/{number}", _takes(_poll)),
            Route("/sync/{number}", sync),
        ]
    )
)
