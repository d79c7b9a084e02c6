"""Faults on purpose in requests that come: around what carries them out, within what answers for it.

Pure ASGI. It is in the chain only where faults are switched on.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio

from ..chaos.book import Book
from ..chaos.fault import Fault
from ..chaos.header import FROM, NAME
from ..chaos.rule import Request
from ._answer import Answer
from ._chaos_drop import Dropped, cut, drop, gone
from ._chaos_socket import broken

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from ._reply import Replies

__all__ = ["Dropped", "Faults"]

_KINDS = ("http", "websocket")
_NAME, _FROM = NAME.encode(), FROM.encode()
_DAY = 86_400.0
_WHOLE = ("http.response.pathsend", "http.response.zerocopysend")
_AGAIN = 30.0
"""Seconds for which a duplicate may run: nobody leaves, who would end an endless stream."""
_MOST_BODY = 1024 * 1024
"""Bytes of a request's body that are kept for its duplicate; what is longer comes once."""


class Faults:
    """ASGI middleware. `wire` gives the server's own `send` of the request at hand, where it is known."""

    def __init__(self, app: "ASGIApp", book: Book, reply: "Replies", wire: Callable[[], object]) -> None:
        self.app = app
        self._book = book
        self._reply = reply
        self._wire = wire

    def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> Awaitable[None]:
        if scope["type"] not in _KINDS:
            return self.app(scope, receive, send)
        return self._carried(scope, receive, send)

    async def _carried(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        header, caller = _told(scope)
        if header and not self._book.accepts(header):
            header = ""
        websocket = scope["type"] == "websocket"
        method = "GET" if websocket else scope["method"]
        plan = self._book.of_request(Request(method, scope["path"], caller, websocket=websocket), header)
        token = self._book.carry(header)
        try:
            if plan is None:
                await self.app(scope, receive, send)
                return
            if plan.delay:
                await self._book.clock.sleep(plan.delay)
            if plan.fault is None:
                await self.app(scope, receive, send)
            elif websocket:
                await broken(plan.fault, self.app, self._wire(), self._book.clock, scope, receive, send)
            else:
                await self._happen(plan.fault, scope, receive, send)
        except GeneratorExit:
            raise  # thrown away with its event loop, in a context that is not ours to restore
        except BaseException:
            self._book.end(token)
            raise
        self._book.end(token)

    async def _happen(self, fault: Fault, scope: "Scope", receive: "Receive", send: "Send") -> None:
        match fault.kind:
            case "error":
                detail = f"a fault on purpose (chaos): {fault}"
                wait = None if fault.retry_after is None else float(fault.retry_after)
                answer = Answer(fault.status, "chaos", detail, "chaos", retry_after=wait)
                await self._reply.send(answer, scope, send)
            case "hang":
                await self._hang(fault.seconds or _DAY, receive)
                await drop(self._wire(), receive, send, begun=False)
            case "reset":
                await self._tear(scope, receive, send)
            case "lost":
                await self.app(scope, receive, _nowhere)
                await drop(self._wire(), receive, send, begun=False)
            case "duplicate":
                await self._twice(scope, receive, send)
            case _:
                await drop(self._wire(), receive, send, begun=False)

    async def _hang(self, seconds: float, receive: "Receive") -> None:
        """Wait until the client has had enough, or for so long."""
        with suppress(TimeoutError), self._book.clock.timeout(seconds):
            while (await receive())["type"] != "http.disconnect":
                pass

    async def _tear(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Half of the first piece of the body is sent, and then no more."""
        begun = torn = False
        wire = self._wire()  # now: what is current within the app may be a span of its own

        async def half(message: "Message") -> None:
            nonlocal begun, torn
            if torn:
                return
            kind, piece = message["type"], message.get("body", b"")
            if kind == "http.response.start":
                begun = True
                await send(message)
            elif kind in _WHOLE or piece or not message.get("more_body"):
                torn = True
                if len(piece) > 1:
                    await send({**message, "body": piece[: len(piece) // 2], "more_body": True})
                if not await cut(wire):
                    raise Dropped("dropped on purpose (chaos)")  # as servers do where the client is gone

        await self.app(scope, receive, half)
        if not torn:
            await drop(wire, receive, send, begun=begun)
        elif await cut(wire):
            await gone(wire, receive)
        else:
            raise Dropped("dropped on purpose (chaos)")

    async def _twice(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Carry it out, and then the same once more; nobody sees the second answer."""
        kept: list[Message] = []
        length = 0

        async def keep() -> "Message":
            nonlocal length
            message = await receive()
            if message["type"] == "http.request" and length <= _MOST_BODY:
                length += len(message.get("body", b""))
                kept.append(message)
            return message

        second = {**scope, "headers": list(scope["headers"])}
        if "state" in scope:
            second["state"] = dict(scope["state"])
        await self.app(scope, keep, send)
        if length > _MOST_BODY or (kept and kept[-1].get("more_body")):
            return
        kept.reverse()
        over = anyio.Event()

        async def again() -> "Message":
            if kept:
                return kept.pop()
            await over.wait()
            return {"type": "http.disconnect"}

        async def unseen(message: "Message") -> None:
            if message["type"] in _WHOLE or (message["type"] == "http.response.body" and not message.get("more_body")):
                over.set()

        if not kept:  # it has not looked at its body
            kept.append({"type": "http.request", "body": b"", "more_body": False})
        # What it raises its client would have seen, who does not exist.
        with suppress(Exception), self._book.clock.timeout(_AGAIN):
            await self.app(second, again, unseen)


async def _nowhere(_message: "Message") -> None:
    """Nobody gets it."""


def _told(scope: "Scope") -> tuple[str, str]:
    """The header with faults, and the service that the request comes from; empty where they are not there."""
    header = caller = ""
    for name, value in scope["headers"]:
        if name == _NAME:
            header = value.decode("latin-1")
        elif name == _FROM:
            caller = value.decode("latin-1")
    return header, caller
