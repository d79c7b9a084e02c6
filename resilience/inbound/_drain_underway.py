"""One request or websocket between its server and the app, as far as the end of the server concerns it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

import anyio.lowlevel

if TYPE_CHECKING:
    from starlette.types import Message, Scope

__all__ = ["ClientSentAway", "Underway", "UnderwayOnTrio"]

_log = logging.getLogger("handrail")
_STARTS = ("http.response.start", "websocket.accept")
_RESTART = 1012
"""The close code "service restart" (IANA's registry of RFC 6455)."""
_RAISES_SINCE = (2, 4)
"""The version of the HTTP part of ASGI since which `send` raises OSError where the client has gone."""


class ClientSentAway(OSError):
    """What an app gets that writes to a client which was told to go elsewhere: as if that had left by itself."""


class Stoppable(Protocol):
    """A task of asyncio, or a cancel scope."""

    def cancel(self) -> object:
        """Have it cancelled."""


class Underway:
    """Made for every request: its fields are set from outside, and `send` does as little as it can."""

    __slots__ = ("out", "scope", "start", "stop")

    scope: "Scope"
    stop: "Stoppable | None"
    """Cancels what runs the app; None once that was done because the time was up."""
    out: "Callable[[Message], Awaitable[None]]"
    """Where messages of the app go: the server's `send`, until something is to be done with them."""
    start: "Message | None"
    """The first message of the app."""

    def send(self, message: "Message") -> Awaitable[None]:
        """The app's."""
        if self.start is None:
            self.start = message
        return self.out(message)

    def runs_in(self, here: object) -> bool:
        """Whether this is its event loop."""
        return isinstance(self.stop, asyncio.Task) and self.stop.get_loop() is here

    def cut(self) -> None:
        """Cancel it, once."""
        stop, self.stop = self.stop, None
        if stop is not None:
            stop.cancel()

    @property
    def begun(self) -> bool:
        """Whether its response has begun, or its websocket is open."""
        return self.start is not None and self.start["type"] in _STARTS

    @property
    def is_stream(self) -> bool:
        """Whether it has begun and would go on for ever, and its client comes again by itself.

        So do websockets, and event streams by GET: that is what EventSource does. One by another method is an answer
        with an end, which nobody asks for again.
        """
        if self.start is None or not self.begun:
            return False
        if self.scope["type"] == "websocket":
            return True
        if self.scope["method"] != "GET":
            return False
        headers = self.start.get("headers", ())
        kinds = (bytes(value).lower() for name, value in headers if bytes(name).lower() == b"content-type")
        return any(kind.startswith(b"text/event-stream") for kind in kinds)

    def close_after(self) -> None:
        """Have the answer, if it is one by HTTP/1.1 and has not begun, say that the connection ends with it."""
        if self.scope["type"] == "http" and self.scope.get("http_version") in ("1.0", "1.1") and not self.begun:
            out = self.out
            self.out = lambda message: out(_closing(message) if message["type"] == "http.response.start" else message)

    async def send_away(self) -> None:
        """End the stream: the server then says to the app that the client has gone."""
        out, self.out = self.out, self._late
        last: Message = {"type": "http.response.body", "body": b"", "more_body": False}
        if self.scope["type"] == "websocket":
            last = {"type": "websocket.close", "code": _RESTART, "reason": "service restart"}
        try:
            await out(last)
        except Exception as error:  # it has ended by itself, or the server has told it
            _log.debug("%s was over: %s: %s", self.scope["path"], type(error).__name__, error)

    async def _late(self, message: "Message") -> None:
        if message["type"] != "websocket.close":
            version = str(self.scope.get("asgi", {}).get("spec_version", "2.0")).split(".")
            known = tuple(int(part) for part in version if part.isdecimal())
            if self.scope["type"] == "websocket" or known >= _RAISES_SINCE:
                raise ClientSentAway("the service restarts: this client was told to go elsewhere")
        await anyio.lowlevel.checkpoint()  # an app that writes on and on must not keep the loop


class UnderwayOnTrio(Underway):
    """The same where a cancel scope stands for the task."""

    __slots__ = ("where",)

    where: object

    def runs_in(self, here: object) -> bool:
        """See above."""
        return self.where is here


def _closing(message: "Message") -> "Message":
    headers = [*message.get("headers", ())]
    if any(bytes(name).lower() == b"connection" for name, _ in headers):
        return message
    return {**message, "headers": [*headers, (b"connection", b"close")]}
