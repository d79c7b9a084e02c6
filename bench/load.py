"""What every contender gets: requests as a service sees them, and the applications that answer them.

No two requests of one run are alike in trace, path, query and port, so that nobody's cache can answer for the work.
"""

import itertools
from collections.abc import Awaitable, Callable, Coroutine, Iterator, MutableMapping
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

__all__ = ["ASGIApp", "plain_app", "requests", "routed_app"]

Message = MutableMapping[str, Any]
ASGIApp = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]

DISTINCT = 4001
"""Prime, and more than any cache in the field holds (256 for the largest that we know)."""

AGENTS = (
    b"python-httpx/0.28.1",
    b"curl/8.9.1",
    b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
)


def _headers(number: int, *, continued: bool) -> list[tuple[bytes, bytes]]:
    trace = b"00-%032x-%016x-01" % (
        0xAF7651916CD43DD8448EB211C80319C + number * 0x9E3779B97F4A7C15,
        0xB7AD6B71 + number,
    )
    return [
        (b"host", b"orders.example.test:8000"),
        (b"user-agent", AGENTS[number % len(AGENTS)]),
        (b"accept", b"application/json"),
        (b"accept-encoding", b"gzip, deflate, br"),
        (b"accept-language", b"en"),
        (b"connection", b"keep-alive"),
        (b"authorization", b"Bearer not-a-token"),
        (b"cookie", b"theme=dark"),
        (b"x-request-id", b"%032x" % number),
        (b"traceparent", trace) if continued else (b"cache-control", b"no-cache"),
    ]


def _scopes(*, continued: bool) -> Iterator[dict[str, Any]]:
    prepared = []
    for number in range(DISTINCT):
        path = f"/items/{number}"
        prepared.append(
            {
                "type": "http",
                "asgi": {"version": "3.0", "spec_version": "2.4"},
                "http_version": "1.1",
                "method": "GET",
                "scheme": "http",
                "path": path,
                "raw_path": path.encode(),
                "query_string": b"page=%d&fields=name,price" % number,
                "root_path": "",
                "headers": _headers(number, continued=continued),
                "client": (f"10.0.{number % 7}.{number % 11}", 32768 + number),
                "server": ("10.0.0.1", 8000),
            }
        )
    return itertools.cycle(prepared)


async def _receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _send(message: Message) -> None:
    pass


def requests(app: ASGIApp, *, continued: bool = True) -> Callable[[], Coroutine[object, object, None]]:
    """One request in process at each call; `continued` ones carry a sampled traceparent, others start a trace."""
    scopes = _scopes(continued=continued)

    async def one() -> None:
        scope = dict(next(scopes))
        scope["state"] = {}
        await app(scope, _receive, _send)

    return one


async def _item(request: Request) -> JSONResponse:
    return JSONResponse({"id": request.path_params["id"]})


def routed_app() -> Starlette:
    """Starlette with the route that the requests are for."""
    return Starlette(routes=[Route("/items/{id}", _item)])


async def plain_app(_scope: Message, _receive: object, send: Callable[[Message], Awaitable[None]]) -> None:
    """An ASGI application without a framework, and so without a route."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": b'{"id":"42"}', "more_body": False})
