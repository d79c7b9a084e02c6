"""Every shape of application is taken in, and stays what it was."""

import copy
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fastapi import FastAPI
from litestar import Litestar, get
from opentelemetry.trace import SpanKind
from quart import Quart
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from handrail import protect
from handrail._shapes import Layered
from handrail.tracing.testing import Spans


def _drive() -> ModuleType:
    spec = importlib.util.spec_from_file_location("asgi_drive", Path(__file__).with_name("asgi_drive.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


drive = _drive()


async def _hello(_request: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


def _starlette() -> Starlette:
    return Starlette(routes=[Mount("/v1", routes=[Route("/items/{item}", _hello)])])


def test_a_framework_app_stays_the_same_object(spans: Spans) -> None:
    """protect() returns the very Starlette, FastAPI, Litestar or Quart object, so isinstance and its API hold."""
    for app in (_starlette(), FastAPI(), Litestar([]), Quart("quiet")):
        assert protect(app) is app


def test_starlette_gets_one_span_with_the_full_route(spans: Spans) -> None:
    """A mounted route is named by its whole template."""
    status, body = drive.request(protect(_starlette()), "/v1/items/7")
    assert (status, body) == (200, b"hello")
    assert spans.server.name == "GET /v1/items/{item}"


def test_fastapi_gets_one_server_span(spans: Spans) -> None:
    """FastAPI's own tracing and ours make one SERVER span together, not two."""
    app = FastAPI()

    @app.get("/things/{thing}")
    async def thing(thing: str) -> str:
        return thing

    protect(app)
    assert drive.request(app, "/things/3")[0] == 200
    assert spans.server.name == "GET /things/{thing}"


def test_litestar_and_quart_are_protected(spans: Spans) -> None:
    """Frameworks without Starlette below are protected in place as well."""

    @get("/l")
    async def listed() -> str:
        return "listed"

    assert drive.request(protect(Litestar([listed])), "/l")[0] == 200
    quart = Quart("kept")

    @quart.get("/q/<name>")
    async def named(name: str) -> str:
        return name

    assert drive.request(protect(quart), "/q/x")[0] == 200
    assert [span.kind for span in spans.finished] == [SpanKind.SERVER, SpanKind.SERVER]


async def _plain(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"plain"})


class _Callable:
    colour = "green"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await _plain(scope, receive, send)


class _PerRequest:
    """The class is the application; each request makes an awaitable instance."""

    def __init__(self, scope: Any, receive: Any, send: Any) -> None:
        self._arguments = (scope, receive, send)

    def __await__(self) -> Any:
        return _plain(*self._arguments).__await__()


@pytest.mark.parametrize("app", [_plain, _Callable(), _PerRequest], ids=["function", "instance", "class"])
def test_any_asgi_callable_is_protected(spans: Spans, app: Any) -> None:
    """A function, an object and a class that is instantiated per request are all applications."""
    assert drive.request(protect(app))[1] == b"plain"
    assert spans.server.name == "GET"


def test_attributes_of_a_wrapped_app_are_its_own(spans: Spans) -> None:
    """Reading and writing attributes goes through to the application."""
    inner = _Callable()
    app: Any = protect(inner)
    app.state = "set outside"
    assert app.colour == "green"
    assert vars(inner)["state"] == "set outside"


def test_twice_is_once(spans: Spans) -> None:
    """Protecting a protected app, or an app that mounts one, leaves one SERVER span."""
    sub = protect(Starlette(routes=[Route("/leaf", _hello)]))
    app = protect(protect(Starlette(routes=[Mount("/sub", app=sub)])))
    assert drive.request(app, "/sub/leaf")[0] == 200
    assert spans.server.name == "GET /sub/leaf"
    wrapped = protect(_plain)
    assert protect(wrapped) is wrapped


def test_a_factory_makes_protected_apps(spans: Spans) -> None:
    """Given a function without parameters, protect() answers with a factory of protected apps."""

    def make() -> Starlette:
        return _starlette()

    factory = protect(make)
    assert factory.__name__ == "make"
    assert drive.request(factory(), "/v1/items/1")[0] == 200
    assert spans.server.name == "GET /v1/items/{item}"


def test_a_rebuilt_middleware_stack_stays_protected(spans: Spans) -> None:
    """Throwing away the middleware stack and building it anew does not lose the protection."""
    app = protect(_starlette())
    drive.request(app, "/v1/items/1")
    app.middleware_stack = None
    drive.request(app, "/v1/items/2")
    assert [span.name for span in spans.of_kind(SpanKind.SERVER)] == ["GET /v1/items/{item}"] * 2


def test_what_is_no_asgi_app_is_refused(spans: Spans) -> None:
    """A WSGI callable and a thing that cannot be called raise TypeError that says what to do."""

    def wsgi(environ: Any, start_response: Any) -> list[bytes]:
        return []

    with pytest.raises(TypeError, match="looks like WSGI"):
        protect(wsgi)
    with pytest.raises(TypeError, match="cannot be called"):
        protect("app:app")  # type: ignore[type-var]


def test_auto_protects_what_is_made_before_and_after(spans: Spans, automatic: Spans) -> None:
    """Under handrail.auto an app needs no line of ours, whenever it was made."""
    assert drive.request(_starlette(), "/v1/items/5")[0] == 200
    assert spans.server.name == "GET /v1/items/{item}"


def test_auto_and_protect_together_are_once(spans: Spans, automatic: Spans) -> None:
    """Both ways in at once leave one SERVER span."""
    assert drive.request(protect(_starlette()), "/v1/items/5")[0] == 200
    assert len(spans.of_kind(SpanKind.SERVER)) == 1


def test_a_wrapped_app_says_what_it_is(spans: Spans) -> None:
    """The wrapper's repr names the application, for logs of servers."""
    assert repr(protect(_plain)).startswith("protect(<function _plain")
    assert isinstance(protect(_plain), Layered)


def test_a_copy_is_protected_and_serves_itself(spans: Spans) -> None:
    """A copy of a protected app has layers of its own, around the copy."""
    original = protect(_starlette())
    drive.request(original, "/v1/items/1")
    twin = copy.copy(original)
    twin.middleware_stack = _plain
    assert drive.request(twin)[1] == b"plain"
    assert [span.name for span in spans.finished] == ["GET /v1/items/{item}", "GET"]
    wrapped: Any = copy.deepcopy(protect(_Callable()))
    assert drive.request(wrapped)[1] == b"plain"
    assert len(spans.finished) == 3
