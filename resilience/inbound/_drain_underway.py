"""One request or websocket between its server and the app, as far as the end of the server concerns it."""

import logging
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Protocol

import anyio.lowlevel

if TYPE_CHECKING:
    from starlette.types import Message, Scope, Send

__all__ = ["ClientSentAway", "Underway"]

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
    """`where` is the event loop; `stop` cancels what runs the app."""

    __slots__ = ("_send", "_sent_away", "closing", "cut", "scope", "start", "stop", "where")

    def __init__(self, scope: "Scope", send: "Send", where: object, stop: Stoppable, *, closing: bool) -> None:
        self.scope = scope
        self.where = where
        self.stop = stop
        self.closing = closing
        """Whether the answer says that the connection ends with it."""
        self.start: Message | None = None
        self.cut = False
        """Whether it was cancelled because the time was up."""
        self._send = send
        self._sent_away = False

    def send(self, message: "Message") -> Awaitable[None]:
        """The app's."""
        if self.start is None:
            if message["type"] in _STARTS:
                self.start = message
                if self.closing:
                    message = self._closing(message)
        elif self._sent_away:
            return self._late(message)
        return self._send(message)

    def _closing(self, message: "Message") -> "Message":
        if self.scope["type"] != "http" or self.scope.get("http_version") not in ("1.0", "1.1"):
            return message  # RFC 9113, 8.2.2: no such header in HTTP/2
        headers = [*message.get("headers", ())]
        if any(bytes(name).lower() == b"connection" for name, _ in headers):
            return message
        return {**message, "headers": [*headers, (b"connection", b"close")]}

    @property
    def is_stream(self) -> bool:
        """Whether it has begun and would go on for ever, and its client comes again by itself.

        So do websockets, and event streams by GET: that is what EventSource does. One by another method is an answer
        with an end, which nobody asks for again.
        """
        if self.start is None:
            return False
        if self.scope["type"] == "websocket":
            return True
        if self.scope["method"] != "GET":
            return False
        kinds = (
            bytes(value) for name, value in self.start.get("headers", ()) if bytes(name).lower() == b"content-type"
        )
        return any(kind.lower().startswith(b"text/event-stream") for kind in kinds)

    async def send_away(self) -> None:
        """End the stream: the server then says to the app that the client has gone."""
        self._sent_away = True
        last: Message = {"type": "http.response.body", "body": b"", "more_body": False}
        if self.scope["type"] == "websocket":
            last = {"type": "websocket.close", "code": _RESTART, "reason": "service restart"}
        try:
            await self._send(last)
        except Exception as error:  # it has ended by itself, or the server has told it
            _log.debug("%s was over: %s: %s", self.scope["path"], type(error).__name__, error)

    async def _late(self, message: "Message") -> None:
        if message["type"] != "websocket.close":
            version = str(self.scope.get("asgi", {}).get("spec_version", "2.0")).split(".")
            known = tuple(int(part) for part in version if part.isdecimal())
            if self.scope["type"] == "websocket" or known >= _RAISES_SINCE:
                raise ClientSentAway("the service restarts: this client was told to go elsewhere")
        await anyio.lowlevel.checkpoint()  # an app that writes on and on must not keep the loop
