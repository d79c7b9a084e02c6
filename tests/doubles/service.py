"""A service that is instrumented in one way and protected in one order; prints what it made, as JSON.

`python service.py WAY:ORDER ...` forks once for each case, after what is heavy and neutral has been imported.
"""

import asyncio
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from typing import Any

import fastapi
import httpx
import starlette.applications
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

TRACE, CALLER = "a" * 32, "b" * 16
kept = InMemorySpanExporter()
hooked: list[str] = []
client: httpx.AsyncClient | None = None


@contextmanager
def upstream(*statuses: int) -> Iterator[tuple[str, list[list[str]]]]:
    """A peer that answers the given statuses, then 200; the `traceparent` headers of each request."""
    seen: list[list[str]] = []
    left = list(statuses)

    class Peer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers.get_all("traceparent") or [])
            self.send_response(left.pop(0) if left else 200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Peer) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/", seen
        server.shutdown()


async def call(headers: Any = None) -> int:
    if client is not None:
        return (await client.get(os.environ["UPSTREAM"], headers=headers)).status_code
    async with httpx.AsyncClient() as fresh:
        return (await fresh.get(os.environ["UPSTREAM"], headers=headers)).status_code


async def later() -> None:
    trace.get_tracer("service").start_span("later work").end()


async def item(request: Request) -> Response:
    """Copies the caller's headers to its own call, as generated code does."""
    copied = {name: value for name, value in request.headers.items() if name not in ("host", "content-length")}
    status = await call(copied)
    return PlainTextResponse(str(status), background=BackgroundTask(later))


async def socket(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.receive_text()
    await websocket.send_text(str(await call()))
    await websocket.close()


ROUTES = [
    Route("/items/{id}", item),
    WebSocketRoute("/ws/{id}", socket),
    Mount("/shops/{shop}", routes=[Route("/items/{id}", item)]),
]


def fast() -> Any:
    return fastapi.FastAPI(routes=ROUTES)


def star(*middleware: Any) -> Any:
    return starlette.applications.Starlette(routes=ROUTES, middleware=list(middleware))


def hook(span: Any, _scope: Any) -> None:
    span.set_attribute("hooked", True)


# -- each way: what makes the application, and what instruments it (and may put something around it)


def asgi_inside(app: Any) -> Any:
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

    app.add_middleware(OpenTelemetryMiddleware, server_request_hook=hook)
    return app


def asgi_around(app: Any) -> Any:
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

    return OpenTelemetryMiddleware(app, server_request_hook=hook)


def asgi_twice(app: Any) -> Any:
    return asgi_around(asgi_inside(app))


def fastapi_app(app: Any) -> Any:
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

    FastAPIInstrumentor.instrument_app(app, server_request_hook=hook)
    return app


def starlette_app(app: Any) -> Any:
    from opentelemetry.instrumentation.starlette import StarletteInstrumentor

    StarletteInstrumentor.instrument_app(app, server_request_hook=hook)
    return app


def starlette_own(app: Any) -> Any:
    from starlette.middleware.opentelemetry import OpenTelemetryMiddleware

    app.add_middleware(OpenTelemetryMiddleware)
    return app


def httpx_class(app: Any) -> Any:
    from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor

    HTTPXClientInstrumentor().instrument()
    return app


def httpx_client(app: Any) -> Any:
    from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor

    global client
    client = httpx.AsyncClient()
    HTTPXClientInstrumentor.instrument_client(client)
    return app


def httpx_both(app: Any) -> Any:
    return httpx_client(httpx_class(app))


def httpx_transport(app: Any) -> Any:
    from opentelemetry.instrumentation.httpx import AsyncOpenTelemetryTransport

    global client
    client = httpx.AsyncClient(transport=AsyncOpenTelemetryTransport(httpx.AsyncHTTPTransport()))
    return app


def everything(app: Any) -> Any:
    return httpx_both(asgi_around(fastapi_app(app)))


def logfire_configure() -> None:
    logfire = import_module("logfire")

    processors = [SimpleSpanProcessor(kept)]
    logfire.configure(
        send_to_logfire=False, console=False, distributed_tracing=True, additional_span_processors=processors
    )


def logfire_all(app: Any) -> Any:
    logfire = import_module("logfire")

    logfire_configure()
    logfire.instrument_fastapi(app, server_request_hook=hook)
    logfire.instrument_httpx()
    return app


def logfire_asgi(app: Any) -> Any:
    logfire = import_module("logfire")

    logfire_configure()
    logfire.instrument_httpx()
    return logfire.instrument_asgi(app)


WAYS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "nothing else": (star, lambda app: app),
    "fastapi native": (fast, lambda app: app),
    "asgi middleware inside": (star, asgi_inside),
    "asgi middleware around": (star, asgi_around),
    "asgi middleware twice": (star, asgi_twice),
    "fastapi instrumentor": (fast, fastapi_app),
    "starlette instrumentor": (star, starlette_app),
    "starlette own middleware": (star, starlette_own),
    "httpx instrumentor": (star, httpx_class),
    "httpx instrument_client": (star, httpx_client),
    "httpx both": (star, httpx_both),
    "httpx transport by hand": (star, httpx_transport),
    "everything": (fast, everything),
    "logfire": (fast, logfire_all),
    "logfire asgi": (star, logfire_asgi),
}
ORDERS = ("before", "after", "auto")
"""When `protect` is called: before the others instrument, after them, or never, but for `import handrail.auto`."""


def build(way: str, order: str) -> Any:
    make, instrument = WAYS[way]
    if order == "auto":
        import handrail.auto  # noqa: F401  # it takes hold at its import
    app = make()
    if order == "before":
        from handrail import protect

        app = protect(app)
    app = instrument(app)
    if order == "after":
        from handrail import protect

        app = protect(app)
    return app


async def ask(app: Any, kind: str, path: str) -> list[Any]:
    """One request or websocket; the messages that came back."""
    sent: list[Any] = []
    answered = asyncio.Event()
    messages: list[Any] = [{"type": "http.request", "body": b"", "more_body": False}]
    if kind == "websocket":
        messages = [{"type": "websocket.connect"}, {"type": "websocket.receive", "text": "hello"}]

    async def receive() -> Any:
        if messages:
            return messages.pop(0)
        await answered.wait()
        return {"type": "http.disconnect"} if kind == "http" else {"type": "websocket.disconnect", "code": 1000}

    async def send(message: Any) -> None:
        sent.append(message)
        if message["type"] == "http.response.body" or message["type"] == "websocket.close":
            answered.set()

    headers = [(b"host", b"shop"), (b"traceparent", f"00-{TRACE}-{CALLER}-01".encode()), (b"tracestate", b"other=1")]
    scope: dict[str, Any] = {"type": kind, "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1"}
    scope |= {"scheme": "http" if kind == "http" else "ws", "path": path, "raw_path": path.encode(), "root_path": ""}
    scope |= {"query_string": b"", "headers": headers, "client": ("127.0.0.1", 5), "server": ("127.0.0.1", 80)}
    scope |= {"state": {}, "method": "GET"} if kind == "http" else {"state": {}, "subprotocols": []}
    await app(scope, receive, send)
    return sent


def told() -> list[dict[str, Any]]:
    """The spans that ended since the last time."""
    found = [
        {
            "name": span.name,
            "kind": span.kind.name,
            "trace": f"{span.context.trace_id:032x}",
            "id": f"{span.context.span_id:016x}",
            "parent": f"{span.parent.span_id:016x}" if span.parent else "",
            "route": (span.attributes or {}).get("http.route"),
            "hooked": bool((span.attributes or {}).get("hooked")),
            "scope": span.instrumentation_scope.name if span.instrumentation_scope else "",
        }
        for span in kept.get_finished_spans()
        if span.context is not None and (span.attributes or {}).get("logfire.span_type") != "pending_span"
    ]
    kept.clear()
    return found


def run(way: str, order: str) -> dict[str, Any]:
    if not way.startswith("logfire"):
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(kept))
        trace.set_tracer_provider(provider)
    app = build(way, order)
    out: dict[str, Any] = {}

    async def main() -> None:
        for kind, path in (("http", "/items/7"), ("http", "/shops/acme/items/7"), ("websocket", "/ws/7")):
            with upstream(503) as (url, seen):
                os.environ["UPSTREAM"] = url
                sent = await ask(app, kind, path)
            out[f"{kind} {path}"] = {"spans": told(), "traceparents": seen, "last": sent[-1]["type"]}

    asyncio.run(main())
    return out


def apart(way: str, order: str) -> dict[str, Any]:
    """The same in a fork, so that nothing of one case is left for the next."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            result = run(way, order)
        except BaseException:
            import traceback

            result = {"error": traceback.format_exc()}
        with os.fdopen(writing, "w") as pipe:
            json.dump(result, pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    found: dict[str, Any] = json.loads(text) if text else {"error": "no answer"}
    return found


if __name__ == "__main__":
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).parent]
    json.dump({case: apart(*case.split(":")) for case in sys.argv[1:]}, sys.stdout)
