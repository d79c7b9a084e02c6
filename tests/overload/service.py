"""A service that has a limit of its own and knows nothing of it, as most services are. `OVERLOAD_KIND` says which one.

`pool`: each request holds one of `OVERLOAD_SLOTS` for `OVERLOAD_HOLD` seconds, as a pool of database connections does.
`cpu`: each request keeps the event loop busy for `OVERLOAD_HOLD` seconds, as a template or a large JSON does.
"""

import asyncio
import os
import time

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

import handrail

KIND = os.environ["OVERLOAD_KIND"]
SLOTS = int(os.environ["OVERLOAD_SLOTS"])
HOLD = float(os.environ["OVERLOAD_HOLD"])

pool = asyncio.Semaphore(SLOTS)


async def work(request: Request) -> JSONResponse:
    """What every route does."""
    if KIND == "pool":
        async with pool:
            await asyncio.sleep(HOLD)  # noqa: TID251  (a query)
    else:
        ends = time.perf_counter() + HOLD
        while time.perf_counter() < ends:
            pass
    return JSONResponse({"path": request.url.path})


async def alive(request: Request) -> JSONResponse:
    """For the wait for the server."""
    return JSONResponse({})


ROUTES = [
    Route("/alive", alive),
    Route("/checkout/{number}", work),
    Route("/reports/{number}", work),
    Route("/items/{number}", work),
]

plain = Starlette(routes=ROUTES)
guarded = handrail.protect(Starlette(routes=ROUTES))
