"""A request in process: the bare app, contrib's middleware at its best setting, Starlette's own, protect."""

from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import nullcontext
from typing import Any

from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware as ContribMiddleware
from starlette.applications import Starlette
from starlette.middleware.opentelemetry import OpenTelemetryMiddleware as StarletteMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from handrail import protect

from .measure import Variant

__all__ = ["BASE", "MINE", "PEERS", "variants"]

BASE = "bare Starlette app"
CONTRIB = "contrib ASGI, receive/send spans off"
OWN = "Starlette's own middleware"
MINE = "handrail.protect"
PEERS = (CONTRIB, OWN)

App = Callable[[MutableMapping[str, Any], Any, Any], Awaitable[None]]

HEADERS = [
    (b"host", b"orders.example.test:8000"),
    (b"user-agent", b"python-httpx/0.28.1"),
    (b"accept", b"*/*"),
    (b"accept-encoding", b"gzip, deflate"),
    (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
]


async def _item(request: Request) -> JSONResponse:
    return JSONResponse({"id": request.path_params["item"]})


def _app() -> Starlette:
    return Starlette(routes=[Mount("/v1", routes=[Route("/items/{item}", _item)])])


async def _receive() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _send(message: MutableMapping[str, Any]) -> None:
    pass


def _requests(app: App) -> Callable[[], Awaitable[None]]:
    async def one() -> None:
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": "/v1/items/42",
            "raw_path": b"/v1/items/42",
            "query_string": b"",
            "root_path": "",
            "headers": list(HEADERS),
            "client": ("127.0.0.1", 51234),
            "server": ("127.0.0.1", 8000),
            "state": {},
        }
        await app(scope, _receive, _send)

    return one


def variants() -> list[Variant]:
    """All on one provider, set before."""
    apps: dict[str, App] = {
        BASE: _app(),
        CONTRIB: ContribMiddleware(_app(), exclude_spans=["receive", "send"]),
        OWN: StarletteMiddleware(_app()),
        MINE: protect(_app()),
    }
    return [Variant(name, _requests(app), nullcontext) for name, app in apps.items()]
