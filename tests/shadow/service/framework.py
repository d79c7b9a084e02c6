"""The same with a framework."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from work import answer


async def orders(request: Request) -> JSONResponse:
    return JSONResponse(await answer())


def build() -> Starlette:
    return Starlette(routes=[Route("/orders/{number}", orders)])
