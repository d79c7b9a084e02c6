"""Watches whether the client of a request that waits is still there."""

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import Message, Receive

__all__ = ["GONE", "Watch"]

GONE = "gone"
"""Why a request is not let in: its client has left."""


class Watch:
    """Of one request, from its beginning to `over`; `receive` gives what was read meanwhile, then what comes."""

    def __init__(self, receive: "Receive", future: "asyncio.Future[str]") -> None:
        self._receive = receive
        self._future = future
        self._read: list[Message] = []
        self._task = asyncio.ensure_future(self._look())

    async def _look(self) -> None:
        """As far as a client can be seen without reading more of a body than one piece."""
        while True:
            message = await self._receive()
            self._read.append(message)
            if message["type"] == "http.disconnect":
                if not self._future.done():
                    self._future.set_result(GONE)
                return
            if message.get("more_body"):
                return

    async def over(self) -> None:
        """Look no more."""
        self._task.cancel()
        with suppress(asyncio.CancelledError, Exception):  # of the server's receive: the app will meet it as well
            await self._task

    async def receive(self) -> "Message":
        """For the app."""
        return self._read.pop(0) if self._read else await self._receive()
