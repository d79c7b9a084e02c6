"""Probes of protected apps: each framework's own route wins, and readiness knows what the process depends on."""

import asyncio
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry.trace import SpanKind
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from handrail import _drain, _wire, protect
from handrail.tracing.testing import Spans
from tests.wiring.asgi_drive import lifespan, request

OURS = {"status": "pass"}
PAYMENT = "http://payment:8003"


async def own(_request: Any = None) -> Any:
    return PlainTextResponse("own")


def starlette(path: str) -> Any:
    return Starlette(routes=[Route(path, own)])


def mounted(path: str) -> Any:
    return Starlette(routes=[Mount("/", app=Starlette(routes=[Route(path, own)]))])


def fastapi(path: str) -> Any:
    app = FastAPI()
    app.get(path, response_class=PlainTextResponse)(lambda: "own")
    return app


def litestar(path: str) -> Any:
    from litestar import Litestar, get

    @get(path, media_type="text/plain", sync_to_thread=False)
    def answer() -> str:
        return "own"

    return Litestar([answer])


def quart(path: str) -> Any:
    from quart import Quart

    app = Quart("probed")

    @app.get(path)
    async def answer() -> str:
        return "own"

    return app


def plain(path: str) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        status, body = (200, b"own") if scope["path"] == path else (404, b"")
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": body})

    return app


@pytest.fixture(params=[starlette, mounted, fastapi, litestar, quart, plain], ids=lambda make: make.__name__)
def make(request: pytest.FixtureRequest) -> Callable[[str], Any]:
    found: Callable[[str], Any] = request.param
    return found


def probe(app: Any, path: str = "/readyz", **scope: Any) -> tuple[int, Any]:
    status, body = request(app, path, **scope)
    try:
        return status, json.loads(body)
    except ValueError:
        return status, body


def test_the_route_of_the_app_wins(spans: Spans, make: Callable[[str], Any]) -> None:
    """Its answer comes through, twice; the other probe, which it has not, is ours."""
    app = protect(make("/readyz"))
    assert [probe(app), probe(app)] == [(200, b"own")] * 2
    assert [probe(app, "/livez"), probe(app, "/livez")] == [(200, OURS)] * 2


def test_a_catch_all_does_not_hide_them(spans: Spans) -> None:
    """The page of a single-page app is no health route, in whichever form it takes all paths."""
    for app in (
        Starlette(routes=[Route("/{path:path}", own)]),
        Starlette(routes=[Mount("/", app=plain("/readyz"))]),
        Starlette(routes=[Route("/{shop}", own)]),
    ):
        protected = protect(app)
        assert [probe(protected), probe(protected)] == [(200, OURS)] * 2


def test_an_answer_from_middleware_is_the_apps(spans: Spans) -> None:
    """A health middleware stands in no route table; one that asks for a login before all routes is no answer."""

    class Health:
        def __init__(self, app: Any, path: str, status: int) -> None:
            self.app, self.path, self.status = app, path, status

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http" and scope["path"].startswith(self.path):
                await PlainTextResponse("middleware", self.status)(scope, receive, send)
            else:
                await self.app(scope, receive, send)

    answering = protect(Starlette(middleware=[Middleware(Health, path="/readyz", status=200)]))
    assert probe(answering) == (200, b"middleware")
    refusing = protect(Starlette(middleware=[Middleware(Health, path="/", status=401)]))
    assert probe(refusing) == (200, OURS)


def test_probes_make_no_span_whatever_they_are_called(spans: Spans) -> None:
    """Neither under their own names nor under others; all else does."""
    app = protect(starlette("/orders"), live_path="/internal/alive")
    assert probe(app, "/internal/alive") == (200, OURS)
    assert probe(app)[0] == 200
    assert probe(app, "/orders")[0] == 200
    assert [span.name for span in spans.of_kind(SpanKind.SERVER)] == ["GET /orders"]


def test_they_can_be_off(spans: Spans) -> None:
    """Then the path is the app's as every other."""
    app = protect(starlette("/orders"), live_path="off", ready_path="off")
    assert probe(app)[0] == probe(app, "/livez")[0] == 404


def test_a_deadline_that_has_passed_does_not_concern_them(spans: Spans) -> None:
    """Nor does garbage in its header: the probe is answered before anybody reads that."""
    app = protect(starlette("/orders"))
    for value in (b"0", b"garbage"):
        headers = [(b"host", b"test"), (b"x-envoy-expected-rq-timeout-ms", value)]
        assert probe(app, headers=headers) == (200, OURS)


def test_a_service_that_is_full_is_alive_and_ready(spans: Spans) -> None:
    """The probe waits in no queue: while the only place is taken, and another request is refused."""

    async def main() -> None:
        held, go = asyncio.Event(), asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            held.set()
            await go.wait()
            await plain("/orders")(scope, receive, send)

        service: Any = protect(Starlette(routes=[Mount("/orders", app=app)]), load_max=1, load_queue=0)
        transport = httpx.ASGITransport(service)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            first = asyncio.create_task(client.get("/orders/"))
            await held.wait()
            assert (await client.get("/orders/")).status_code == 503
            assert (await client.get("/livez")).json() == (await client.get("/readyz")).json() == OURS
            go.set()
            await first

    asyncio.run(main())


def test_it_is_ready_when_its_startup_has_ended(spans: Spans) -> None:
    """503 meanwhile; 200 before any lifespan, since some servers have none."""
    during: list[object] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            during.append((await asyncio.to_thread(probe, service))[0])
            await send({"type": "lifespan.startup.complete"})
            during.append((await asyncio.to_thread(probe, service))[0])
            await receive()
            during.append(_drain.DRAIN.draining())
            await send({"type": "lifespan.shutdown.complete"})
        else:
            await plain("/orders")(scope, receive, send)

    service = protect(app)
    assert probe(service)[0] == 200
    lifespan(service)
    assert during == [503, 200, True]


def test_one_of_two_apps_of_a_loop_ends(spans: Spans) -> None:
    """The other one goes on, and is ready, when the first is over."""
    ready: list[int] = []

    other = protect(starlette("/orders"))

    async def one(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def main() -> None:
        told = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

        async def receive() -> Any:
            return told.pop(0)

        async def send(_message: Any) -> None:
            await ask()

        async def ask() -> None:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(other), base_url="http://service") as client:
                ready.append((await client.get("/readyz")).status_code)

        await protect(one)({"type": "lifespan", "asgi": {"version": "3.0"}}, receive, send)
        await ask()

    asyncio.run(main())
    assert ready == [200, 503, 200]


def test_an_open_breaker_of_what_it_requires(spans: Spans) -> None:
    """503 while it refuses, 200 when it is due for a probe, with the reason for those who ask."""
    app = protect(starlette("/orders"), ready_requires=(f"{PAYMENT}/",))
    assert probe(app)[0] == 200  # never called
    process = _wire.current()
    assert process is not None
    breaker = process.registry.pipeline("http", "payment", 8003).breaker
    breaker.force_open(1000, "shared")
    status, told = probe(app, query_string=b"verbose")
    assert (status, told["status"]) == (503, "fail")
    assert "its breaker is open for" in told["checks"][f"{PAYMENT}/"][0]["output"]
    assert probe(app, "/livez") == (200, OURS)
    breaker.close()
    assert probe(app)[0] == 200
    breaker.force_open(0, "shared")
    assert probe(app) == (200, {"status": "warn"})
    breaker.isolate()
    assert "until it is closed by hand" in str(probe(app, query_string=b"verbose"))


def test_the_store_of_answers(spans: Spans, tmp_path: Any) -> None:
    """503 while it is not there; it is looked for by the question itself, since no request may have come."""
    app = protect(
        starlette("/orders"), ready_requires=("answers",), idempotency_store=f"sqlite:///{tmp_path}/sub/a.sqlite"
    )
    process = _wire.current()
    assert process is not None
    assert process.courier is not None
    ends, pause = time.monotonic() + 60, threading.Event()
    while probe(app)[0] != 200:
        assert time.monotonic() < ends, "never found"
        pause.wait(0.01)
    process.courier._rounds.away = "no such file"
    status, told = probe(app, query_string=b"verbose")
    assert status == 503
    assert told["checks"]["answers"][0]["componentType"] == "datastore"


def test_stores_that_are_not_used_are_no_reason(spans: Spans) -> None:
    """A service that keeps no answers and shares nothing is ready without either."""
    app = protect(starlette("/orders"), ready_requires=("answers", "breakers"), idempotency_store="off")
    status, told = probe(app, query_string=b"verbose")
    assert (status, told["status"]) == (200, "pass")


def test_the_store_of_the_shared_state(spans: Spans, monkeypatch: pytest.MonkeyPatch) -> None:
    """503 while it is away."""
    from handrail import _shared

    class Away:
        away = True

    app = protect(starlette("/orders"), ready_requires=("breakers",))
    monkeypatch.setattr(_shared, "_running", Away())
    assert probe(app)[0] == 503
    monkeypatch.setattr(Away, "away", False)
    assert probe(app)[0] == 200


def test_switched_off_the_servers_are_as_they_were(spans: Spans) -> None:
    """The one method of uvicorn is given back."""
    import uvicorn.server

    before = uvicorn.server.Server.shutdown
    protect(starlette("/orders"))
    assert uvicorn.server.Server.shutdown is not before
    _wire.switch_off()
    assert uvicorn.server.Server.shutdown is before


def test_who_asks_decides_about_the_wait(spans: Spans, monkeypatch: pytest.MonkeyPatch) -> None:
    """None before anybody asked, `drain_wait` after, and none again ten minutes later."""
    now = [1000.0]
    monkeypatch.setattr(_drain, "_now", lambda: now[0])
    monkeypatch.setattr(_drain, "_asked_at", None)
    protect(starlette("/readyz"), drain_wait=7)
    process = _wire.current()
    assert process is not None
    settings = process.settings
    assert _drain.waiting(settings) == 0
    _drain.asked(settings.state)
    now[0] += 599
    assert _drain.waiting(settings) == 7
    now[0] += 2
    assert _drain.waiting(settings) == 0
