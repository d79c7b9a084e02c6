"""http.route is the framework's full template, mounts included, never a path with values in it."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Host, Mount, Route, Router, WebSocketRoute
from starlette.websockets import WebSocket

from handrail.tracing.inbound._exchange import App, Receive, Scope, Send
from handrail.tracing.inbound.server import ServerSpans
from handrail.tracing.testing import Spans
from tests.tracing.asgi_server import Server


async def endpoint(request: Request) -> Response:
    return PlainTextResponse("ok")


def route_of(app: object, path: str, server: Server, spans: Spans, **more: Any) -> tuple[str, object]:
    """The name and http.route of the span of one request."""
    spans.clear()
    wrapped = ServerSpans(cast("App", app), tracing=spans.tracing, routes=app)
    server.get(wrapped, path, **more)
    return spans.server.name, (spans.server.attributes or {}).get("http.route")


def starlette() -> Starlette:
    sub = Router([Route("/items/{id:int}", endpoint), Route("/", endpoint)])
    deep = Starlette(routes=[Mount("/deep", routes=[Route("/{x}", endpoint)])])
    return Starlette(
        routes=[
            Route("/", endpoint),
            Route("/orders/{id:uuid}", endpoint, methods=["GET"]),
            Mount("/v1", app=sub),
            Mount("/v2", app=sub),
            Mount("/t/{tenant}", app=Starlette(routes=[Route("/items/{id}", endpoint), Mount("/more", app=deep)])),
            Mount("/cors", app=CORSMiddleware(Router([Route("/{x}", endpoint)]))),
            Mount("/wrapped", routes=[Route("/{x}", endpoint)], middleware=[Middleware(CORSMiddleware)]),
            Mount("/static", app=cast("App", PlainTextResponse("file"))),
            Host("{shop}.example", app=Router([Route("/cart/{id}", endpoint)])),
        ]
    )


ID = "6a2f41a3-c54c-fce8-32d2-0324e1c32e22"


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/", "/"),
        (f"/orders/{ID}", "/orders/{id}"),
        ("/v1/items/7", "/v1/items/{id}"),
        ("/v2/items/7", "/v2/items/{id}"),
        ("/v1/", "/v1/"),
        ("/t/acme/items/7", "/t/{tenant}/items/{id}"),
        ("/t/acme/more/deep/7", "/t/{tenant}/more/deep/{x}"),
        ("/cors/7", "/cors/{x}"),
        ("/wrapped/7", "/wrapped/{x}"),
        ("/static/a/b.css", "/static/{path}"),
    ],
)
def test_starlette(server: Server, spans: Spans, path: str, route: str) -> None:
    """Routes, mounts, parametrised mounts, one sub-application mounted twice, middleware around and in mounts."""
    app = starlette()
    assert route_of(app, path, server, spans) == (f"GET {route}", route)
    assert route_of(app, path, server, spans) == (f"GET {route}", route)


def test_starlette_host_adds_no_path(server: Server, spans: Spans) -> None:
    """A Host route matches the name of the server, which is no part of http.route."""
    headers = {"host": "acme.example"}
    assert route_of(starlette(), "/cart/7", server, spans, headers=headers)[1] == "/cart/{id}"


def test_what_matches_no_route_is_named_by_its_method_alone(server: Server, spans: Spans) -> None:
    """http-spans: the name must not default to the path."""
    assert route_of(starlette(), "/nowhere/42", server, spans) == ("GET", None)


def test_a_method_that_the_route_does_not_have_still_has_the_route(server: Server, spans: Spans) -> None:
    """405 is an answer of the route."""
    assert route_of(starlette(), f"/orders/{ID}", server, spans, method="PUT")[0] == "PUT /orders/{id}"


def test_the_application_root_is_part_of_the_route(server: Server, spans: Spans) -> None:
    """http.route includes the application root (root_path), as the path that uvicorn gives does."""
    assert route_of(starlette(), "/api/v2/items/7", server, spans, root_path="/api")[1] == "/api/v2/items/{id}"


def test_two_mounts_of_one_app_with_parameters_are_told_apart(server: Server, spans: Spans) -> None:
    """The template is the one whose fixed parts the path has."""
    sub = Router([Route("/x/{id}", endpoint)])
    app = Starlette(routes=[Mount("/a/{t}", app=sub), Mount("/b/{t}/c", app=sub)])
    assert route_of(app, "/b/1/c/x/2", server, spans)[1] == "/b/{t}/c/x/{id}"
    assert route_of(app, "/a/b/x/2", server, spans)[1] == "/a/{t}/x/{id}"


def test_routes_added_while_running_are_found(server: Server, spans: Spans) -> None:
    """What is known of one route says nothing of the next one."""
    app = starlette()
    route_of(app, "/", server, spans)
    app.router.routes.append(Route("/late/{x}", endpoint))
    assert route_of(app, "/late/1", server, spans)[1] == "/late/{x}"


def test_an_older_starlette_leaves_the_endpoint_only(server: Server, spans: Spans) -> None:
    """Before `scope["route"]` the endpoint and the path tell the route."""
    inner = starlette()

    async def older(scope: Scope, receive: Receive, send: Send) -> None:
        await inner(scope, receive, send)
        scope.pop("route", None)

    async def before_the_last_byte(scope: Scope, receive: Receive, send: Send) -> None:
        async def without_route(message: Any) -> None:
            scope.pop("route", None)
            await send(message)

        await inner(scope, receive, without_route)

    wrapped = ServerSpans(before_the_last_byte, tracing=spans.tracing, routes=inner)
    server.get(wrapped, "/v2/items/7")
    assert spans.server.name == "GET /v2/items/{id}"


def test_our_layer_inside_another_application_still_sees_the_whole_route(server: Server, spans: Spans) -> None:
    """A protected application that somebody mounts: the outer mount's template counts, not its values."""
    inner = Starlette(routes=[Route("/items/{id}", endpoint)])
    wrapped = ServerSpans(inner, tracing=spans.tracing, routes=inner)
    wrapped.app = inner  # type: ignore[attr-defined]  # as a middleware that shows what it wraps
    server.get(Starlette(routes=[Mount("/t/{tenant}", app=wrapped)]), "/t/acme/items/7")
    assert spans.server.name == "GET /t/{tenant}/items/{id}"


class Copying:
    """A middleware that passes a copy of the scope on."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(dict(scope), receive, send)


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/", "/"),
        (f"/orders/{ID}", "/orders/{id}"),
        ("/orders/no-uuid", None),
        ("/v2/items/7", "/v2/items/{id}"),
        ("/v2/items/no-int", None),
        ("/t/acme/more/deep/7", "/t/{tenant}/more/deep/{x}"),
        ("/cors/7", "/cors/{x}"),
        ("/static/a/b.css", "/static/{path}"),
    ],
)
def test_a_copied_scope_does_not_hide_the_route(server: Server, spans: Spans, path: str, route: str | None) -> None:
    """The route is then looked up by the routes' own patterns; what fits none still has none."""
    app = Starlette(routes=starlette().routes, middleware=[Middleware(Copying)])
    assert route_of(app, path, server, spans) == (f"GET {route}" if route else "GET", route)
    assert route_of(app, "/api" + path, server, spans, root_path="/api")[1] == (route and "/api" + route)


def test_a_copied_scope_below_a_mount_does_not_hide_the_route(server: Server, spans: Spans) -> None:
    """Only the mount is left in the scope: the route below is looked up; a 404 there keeps the mount."""
    inner = Starlette(routes=[Route("/reset/{token}", endpoint)], middleware=[Middleware(Copying)])
    app = Starlette(routes=[Mount("/t/{tenant}", app=inner)])
    assert route_of(app, "/t/acme/reset/sesame", server, spans)[1] == "/t/{tenant}/reset/{token}"
    assert (spans.server.attributes or {})["url.path"] == "/t/acme/reset/REDACTED"
    assert route_of(app, "/t/acme/nowhere", server, spans)[1] == "/t/{tenant}/{path}"


def test_a_copied_scope_in_fastapi_and_the_method(server: Server, spans: Spans) -> None:
    """Included routers are searched too; of two templates for one path the method chooses."""
    import fastapi

    router = fastapi.APIRouter()
    router.add_api_route("/reset/{token}", endpoint, methods=["POST"])
    router.add_api_route("/reset/{id}", endpoint, methods=["GET"])
    app = fastapi.FastAPI()
    app.include_router(router, prefix="/api")
    app.add_middleware(Copying)
    assert route_of(app, "/api/reset/x", server, spans)[1] == "/api/reset/{id}"
    assert route_of(app, "/api/reset/x", server, spans, method="POST")[1] == "/api/reset/{token}"
    assert route_of(app, "/api/reset/x", server, spans, method="PUT")[1] == "/api/reset/{token}"


def test_a_middleware_that_answers_hides_no_secret_of_the_path(server: Server, spans: Spans) -> None:
    """A request that was refused before the routing has the route of its path, and its token is hidden."""

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("no", 401)(scope, receive, send)

    app = Starlette(routes=[Route("/reset/{token}", endpoint)], middleware=[Middleware(lambda _app: refuse)])
    assert route_of(app, "/reset/sesame", server, spans)[1] == "/reset/{token}"
    assert (spans.server.attributes or {})["url.path"] == "/reset/REDACTED"


def test_base_http_middleware_does_not_hide_the_route(server: Server, spans: Spans) -> None:
    """It works on the same scope."""

    class Passing(BaseHTTPMiddleware):
        async def dispatch(self, request: Request, call_next: Callable[..., Any]) -> Response:
            return cast("Response", await call_next(request))

    app = Starlette(routes=starlette().routes, middleware=[Middleware(Passing)])
    assert route_of(app, "/t/acme/items/7", server, spans)[1] == "/t/{tenant}/items/{id}"


def test_starlette_websocket(server: Server, spans: Spans) -> None:
    """A websocket's span is named by its route too."""

    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close()

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    app = Starlette(routes=[Mount("/t/{tenant}", routes=[WebSocketRoute("/ws/{room}", socket)])])
    wrapped = ServerSpans(app, tracing=spans.tracing, routes=app)
    scope = server.scope("/t/acme/ws/7", type="websocket", subprotocols=[])
    asyncio.run(wrapped(scope, receive, server.send))
    assert spans.server.name == "WS /t/{tenant}/ws/{room}"


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/plain/7", "/plain/{id}"),
        ("/api/orders/7", "/api/orders/{id}"),
        ("/other/orders/7", "/other/orders/{id}"),
        ("/api/nested/7/x", "/api/nested/{a}/x"),
        ("/sub/things/7", "/sub/things/{id}"),
        ("/api/mounted/inner/7", "/api/mounted/inner/{x}"),
    ],
)
def test_fastapi(server: Server, spans: Spans, path: str, route: str) -> None:
    """Routers with prefixes, one included twice, nested ones, a mounted application, a mount in a router."""
    import fastapi

    async def answer() -> str:
        return "ok"

    nested = fastapi.APIRouter(prefix="/nested/{a}")
    nested.add_api_route("/x", answer)
    router = fastapi.APIRouter()
    router.add_api_route("/orders/{id}", answer)
    router.include_router(nested)
    router.mount("/mounted", Starlette(routes=[Mount("/inner", routes=[Route("/{x}", endpoint)])]))
    sub = fastapi.FastAPI()
    sub.add_api_route("/things/{id}", answer)
    app = fastapi.FastAPI()
    app.add_api_route("/plain/{id}", answer)
    app.include_router(router, prefix="/api")
    app.include_router(router, prefix="/other")
    app.mount("/sub", sub)
    assert route_of(app, path, server, spans) == (f"GET {route}", route)
    assert server.sent[0]["status"] == 200


@pytest.mark.filterwarnings("ignore:The `root_path` parameter is deprecated")
def test_fastapi_root_path_and_404(server: Server, spans: Spans) -> None:
    """FastAPI's own root_path is the application root; what matches nothing has no route."""
    import fastapi

    app = fastapi.FastAPI(root_path="/shop")

    @app.get("/items/{id}")
    async def read(id: int) -> int:  # the parameter's name is the point
        return id

    assert route_of(app, "/items/7", server, spans)[1] == "/shop/items/{id}"
    assert route_of(app, "/nowhere/7", server, spans) == ("GET", None)
    assert route_of(app, "/items/x", server, spans)[1] == "/shop/items/{id}"


def test_litestar(server: Server, spans: Spans) -> None:
    """Litestar leaves its template in the scope; 404 has none."""
    import litestar

    @litestar.get("/items/{item_id:int}")
    async def item() -> str:
        return "ok"

    app = litestar.Litestar([litestar.Router("/v1", route_handlers=[item])], openapi_config=None)
    assert route_of(app, "/v1/items/7", server, spans)[1] == "/v1/items/{item_id}"
    assert route_of(app, "/v1/nowhere/7", server, spans) == ("GET", None)


def test_quart(server: Server, spans: Spans) -> None:
    """Quart tells its rule by a signal, for requests and websockets alike; 404 has none."""
    import quart

    app = quart.Quart(__name__)
    blueprint = quart.Blueprint("v1", __name__, url_prefix="/v1")

    @blueprint.get("/items/<int:item>")
    async def item(item: int) -> str:
        return str(item)

    app.register_blueprint(blueprint)
    assert route_of(app, "/v1/items/7", server, spans)[1] == "/v1/items/<int:item>"
    assert route_of(app, "/v1/nowhere/7", server, spans) == ("GET", None)


def test_django(server: Server, spans: Spans) -> None:
    """Django's resolver is asked; 404 has no route; middleware around the handler does not matter."""
    import sys
    import types

    import django
    from django.conf import settings
    from django.http import HttpRequest, HttpResponse
    from django.urls import include, path, re_path

    async def view(request: HttpRequest, **_: object) -> HttpResponse:
        return HttpResponse(b"ok")

    urls = types.ModuleType("handrail_test_urls")
    patterns = [
        path("items/<int:pk>/", view),
        path("v1/", include([path("orders/<slug:name>", view)])),
        re_path(r"^old/(?P<year>[0-9]{4})$", view),
    ]
    vars(urls)["urlpatterns"] = patterns
    sys.modules[urls.__name__] = urls
    settings.configure(ROOT_URLCONF=urls.__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="x", MIDDLEWARE=[], USE_TZ=True)
    django.setup()
    from django.core.handlers.asgi import ASGIHandler

    class Around:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await self.app(scope, receive, send)

    app = Around(ASGIHandler())
    assert route_of(app, "/items/7/", server, spans)[1] == "/items/<int:pk>/"
    assert route_of(app, "/v1/orders/abc", server, spans)[1] == "/v1/orders/<slug:name>"
    assert route_of(app, "/nowhere", server, spans) == ("GET", None)


def test_a_plain_function_has_no_route(server: Server, spans: Spans) -> None:
    """Nobody knows one, and the path is none."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    assert route_of(app, "/orders/7", server, spans) == ("GET", None)
