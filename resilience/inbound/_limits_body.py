"""A request body on its way to the app: counted, and not waited for without end. Nothing is held."""

import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any

from ..clock import Clock
from ._limits_wait import Begun

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Send

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

Refuse = Callable[[str, str, bool], Coroutine[Any, Any, None]]
"""Told the setting, the reason, and whether the answer has begun."""


class BoundedBody:
    """`receive` and `send` of one request with a body of at most `limit` bytes.

    Only waiting counts: an app that does not read may take its time. From the start of the answer on the app holds a
    conversation, or waits for its client to leave: then only `limit` holds.
    """

    __slots__ = (
        "_begun",
        "_clock",
        "_count",
        "_limit",
        "_receive",
        "_refuse",
        "_send",
        "_timeout",
        "_waited",
        "_whole",
        "answered",
    )

    def __init__(
        self, receive: "Receive", send: "Send", *, limit: float, timeout: float, clock: Clock, refuse: Refuse
    ) -> None:
        self._receive = receive
        self._send = send
        self._limit = limit
        self._timeout = timeout
        self._clock = clock
        self._refuse: Refuse | None = refuse
        self._count = 0
        self._waited = 0.0
        self._begun = False
        self._whole = False

        self.answered = ""
        """The setting for which the client was answered in place of the app; the end of that is still to be sent."""

    @property
    def refused(self) -> bool:
        """Whether the client has been answered, or given up, in place of the app."""
        return self._refuse is None

    async def receive(self) -> "Message":
        """The server's, until there is too much or too little of it; from then on the client has left."""
        if self._refuse is None:
            return _LEFT
        if self._whole:
            return await self._receive()
        begun = Begun(self._receive())
        message: Message | None = begun.value if begun.done else await self._wait(begun)
        if message is None or self._refuse is None:
            return _LEFT
        if message["type"] == "http.request":
            self._count += len(message.get("body", b""))
            if self._count > self._limit:
                await self._stop("body_max", "counted")
                return _LEFT
            self._whole = not message.get("more_body", False)
        return message

    def send(self, message: "Message") -> Awaitable[None]:
        """The server's, until the client was answered in place of the app."""
        if self._refuse is None:
            return _unheard(message)
        self._begun = True
        return self._send(message)

    async def _wait(self, begun: "Begun[Message]") -> "Message | None":
        """The message that was not there yet; None where it did not come in time."""
        if self._begun or not self._timeout:
            return await begun
        since = self._clock.now()
        left = self._timeout + self._count / SLOWEST - self._waited
        timer = self._clock.timeout(max(0.0, min(left, self._timeout)))
        try:
            with timer:
                message = await begun
        except TimeoutError:
            if not timer.expired():
                raise
        else:
            self._waited += self._clock.now() - since
            return message
        if self._begun:
            return await self._receive()
        if self._refuse is not None:
            await self._stop("body_timeout", "idle" if left >= self._timeout else "rate")
        return None

    async def _stop(self, setting: str, reason: str) -> None:
        refuse, self._refuse = self._refuse, None
        assert refuse is not None
        await refuse(setting, reason, self._begun)
        self.answered = "" if self._begun else setting


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
