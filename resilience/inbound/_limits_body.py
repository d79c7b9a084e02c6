"""A request body on its way to the app: counted, and not waited for without end. Nothing is held."""

import logging
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Protocol

from ..clock import Clock
from ._limits_wait import Begun

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

__all__ = ["SLOWEST", "BoundedBody", "lingering"]

SLOWEST = 240
"""Bytes for each second that is waited beyond `body_timeout`, over the whole body: what Kestrel asks for
(MinRequestBodyDataRate); the form of the rule is that of mod_reqtimeout (`body=20,MinRate=500`)."""
LINGER = 30.0
"""Seconds in which what a client still sends is thrown away, so that it can read why (nginx: lingering_time)."""
LINGER_SILENCE = 5.0
"""Seconds without any of it after which it is not waited for (nginx: lingering_timeout)."""

_LEFT = {"type": "http.disconnect"}
_log = logging.getLogger("handrail")


class Bounds(Protocol):
    """What a body may be, and who is told where it is not."""

    body_max: float
    timeout: float
    clock: Clock

    async def stop(self, scope: "Scope", send: "Send", setting: str, reason: str, *, begun: bool) -> None:
        """The body is too much, or too little; `begun`: so has the answer."""


class BoundedBody:
    """`receive` and `send` of one request with a body within `bounds`.

    Only waiting counts: an app that does not read may take its time. From the start of the answer on the app holds a
    conversation, or waits for its client to leave: then only the size is bounded.
    """

    # Defaults on the class: a request sets few of them.
    refused = False
    """Whether the client has been answered, or given up, in place of the app."""
    answered = ""
    """The setting for which the client was answered in place of the app; the end of that is still to be sent."""
    _count = 0
    _waited = 0.0
    _begun = False
    _whole = False

    def __init__(self, bounds: Bounds, scope: "Scope", receive: "Receive", send: "Send") -> None:
        self._bounds = bounds
        self._scope = scope
        self._receive = receive
        self._send = send

    async def receive(self) -> "Message":
        """The server's, until there is too much or too little of it; from then on the client has left."""
        if self.refused:
            return _LEFT
        if self._whole:
            return await self._receive()
        steps: Any = self._receive().__await__()
        message: Message | None
        try:
            first = next(steps)
        except StopIteration as end:  # most bodies are here before the app asks for them: no timer is made
            message = end.value
        else:
            message = await self._wait(Begun(steps, first))
        if message is None or self.refused:
            return _LEFT
        if message["type"] == "http.request":
            self._count += len(message.get("body", b""))
            if self._count > self._bounds.body_max:
                await self._stop("body_max", "counted")
                return _LEFT
            if not message.get("more_body", False):
                self._whole = True
        return message

    def send(self, message: "Message") -> Awaitable[None]:
        """The server's, until the client was answered in place of the app."""
        if self.refused:
            return _unheard(message)
        self._begun = True
        return self._send(message)

    async def _wait(self, begun: "Begun[Message]") -> "Message | None":
        """The message that was not there yet; None where it did not come in time."""
        timeout, clock = self._bounds.timeout, self._bounds.clock
        if self._begun or not timeout:
            return await begun
        since = clock.now()
        left = timeout + self._count / SLOWEST - self._waited
        timer = clock.timeout(max(0.0, min(left, timeout)))
        try:
            with timer:
                message = await begun
        except TimeoutError:
            if not timer.expired():
                raise
        else:
            self._waited += clock.now() - since
            return message
        if self._begun:
            return await self._receive()
        if not self.refused:
            await self._stop("body_timeout", "idle" if left >= timeout else "rate")
        return None

    async def _stop(self, setting: str, reason: str) -> None:
        self.refused = True
        await self._bounds.stop(self._scope, self._send, setting, reason, begun=self._begun)
        if not self._begun:
            self.answered = setting


async def _unheard(message: "Message") -> None:
    if message.get("more_body", False):
        raise OSError("the request was refused")  # nothing else would end an answer without end


async def lingering(receive: "Receive", clock: Clock) -> None:
    """Throw away what still comes: a connection that is closed over it takes the answer with it (RFC 9112, 9.6)."""
    ends = clock.now() + LINGER
    try:
        while (left := ends - clock.now()) > 0:
            with clock.timeout(min(left, LINGER_SILENCE)):
                message = await receive()
            if message["type"] != "http.request" or not message.get("more_body", False):
                return
    except TimeoutError:
        _log.debug("a client that was refused went on sending, or neither sent nor left")
