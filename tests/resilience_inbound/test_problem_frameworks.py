"""Frameworks that send their own 500 before anybody outside hears of the error; their handlers always win."""

import asyncio
import logging
import subprocess
import sys
from typing import Any

import fastapi
import httpx
import litestar
import pytest
import quart
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route

from handrail.resilience import errors
from handrail.resilience.inbound.problem import ProblemDetails

TRACE = "0af7651916cd43dd8448eb211c80319c"


def refused():
    return errors.CircuitOpen("circuit open", target="http://inventory", retry_after=1.5)


async def fails(request):
    raise refused()


async def has_a_bug(request):
    raise ValueError("a bug")


def get(app, path="/", *, raising=True, **headers):
    async def main():
        # An error that the middleware lets through reaches us, as it would reach the server.
        layer = ProblemDetails(app, trace_id=lambda: TRACE)
        transport = httpx.ASGITransport(layer, raise_app_exceptions=raising)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get(path, headers=headers)

    return asyncio.run(main())


def is_problem(response):
    document = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["retry-after"] == "2"
    assert int(response.headers["content-length"]) == len(response.content)
    return response.status_code == document["status"] == 503 and document["trace_id"] == TRACE


class Passing(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next):
        return await call_next(request)


def test_starlette():
    """The 500 of ServerErrorMiddleware is replaced and the error that it raises again ends here."""
    assert is_problem(get(Starlette(routes=[Route("/", fails)])))


def test_starlette_mounted():
    """An app mounted in another one has the same last resort."""
    inner = Starlette(routes=[Route("/", fails)])
    assert is_problem(get(Starlette(routes=[Mount("/in", inner)]), "/in/"))


def test_starlette_through_base_http_middleware():
    """Also where the error passes the task group of BaseHTTPMiddleware, once or twice."""
    app = Starlette(routes=[Route("/", fails)], middleware=[Middleware(Passing), Middleware(Passing)])
    assert is_problem(get(app))


def test_starlette_sync_endpoint():
    """Also where the endpoint ran on a thread."""

    def on_a_thread(request):
        raise refused()

    assert is_problem(get(Starlette(routes=[Route("/", on_a_thread)])))


def test_a_bug_stays_a_500_and_is_raised():
    """What is not about a dependency still reaches the server's log; its 500 is a problem without a word of the bug."""
    app = Starlette(routes=[Route("/", has_a_bug)])
    with pytest.raises(ValueError, match="a bug"):
        get(app)
    assert is_failed(get(app, raising=False))


def test_one_line_of_log(caplog):
    """The server is spared the traceback; one WARNING line says what happened."""
    with caplog.at_level(logging.WARNING):
        get(Starlette(routes=[Route("/", fails)]))
    assert [record.getMessage() for record in caplog.records] == ["GET / answered 503: circuit open"]


@pytest.mark.parametrize("key", [Exception, 500])
def test_app_handler_for_everything_wins(key):
    """A handler for Exception or 500 answers; Starlette then raises the error again, as it always does."""

    async def mine(request, error):
        return PlainTextResponse("mine", status_code=500)

    sent = []

    async def main():
        app = ProblemDetails(
            Starlette(routes=[Route("/", fails)], exception_handlers={key: mine}), trace_id=lambda: TRACE
        )

        async def receive():
            return {"type": "http.request"}

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b"", "root_path": ""}
        with pytest.raises(errors.CircuitOpen):
            await app(scope, receive, send)

    asyncio.run(main())
    assert [message.get("body") for message in sent] == [None, b"mine"]


@pytest.mark.parametrize("kind", [errors.CircuitOpen, errors.Rejected, errors.HandrailError])
def test_app_handler_for_our_errors_wins(kind):
    """A handler for one of our classes is the app's decision."""

    async def mine(request, error):
        return PlainTextResponse("mine", status_code=418)

    response = get(Starlette(routes=[Route("/", fails)], exception_handlers={kind: mine}))
    assert (response.status_code, response.text) == (418, "mine")


def test_debug_page_wins():
    """In debug mode the traceback page is what the developer asked for."""
    with pytest.raises(errors.CircuitOpen):
        get(Starlette(routes=[Route("/", fails)], debug=True))


def test_own_error_page_wins():
    """A subclass with a 500 page of its own keeps it."""

    class Mine(ServerErrorMiddleware):
        def error_response(self, request, exc):
            return PlainTextResponse("mine", status_code=500)

    class App(Starlette):
        def build_middleware_stack(self):
            stack: Any = super().build_middleware_stack()
            return Mine(stack.app)

    with pytest.raises(errors.CircuitOpen):
        get(App(routes=[Route("/", fails)]))


def test_500_of_the_app_itself_is_not_replaced():
    """A 500 that the app sends while it handles one of our errors is its answer."""

    async def handles(request):
        try:
            raise refused()
        except errors.CircuitOpen:
            return PlainTextResponse("handled", status_code=500)

    async def app(scope, receive, send):
        try:
            raise refused()
        except errors.CircuitOpen:
            await PlainTextResponse("mine", status_code=500)(scope, receive, send)

    assert get(Starlette(routes=[Route("/", handles)])).text == "handled"
    assert get(app).text == "mine"


def test_begun_stream_is_cut_not_answered():
    """An error within a streamed body goes up."""

    async def body():
        yield b"begun"
        raise refused()

    async def streams(request):
        return StreamingResponse(body())

    with pytest.raises(errors.CircuitOpen):
        get(Starlette(routes=[Route("/", streams)]))


def test_headers_of_outer_layers_are_kept():
    """What CORS around the app put on the 500 is on the problem too, so that a browser may read it."""
    app = CORSMiddleware(Starlette(routes=[Route("/", fails)]), allow_origins=["*"])
    response = get(app, origin="http://shop.test")
    assert is_problem(response)
    assert response.headers["access-control-allow-origin"] == "*"


def test_compression_around_the_app():
    """A layer that compresses the 500 does not leave its content-encoding on the problem."""
    response = get(GZipMiddleware(Starlette(routes=[Route("/", fails)]), minimum_size=1))
    assert is_problem(response)
    assert "content-encoding" not in response.headers


def test_fastapi():
    """FastAPI, from the endpoint and from a dependency with yield."""
    app = fastapi.FastAPI()

    async def dependency():
        yield 1

    @app.get("/")
    async def endpoint(value: int = fastapi.Depends(dependency)):
        raise refused()

    assert is_problem(get(app))


def test_fastapi_group():
    """Two calls in a TaskGroup, both refused."""
    app = fastapi.FastAPI()

    async def one():
        raise refused()

    @app.get("/")
    async def endpoint():
        async with asyncio.TaskGroup() as group:
            group.create_task(one())
            group.create_task(one())

    assert is_problem(get(app))


def test_fastapi_handler_for_httpx_errors_wins():
    """A handler for httpx.HTTPError written before handrail came answers for our errors too."""
    from handrail.resilience.outbound._httpx_library import Library

    app = fastapi.FastAPI()

    @app.exception_handler(httpx.HTTPError)
    async def mine(request, error):
        return PlainTextResponse("mine", status_code=502)

    @app.exception_handler(errors.HandrailError)
    async def general(request, error):
        return PlainTextResponse("general", status_code=500)

    @app.get("/")
    async def endpoint():
        error = refused()
        Library(httpx).dress(error, httpx.Request("GET", "http://inventory"))
        raise error

    assert get(app).text == "mine"


@litestar.get("/")
async def litestar_fails() -> None:
    raise refused()


@litestar.get("/bug")
async def litestar_bug() -> None:
    raise ValueError("a bug")


def test_litestar():
    """Litestar's default 500 is replaced, for a dependency and for a bug."""
    app = litestar.Litestar([litestar_fails, litestar_bug], logging_config=None)
    assert is_problem(get(app))
    assert is_failed(get(app, "/bug"))


@pytest.mark.parametrize("key", [errors.Rejected, 500, Exception])
def test_litestar_handler_wins(key):
    """A handler on any layer, by class or for 500, is the app's decision."""

    def mine(request, error):
        return litestar.Response("mine", status_code=418)

    app = litestar.Litestar([litestar_fails], logging_config=None, exception_handlers={key: mine})
    assert get(app).status_code == 418


def test_litestar_debug_page_wins():
    """In debug mode Litestar's own page stays."""
    response = get(litestar.Litestar([litestar_fails], logging_config=None, debug=True))
    assert response.status_code == 500


def test_frameworks_that_are_not_there(monkeypatch):
    """Where neither framework was imported, nothing is imported to look for them, and a 500 passes."""
    for name in ("starlette.middleware.errors", "litestar.middleware._internal.exceptions.middleware"):
        monkeypatch.delitem(sys.modules, name, raising=False)  # litestar's comes with its first app

    async def app(scope, receive, send):
        try:
            raise refused()
        except errors.CircuitOpen:
            await PlainTextResponse("mine", status_code=500)(scope, receive, send)

    assert get(app).text == "mine"
    assert "starlette.middleware.errors" not in sys.modules


@pytest.mark.parametrize("seconds", [None, 60])
def test_quart(seconds: int | None) -> None:
    """Its bare 500 is replaced, for a dependency and for a bug, also where the answer is sent in a task of its own."""
    app = shop()
    app.config["RESPONSE_TIMEOUT"] = seconds
    assert is_problem(get(app))
    assert is_failed(get(app, "/bug"))


@pytest.mark.parametrize("key", [500, Exception, errors.HandrailError])
def test_quart_handler_wins(key: Any) -> None:
    """A handler for 500 or for the error is the app's decision, and so is a 500 that the app asks for."""
    app = shop()

    @app.route("/asked")
    async def asked() -> str:
        quart.abort(500)

    assert get(app, "/asked").text.startswith("<!doctype html>")

    @app.errorhandler(key)
    async def mine(error: Exception) -> tuple[str, int]:
        return "mine", 500

    assert get(app).text == "mine"


def test_quart_layer_of_the_app_wins() -> None:
    """What is sent in place of the bare page by a layer between is the app's answer."""
    app = shop()

    @app.after_request
    async def as_json(response: Any) -> Any:
        response.content_type = "application/json"
        return response

    response = get(app)
    assert (response.status_code, response.headers["content-type"]) == (500, "application/json")


def test_quart_debug_page_wins() -> None:
    """The page with the traceback is what the developer asked for."""
    app = shop()
    app.debug = True
    assert "CircuitOpen" in get(app).text


def shop() -> quart.Quart:
    app = quart.Quart("shop")
    app.logger.disabled = True

    @app.route("/")
    async def endpoint() -> str:
        raise refused()

    @app.route("/bug")
    async def bug() -> str:
        raise ValueError("a bug")

    return app


def is_failed(response: httpx.Response) -> bool:
    document = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    assert "a bug" not in response.text
    return response.status_code == 500 and document["trace_id"] == TRACE


def test_django() -> None:
    """Its bare 500 is replaced; its debug page, a page and a handler of the app's own stay."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.resilience_inbound.problem_django"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("well\n", 0), done.stderr
