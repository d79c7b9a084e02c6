"""Requests with a key in applications of the frameworks, as they are: acted on once, also where the client leaves."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import fastapi
import litestar
import pytest
import quart
from litestar.response import Stream
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from handrail.resilience import errors
from handrail.resilience.inbound.idempotency import drain, idempotency_key
from handrail.resilience.inbound.problem import ProblemDetails
from tests.resilience_inbound.idempotency_bench import Got, Service

SCOPE = {
    "asgi": {"version": "3.0", "spec_version": "2.3"},
    "http_version": "1.1",
    "scheme": "http",
    "server": ("127.0.0.1", 8000),
    "client": ("127.0.0.1", 40000),
    "raw_path": b"/pay",
}
LENGTH = (b"content-length", b"2")


class Till:
    """What the endpoints of all frameworks do: wait, act, answer."""

    def __init__(self) -> None:
        self.effects = 0
        self.after = 0
        self.keys: list[str | None] = []
        self.begun = asyncio.Event()
        self.going = asyncio.Event()

    async def charge(self) -> dict[str, int]:
        self.keys.append(idempotency_key())
        self.begun.set()
        await self.going.wait()
        self.effects += 1
        return {"charge": self.effects}

    async def parts(self) -> AsyncIterator[bytes]:
        yield b"{"
        await self.charge()
        yield b"}"

    def behind(self) -> None:
        self.after += 1


def on_starlette(till: Till) -> Any:
    async def pay(request: Request) -> Response:
        await request.json()
        return JSONResponse(await till.charge(), 201, background=BackgroundTask(till.behind))

    return Starlette(routes=[Route("/pay", pay, methods=["POST"])])


def on_starlette_streaming(till: Till) -> Any:
    async def pay(request: Request) -> Response:
        await request.body()
        return StreamingResponse(till.parts(), 201)

    return Starlette(routes=[Mount("/", routes=[Route("/pay", pay, methods=["POST"])])])


class Passing(BaseHTTPMiddleware):
    """Leaves everything as it is."""

    async def dispatch(self, request: Request, call_next: Any) -> Response:
        answer: Response = await call_next(request)
        return answer


def on_base_http_middleware(till: Till) -> Any:
    async def pay(request: Request) -> Response:
        await request.json()
        return JSONResponse(await till.charge(), 201)

    middleware = [Middleware(Passing), Middleware(Passing)]
    return Starlette(routes=[Route("/pay", pay, methods=["POST"])], middleware=middleware)


def on_fastapi(till: Till) -> Any:
    app = fastapi.FastAPI()

    @app.post("/pay", status_code=201)
    async def pay(body: dict[str, int]) -> dict[str, int]:
        return await till.charge()

    return app


def on_litestar(till: Till) -> Any:
    @litestar.post("/pay")
    async def pay(request: litestar.Request[Any, Any, Any]) -> dict[str, int]:
        await request.json()
        return await till.charge()

    return litestar.Litestar([pay], logging_config=None)


def on_litestar_streaming(till: Till) -> Any:
    @litestar.post("/pay")
    async def pay(request: litestar.Request[Any, Any, Any]) -> Stream:
        await request.json()
        return Stream(till.parts())

    return litestar.Litestar([pay], logging_config=None)


def on_quart(till: Till) -> Any:
    app = quart.Quart("till")

    @app.post("/pay")
    async def pay() -> tuple[dict[str, int], int]:
        await quart.request.get_json()
        return await till.charge(), 201

    return app


ALL = [
    on_starlette,
    on_starlette_streaming,
    on_base_http_middleware,
    on_fastapi,
    on_litestar,
    on_litestar_streaming,
    on_quart,
]


def posted(service: Service, **more: Any) -> Any:
    """One request, as a server hands it over."""
    scope = {**SCOPE, **more}
    return service.post('"k"', b"{}", (b"content-type", b"application/json"), LENGTH, **scope)


@pytest.mark.parametrize("make", ALL)
def test_a_request_sent_twice_acts_once(make: Any) -> None:
    """Answered in the framework's own way; the key is there in the endpoint; background tasks run once."""

    async def main() -> None:
        till = Till()
        till.going.set()
        service = Service(make(till))
        first, second = await posted(service), await posted(service)
        assert (first.status, second.status) == (201, 201)
        assert first.body == second.body
        assert (first.replayed, second.replayed) == (False, True)
        assert (till.effects, till.keys) == (1, ["k"])
        assert till.after == (make is on_starlette)

    asyncio.run(main())


@pytest.mark.parametrize("spec", ["2.3", "2.4"])
@pytest.mark.parametrize("make", ALL)
def test_a_client_that_leaves_ends_nothing(make: Any, spec: str) -> None:
    """Quart cancels its handler when the client leaves, Starlette and Litestar their streams: not in mid-payment."""

    async def main() -> None:
        till = Till()
        service = Service(make(till))
        gone = asyncio.Event()

        async def send(message: Any) -> None:
            if gone.is_set() and spec == "2.4":
                raise OSError("the client has left")

        asgi = {"version": "3.0", "spec_version": spec}
        task = asyncio.create_task(posted(service, left=gone, send=send, asgi=asgi))
        await till.begun.wait()
        gone.set()
        for _ in range(20):
            await asyncio.wait([asyncio.ensure_future(asyncio.to_thread(int))])
        till.going.set()
        await task
        got = await posted(service)
        assert (got.status, got.replayed, till.effects) == (201, True, 1)

    asyncio.run(main())


@pytest.mark.parametrize("make", ALL)
def test_a_server_that_cancels_ends_nothing(make: Any) -> None:
    """The same, where the server cancels the request."""

    async def main() -> None:
        till = Till()
        service = Service(make(till))
        task = asyncio.create_task(posted(service))
        await till.begun.wait()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        till.going.set()
        await drain(30.0)
        assert (await posted(service)).replayed
        assert till.effects == 1

    asyncio.run(main())


def test_a_failed_dependency() -> None:
    """Under problem details: the 500 of Starlette frees the key, and becomes the 503 that it is without this layer."""

    async def fails(request: Request) -> Response:
        raise errors.CircuitOpen("circuit open", target="http://inventory", retry_after=1.5)

    async def main() -> None:
        service = Service(Starlette(routes=[Route("/pay", fails, methods=["POST"])]))
        service.layer = ProblemDetails(service.layer, trace_id=lambda: None)  # type: ignore[assignment]
        got: Got = await posted(service)
        assert (got.status, got.problem) == (503, "circuit-breaker")
        assert service.states == []

    asyncio.run(main())


def test_the_route_is_seen_outside() -> None:
    """Outer layers read the route of the scope that they have made, after the call."""

    async def main() -> None:
        till = Till()
        till.going.set()
        service = Service(on_starlette(till))
        seen: list[Any] = []
        layer = service.layer

        async def outer(scope: Any, receive: Any, send: Any) -> None:
            await layer(scope, receive, send)
            seen.append(scope["endpoint"].__name__)

        service.layer = outer  # type: ignore[assignment]
        await posted(service, extensions={"http.response.pathsend": {}})
        assert seen == ["pay"]

    asyncio.run(main())


def test_django() -> None:
    """In a process of its own, since Django has one configuration: twice, and with a client that leaves."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.resilience_inbound.idempotency_django"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (done.stdout, done.returncode) == ("well\n", 0), done.stderr
