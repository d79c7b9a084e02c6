"""An application that does what a layer around it can spoil: it sends and reads by pieces, when it is told to.

A name (`?id=`) belongs to one trial. `/open` lets the application behind that name take its next step, and `/seen`
tells how many bytes of a request it has read, so that a test can say which of two things came first.
"""

import asyncio
import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs

from starlette.responses import FileResponse

from handrail import protect
from tests.passthrough.asgi_types import Receive, Scope, Send

PIECE = b"\0" * 65_536
gates: "defaultdict[str, asyncio.Semaphore]" = defaultdict(lambda: asyncio.Semaphore(0))
seen: "defaultdict[str, int]" = defaultdict(int)
left: set[str] = set()
codes: dict[str, int] = {}


def asked(scope: Scope) -> dict[str, str]:
    """The query."""
    return {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}


async def start(send: Send, kind: str = "text/plain", status: int = 200, **more: object) -> None:
    """The head of an answer without a length."""
    headers = [(b"content-type", kind.encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers, **more})


async def piece(send: Send, body: bytes, *, more: bool = True) -> None:
    """A piece of its body."""
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def events(scope: Scope, receive: Receive, send: Send) -> None:
    """`n` events, each after the first one when `/open` was called once more; `free`: without waiting."""
    wish = asked(scope)
    await start(send, "text/event-stream")
    for number in range(int(wish.get("n", "3"))):
        if number and "free" not in wish:
            await gates[wish["id"]].acquire()
        await piece(send, b"data: %d\n\n" % number)
    await piece(send, b"", more=False)


async def endless(scope: Scope, receive: Receive, send: Send) -> None:
    """One event, and then nothing until the client has gone."""
    await start(send, "text/event-stream")
    await piece(send, b"data: 0\n\n")
    while (await receive())["type"] != "http.disconnect":
        pass
    left.add(asked(scope)["id"])


async def pieces(scope: Scope, receive: Receive, send: Send) -> None:
    """`n` pieces of `size` bytes."""
    wish = asked(scope)
    size = int(wish["size"])
    await start(send, "application/octet-stream")
    for _ in range(int(wish["n"])):
        await piece(send, PIECE[:size])
    await piece(send, b"", more=False)


async def upload(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads the body piece by piece and tells what it was."""
    digest, name, total = hashlib.sha256(), asked(scope)["id"], 0
    while True:
        message = await receive()
        digest.update(message.get("body", b""))
        total += len(message.get("body", b""))
        seen[name] = total
        if not message.get("more_body"):
            break
    await tell(send, {"bytes": total, "sha256": digest.hexdigest()})


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with what it reads, while it reads."""
    await start(send, "application/octet-stream")
    while True:
        message = await receive()
        more = message.get("more_body", False)
        await piece(send, message.get("body", b""), more=more)
        if not more:
            return


async def trailers(scope: Scope, receive: Receive, send: Send) -> None:
    """A body, and a header after it, where the server has it."""
    there = "http.response.trailers" in (scope.get("extensions") or ())
    await start(send, trailers=there)
    await piece(send, b"body", more=False)
    if there:
        await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"841a2d68")], "more_trailers": False})


async def hints(scope: Scope, receive: Receive, send: Send) -> None:
    """103 before the answer, and where the server has it, another answer that nobody asked for."""
    await send({"type": "http.response.early_hint", "links": [b"</style.css>; rel=preload"]})
    if "http.response.push" in scope["extensions"]:
        await send({"type": "http.response.push", "path": "/pushed", "headers": []})
    await start(send)
    await piece(send, b"hinted", more=False)


async def file(scope: Scope, receive: Receive, send: Send) -> None:
    """The file that PASSTHROUGH_FILE names; and which messages it was sent by."""

    async def watched(message: Scope) -> None:
        seen[message["type"]] += 1
        await send(message)

    await FileResponse(os.environ["PASSTHROUGH_FILE"])(scope, receive, watched)


async def tell(send: Send, what: object) -> None:
    """As JSON."""
    await start(send, "application/json")
    await piece(send, json.dumps(what).encode(), more=False)


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """The small ones: what the trial itself asks for."""
    name = asked(scope).get("id", "")
    if scope["path"] == "/open":
        gates[name].release()
    told = {
        "/seen": lambda: seen[name],
        "/left": lambda: name in left,
        "/code": lambda: codes.get(name),
        "/extensions": lambda: sorted(scope.get("extensions") or ()),
    }
    await tell(send, told.get(scope["path"], lambda: "ok")())


async def websocket(scope: Scope, receive: Receive, send: Send) -> None:
    """Echoes; `/refused` denies with an answer of its own, and `close` is answered with a code and a reason."""
    await receive()
    if scope["path"] == "/refused":
        await send({"type": "websocket.http.response.start", "status": 418, "headers": [(b"x-why", b"tea")]})
        await send({"type": "websocket.http.response.body", "body": b"short and stout"})
        return
    await send({"type": "websocket.accept", "subprotocol": "chat", "headers": [(b"x-room", b"9")]})
    while (message := await receive())["type"] == "websocket.receive":
        if message.get("text") == "close":
            await send({"type": "websocket.close", "code": 4001, "reason": "enough"})
            return
        await send({**message, "type": "websocket.send"})
    codes[asked(scope).get("id", "")] = message["code"]


HTTP: dict[str, Callable[[Scope, Receive, Send], Awaitable[None]]] = {
    f"/{one.__name__}": one for one in (events, endless, pieces, upload, echo, trailers, hints, file)
}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """The application."""
    if scope["type"] == "http":
        await HTTP.get(scope["path"], answer)(scope, receive, send)
    elif scope["type"] == "websocket":
        await websocket(scope, receive, send)
    else:
        await lifespan(receive, send)


async def lifespan(receive: Receive, send: Send) -> None:
    """Nothing to do at either end."""
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


app = protect(app)
