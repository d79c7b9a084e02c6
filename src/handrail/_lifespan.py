"""The lifespan protocol around an application: ready after its start, flushed before its end.

The flush cannot wait for `atexit`: uvicorn raises SIGTERM again after its graceful stop, and
the process ends there. An application that returns without an answer gets a lifespan from us. One
that raises does so to its server, which decides whether it knows no lifespan or cannot start; where
the server goes on without one, `_servers.at_end` flushes.
"""

from collections.abc import Awaitable, Callable

from ._shapes import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Lifespan"]

_ENDS = ("lifespan.startup.complete", "lifespan.startup.failed")


class Lifespan:
    """Runs `started` when the application is ready, `ending` when it is told to stop and `stopping` when it has."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        started: Callable[[], None],
        stopping: Callable[[], Awaitable[None]],
        ending: Callable[[], None] = lambda: None,
    ) -> None:
        self._app = app
        self._started = started
        self._stopping = stopping
        self._ending = ending

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        seen = _Seen(receive, send, self._started, self._stopping, self._ending)
        try:
            await self._app(scope, seen.receive, seen.send)
        except Exception:
            if not (seen.answered or seen.received):  # the server may go on, without lifespan
                self._started()
            await seen.stopped()
            raise
        if not seen.answered:
            await self._instead(seen, receive, send)

    async def _instead(self, seen: "_Seen", receive: Receive, send: Send) -> None:
        if not seen.received:
            await receive()
        self._started()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self._ending()
        await self._stopping()
        await send({"type": "lifespan.shutdown.complete"})


class _Seen:
    """What the application did with the protocol so far."""

    def __init__(
        self,
        receive: Receive,
        send: Send,
        started: Callable[[], None],
        stopping: Callable[[], Awaitable[None]],
        ending: Callable[[], None],
    ) -> None:
        self._receive = receive
        self._send = send
        self._started = started
        self._stopping = stopping
        self._ending = ending
        self.received = False
        self.answered = False
        self._running = False

    async def receive(self) -> Message:
        self.received = True
        message = await self._receive()
        if message["type"] == "lifespan.shutdown":
            self._ending()
        return message

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind in _ENDS:
            self.answered = True
            if kind == "lifespan.startup.complete":
                self._running = True
                self._started()
        elif kind in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
            await self.stopped()
        await self._send(message)

    async def stopped(self) -> None:
        """Run `stopping` once, and only after a start."""
        if self._running:
            self._running = False
            await self._stopping()
