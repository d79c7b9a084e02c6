"""At the deadline each framework's request ends cleanly; its client has a 504 where the work would go on for ever."""

import asyncio
import contextlib
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from typing import Any

import fastapi
import litestar
import quart
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from handrail.resilience.inbound.shield import shield
from handrail.resilience.testing import FakeClock, run, sleep
from tests.resilience_inbound.deadline_service import Asked, ask


class Work:
    """Waits for ever, and notes how it is ended."""

    def __init__(self) -> None:
        self.noted: list[str] = []

    async def __call__(self) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            self.noted.append("cancelled")
            raise
        finally:
            await asyncio.to_thread(int)  # a clean-up that takes its time
            self.noted.append("cleaned")


def ended(app: Any, work: Work, noted: tuple[str, ...] = ("cancelled", "cleaned")) -> Asked:
    """Ask, and check how it ended."""
    asked = asyncio.run(ask(app))
    assert tuple(work.noted) == noted
    assert (asked.statuses, asked.problem["policy"]) == ([504], "deadline")
    assert asked.left == []
    return asked


class Passing(BaseHTTPMiddleware):
    """A layer that runs the rest in a task of its own."""

    async def dispatch(self, request: Any, call_next: Any) -> Any:
        return await call_next(request)


def test_starlette() -> None:
    """Its endpoints run in the request's own task."""
    work = Work()

    async def endpoint(_request: Any) -> Any:
        await work()

    ended(Starlette(routes=[Route("/", endpoint)]), work)


def test_starlette_within_base_http_middleware() -> None:
    """Its task group is anyio's, in which a clean-up that waits is cancelled again: what must be done is shielded."""
    work, done = Work(), asyncio.Event()

    async def note() -> None:
        await asyncio.to_thread(int)
        done.set()

    async def endpoint(_request: Any) -> Any:
        try:
            await work()
        finally:
            await shield(note())

    async def main() -> Asked:
        asked = await ask(Starlette(routes=[Route("/", endpoint)], middleware=[Middleware(Passing)] * 2))
        await done.wait()
        return asked

    assert asyncio.run(main()).statuses == [504]
    assert work.noted == ["cancelled"]


def test_fastapi_dependencies_are_left() -> None:
    """What `yield` opened is closed."""
    work, noted = Work(), []
    app = fastapi.FastAPI()

    async def session() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            noted.append("closed")

    @app.get("/")
    async def endpoint(_value: int = fastapi.Depends(session)) -> None:
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(noted.append, "left")
            await work()

    ended(app, work)
    assert noted == ["left", "closed"]


def test_a_task_group() -> None:
    """Structured work ends with the request."""
    work = Work()

    async def endpoint(_request: Any) -> Any:
        async with asyncio.TaskGroup() as group:
            group.create_task(work())

    ended(Starlette(routes=[Route("/", endpoint)]), work)


def test_litestar() -> None:
    """Its handlers run in the request's own task."""
    work = Work()

    @litestar.get("/")
    async def endpoint() -> None:
        await work()

    ended(litestar.Litestar([endpoint], logging_config=None), work)


def test_quart() -> None:
    """It runs the handler in a task of its own, which it ends when it hears that the client has left."""
    work = Work()
    app = quart.Quart("shop")

    @app.route("/")
    async def endpoint() -> str:
        await work()
        return ""

    ended(app, work)


def test_a_sync_endpoint() -> None:
    """The thread goes on to its end, and the client does not wait for it."""
    going, noted = threading.Event(), []

    def endpoint(_request: Any) -> Any:
        going.wait()
        noted.append("done")
        return PlainTextResponse("well")

    async def main() -> Asked:
        asked = await ask(Starlette(routes=[Route("/", endpoint)]))
        assert noted == []
        going.set()
        return asked

    asked = asyncio.run(main())  # which waits for the threads of its pool
    assert asked.statuses == [504]


def test_an_app_that_heeds_no_hint() -> None:
    """A side task that waits for the client's leaving, and does nothing about it: answered in time, cancelled later."""
    clock, asked = FakeClock(), Asked()

    async def app(_scope: Any, receive: Any, _send: Any) -> None:
        await receive()
        beside = asyncio.create_task(receive())
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            noted.append((await beside)["type"])
            noted.append(f"{clock.now():.2f}")

    async def main() -> None:
        asking = asyncio.create_task(ask(app, "/", asked, clock))
        await asked.answered.wait()
        noted.append(f"{clock.now():.2f}")
        await asking

    noted: list[str] = []
    run(main(), clock)
    assert noted == ["1000.65", "http.disconnect", "1005.15"]
    assert (asked.statuses, asked.left) == ([504], [])


def test_an_app_that_takes_its_time_to_end() -> None:
    """Cancelled once, it cleans up for as long as it likes; the answer goes out before, and what the app says after."""
    clock, asked = FakeClock(), Asked()

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        try:
            await sleep(60)
        finally:
            await sleep(30)
            noted.append(f"{clock.now():.2f}")
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"nobody hears it"})

    async def main() -> None:
        asking = asyncio.create_task(ask(app, "/", asked, clock))
        await asked.answered.wait()
        noted.append(f"{clock.now():.2f}")
        await asking

    noted: list[str] = []
    run(main(), clock)
    assert noted == ["1000.65", "1030.15"]
    assert (asked.statuses, asked.problem["policy"]) == ([504], "deadline")


def test_an_app_that_answers_the_hint() -> None:
    """Its answer is sent."""

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        assert (await asyncio.create_task(receive()))["type"] == "http.disconnect"
        await send({"type": "http.response.start", "status": 499, "headers": []})
        await send({"type": "http.response.body", "body": b"mine"})

    asked = asyncio.run(ask(app))
    assert (asked.statuses, asked.body) == ([499], b"mine")


def test_django() -> None:
    """In a process of its own, since Django has one configuration."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-m", "tests.resilience_inbound.deadline_django"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("well\n", 0), done.stderr
    assert "never" not in done.stderr, done.stderr
