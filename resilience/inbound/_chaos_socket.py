"""Faults on purpose in websockets: before their handshake, or at the first message that the app sends."""

from contextlib import suppress
from typing import TYPE_CHECKING

from ._chaos_drop import Dropped, cut

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from ..chaos.fault import Fault
    from ..clock import Clock

__all__ = ["broken"]

_DAY = 86_400.0


async def broken(
    fault: "Fault", app: "ASGIApp", wire: object, clock: "Clock", scope: "Scope", receive: "Receive", send: "Send"
) -> None:
    """Have it happen. `wire` is the server's own `send`.

    Only `reset` lets the app begin. Raises Dropped where the server cannot be made to break off.
    """
    if fault.kind == "reset":
        await _reset(app, wire, scope, receive, send)
        return
    await receive()  # the handshake
    if fault.kind == "hang":
        with suppress(TimeoutError), clock.timeout(fault.seconds or _DAY):
            while (await receive())["type"] != "websocket.disconnect":
                pass
            return
    if fault.kind == "error" and "websocket.http.response" in scope.get("extensions", ()):
        headers = [(b"content-length", b"0")]
        if fault.retry_after is not None:
            headers.append((b"retry-after", str(round(fault.retry_after)).encode()))
        await send({"type": "websocket.http.response.start", "status": fault.status, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": b""})
    else:
        await send({"type": "websocket.close"})  # before accept: a server answers 403


async def _reset(app: "ASGIApp", wire: object, scope: "Scope", receive: "Receive", send: "Send") -> None:
    torn = False

    async def until_first(message: "Message") -> None:
        nonlocal torn
        if not torn and message["type"] != "websocket.send":
            await send(message)
            return
        if not torn:
            torn = True
            if await cut(wire):
                return
        raise Dropped("dropped on purpose (chaos)")  # as servers do where the client is gone

    await app(scope, receive, until_first)
