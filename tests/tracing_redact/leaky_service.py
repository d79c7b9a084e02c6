"""A service that does with secrets what services do, and one that it calls; run by uvicorn, protected by handrail.

Not a module of the tests: its text is copied to a folder of its own.
"""

import logging
import os
from typing import Any

import httpx
from opentelemetry import trace
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from handrail import protect

handler = logging.FileHandler("ours.log")
for name in ("handrail", "opentelemetry"):
    logging.getLogger(name).addHandler(handler)
    logging.getLogger(name).setLevel(logging.DEBUG)

BACK = os.environ.get("BACK", "")
PAIR = [("set-cookie", "a=SECRET_SET_COOKIE"), ("x-auth-token", "SECRET_ANSWER_TOKEN"), ("x-shown", "CONTROL_ANSWER")]


async def ask(path: str, **more: Any) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
        url = f"http://SECRET_USER:SECRET_PASSWORD@{BACK}{path}?token=SECRET_CALL&page=CONTROL_CALL#SECRET_FRAGMENT"
        headers = {"authorization": "Bearer SECRET_CALL_HEADER", "x-shown": "CONTROL_CALL_HEADER"}
        return await client.get(url, **{"headers": headers, **more})


async def read(request: Request) -> Response:
    await request.body()
    response = PlainTextResponse("read")
    for name, value in PAIR:
        response.headers.append(name, value)
    return response


async def form(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


async def call(request: Request) -> Response:
    return PlainTextResponse((await ask("/stock")).text)


async def redirected(request: Request) -> Response:
    return PlainTextResponse((await ask("/moved", follow_redirects=True)).text)


async def refused(request: Request) -> Response:
    (await ask("/refused")).raise_for_status()
    return PlainTextResponse("never")


async def own_span(request: Request) -> Response:
    with trace.get_tracer("own").start_as_current_span("own work") as span:
        span.set_attribute("http.url", "https://SECRET_OWN_USER:x@h/?api_key=SECRET_OWN_KEY&page=CONTROL_OWN")
        (await ask("/refused")).raise_for_status()
    return PlainTextResponse("never")


async def unavailable(request: Request) -> Response:
    (await ask("/unavailable")).raise_for_status()
    return PlainTextResponse("never")


async def dead(request: Request) -> Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        await client.get(f"http://SECRET_DEAD_USER:SECRET_DEAD_WORD@{os.environ['DEAD']}/?sig=SECRET_DEAD_KEY")
    return PlainTextResponse("never")


async def illegal(request: Request) -> Response:
    await ask("/stock", headers={"authorization": "Bearer SECRET_ILLEGAL\n"})
    return PlainTextResponse("never")


async def garbled(request: Request) -> Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        await client.get(f"http://{os.environ['GARBLED']}/")
    return PlainTextResponse("never")


async def chained(request: Request) -> Response:
    try:
        raise ValueError("{'password': 'SECRET_CAUSE', 'name': 'CONTROL_CAUSE'}")
    except ValueError as error:
        raise RuntimeError("login with password=SECRET_MESSAGE failed: CONTROL_MESSAGE") from error


async def socket(websocket: WebSocket) -> None:
    await websocket.accept(subprotocol=websocket.scope["subprotocols"][0])
    await websocket.receive_text()
    await websocket.close(1000, "token=SECRET_CLOSE")


async def stock(request: Request) -> Response:
    return await read(request)


async def moved(request: Request) -> Response:
    return RedirectResponse("/stock?access_token=SECRET_REDIRECT&page=CONTROL_REDIRECT#SECRET_REDIRECT_END")


async def refusing(request: Request) -> Response:
    return JSONResponse({"secret": "SECRET_BODY_OF_401"}, 401)


async def full(request: Request) -> Response:
    return PlainTextResponse("SECRET_BODY_OF_503", 503, {"retry-after": "1"})


app = protect(
    Starlette(
        routes=[
            Route("/read", read, methods=["GET", "POST", "PUT", "PURGE"]),
            Route("/form", form, methods=["POST"]),
            Route("/call", call),
            Route("/redirected", redirected),
            Route("/refused", refused if BACK else refusing),
            Route("/own", own_span),
            Route("/unavailable", unavailable if BACK else full),
            Route("/dead", dead),
            Route("/reset/{token}", read),
            Route("/reset/{token}/dead", dead),
            Route("/illegal", illegal),
            Route("/garbled", garbled),
            Route("/chained", chained),
            WebSocketRoute("/socket", socket),
            Route("/stock", stock),
            Route("/moved", moved),
        ]
    )
)
