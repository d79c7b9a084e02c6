"""The faults that the demo switches on, without a server."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from examples.order_service.faults import Faults, Line

Sent = list[dict[str, object]]


def make(effects: list[str]) -> Starlette:
    async def act(request: Request) -> JSONResponse:
        effects.append(request.url.path)
        return JSONResponse({"done": "x" * 100})

    routes = [Route(path, act, methods=["GET", "POST"]) for path in ("/charges", "/other", "/healthz")]
    return Starlette(routes=routes, middleware=[Middleware(Faults)])


async def call(app: ASGIApp, *paths: str, **plan: object) -> AsyncIterator[httpx.Response]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        (await client.put("/_faults", json=plan)).raise_for_status()
        for path in paths:
            yield await client.post(path)


def statuses(app: Starlette, *paths: str, **plan: object) -> list[int]:
    async def run() -> list[int]:
        return [response.status_code async for response in call(app, *paths, **plan)]

    return asyncio.run(run())


def test_every_third_call_fails_before_its_effect() -> None:
    """error_every=3 is exact and comes before the effect."""
    effects: list[str] = []
    assert statuses(make(effects), *["/charges"] * 7, error_every=3) == [200, 200, 503, 200, 200, 503, 200]
    assert len(effects) == 5


def test_the_health_check_and_other_paths_are_spared() -> None:
    """Faults are bounded to the paths that are named; health goes on in any case."""
    effects: list[str] = []
    plan = {"error_every": 1, "paths": ["/charges"]}
    assert statuses(make(effects), "/healthz", "/other", "/charges", **plan) == [200, 200, 503]
    assert statuses(make(effects), "/healthz", "/other", error_every=1) == [200, 503]


def test_an_empty_plan_heals() -> None:
    """PUT replaces the whole plan."""
    app = make([])
    assert statuses(app, "/charges", error_every=1) == [503]
    assert statuses(app, "/charges") == [200]


def test_an_unknown_fault_is_refused() -> None:
    """A misspelt fault is named, and nothing changes."""
    with pytest.raises(httpx.HTTPStatusError, match="422"):
        statuses(make([]), "/charges", eror_every=1)


async def raw(app: ASGIApp, plan: dict[str, object], sent: Sent, *, leaves: asyncio.Event) -> None:
    async for _ in call(app, **plan):
        pass

    async def receive() -> dict[str, object]:
        if not asked:
            asked.append(True)
            return {"type": "http.request", "body": b"", "more_body": False}
        await leaves.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    asked: list[bool] = []
    scope = {"type": "http", "method": "POST", "path": "/charges", "headers": [], "query_string": b""}
    await app(scope, receive, send)  # type: ignore[arg-type]  # dict messages are what ASGI says


def test_a_reset_comes_after_the_effect_and_in_the_middle_of_the_body() -> None:
    """The headers promise the whole body, half of it leaves, then the line breaks off."""
    effects: list[str] = []
    sent: Sent = []

    async def run() -> None:
        with pytest.raises(ConnectionResetError):
            await raw(Line(make(effects)), {"reset_every": 1}, sent, leaves=asyncio.Event())

    asyncio.run(run())
    start, half = sent
    promised = int(dict(start["headers"])[b"content-length"])  # type: ignore[call-overload]  # ASGI's pairs
    assert effects == ["/charges"]
    assert len(half["body"]) == promised // 2  # type: ignore[arg-type]  # bytes
    assert half["more_body"] is True


def test_a_hanging_call_ends_when_its_caller_leaves() -> None:
    """No answer and no effect, and nothing is left running."""
    effects: list[str] = []
    sent: Sent = []

    async def run() -> None:
        leaves = asyncio.Event()
        hanging = asyncio.create_task(raw(make(effects), {"hang_every": 1}, sent, leaves=leaves))
        await asyncio.wait([hanging], timeout=0.05)
        assert not hanging.done()
        leaves.set()
        await hanging

    asyncio.run(run())
    assert (effects, sent) == ([], [])
