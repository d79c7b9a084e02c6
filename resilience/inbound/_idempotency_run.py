"""A request with a new key, carried out: what passes is noted, and the key is kept or freed before its client knows."""

import asyncio
import logging
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

import anyio

from ..clock import Clock
from ..replay.courier import StoreAway
from ..replay.work import Begin, Free, Held, Keep, Work
from ._idempotency_answer import Copy, with_header
from ._idempotency_body import BodyRead
from ._idempotency_request import Asked
from ._idempotency_task import Calls, Cut

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["PATIENCE", "SETTLED_WITHIN", "Courier", "Running", "current_key"]

SETTLED_WITHIN = 2.0
"""Seconds that the last message of an answer waits for the store; then it goes out all the same."""
PATIENCE = 60.0
"""Seconds for which an app is not told that its client has left: most would stop in the middle of the work."""
SILENCE = 45.0
"""Seconds without a piece of a body that has not ended: its client counts as gone, and its key may come again. More
than `body_timeout`, by which it is answered."""

_log = logging.getLogger("handrail")
_LEFT = {"type": "http.disconnect"}

current_key: ContextVar[str | None] = ContextVar("handrail_idempotency_key", default=None)
"""The client's key of the request at hand."""


class Courier(Protocol):
    """What is asked of `replay.courier.Courier`."""

    @property
    def identity(self) -> str | None: ...

    async def ask(self, work: Work, seconds: float, /) -> Held | bool: ...

    def tell(self, work: Work) -> None: ...

    def hold(self, begin: Begin) -> None: ...

    def let_go(self, key: bytes, owner: str) -> None: ...


_alone: "set[Running]" = set()


class Running:
    """One request. It ends in one of three ways: kept (carried out), freed (it failed: the same may come again), or
    let go without either, where nobody can know; the key is then BROKEN as soon as its lease is over.
    """

    __slots__ = (
        "_app",
        "_asked",
        "_begin",
        "_body",
        "_called",
        "_calls",
        "_clock",
        "_copy",
        "_courier",
        "_deaf",
        "_finished",
        "_home",
        "_left_at",
        "_receive",
        "_released",
        "_said",
        "_scope",
        "_send",
        "_settled",
        "_told",
        "_trace",
    )

    def __init__(
        self,
        app: "ASGIApp",
        scope: "Scope",
        receive: "Receive",
        send: "Send",
        *,
        asked: Asked,
        begin: Begin,
        copy: Copy,
        courier: Courier,
        clock: Clock,
        said: tuple[bytes, bytes] | None,
        trace: str | None,
        called: str,
    ) -> None:
        self._app = app
        self._scope = scope
        self._receive = receive
        self._send = send
        self._asked = asked
        self._begin = begin
        self._copy = copy
        self._courier = courier
        self._clock = clock
        self._said = said
        self._trace = trace
        self._called = called
        self._body = BodyRead(asked.boundary)
        self._calls = Calls()
        self._settled = False
        self._deaf = False
        self._told = False
        self._left_at: float | None = None
        self._released: anyio.Event | None = None
        self._finished: anyio.Event | None = None
        self._home = asyncio._get_running_loop()

    async def run(self) -> None:
        """The app, in a task of its own."""
        current_key.set(self._asked.key)
        try:
            await self._app(self._scope, self.receive, self.send)
        except GeneratorExit:  # thrown away with its event loop: nothing can be waited for any more
            self._courier.let_go(self._begin.key, self._begin.owner)
            raise
        except Exception:
            await self._ended(failed=True)
            raise
        except BaseException:
            self._let_go()
            raise
        await self._ended(failed=False)

    def never_ran(self) -> None:
        """Nothing was done."""
        self._settled = True
        self._courier.tell(Free(self._begin.key, self._begin.owner))
        self._courier.let_go(self._begin.key, self._begin.owner)

    def left(self) -> None:
        """The server has cancelled the request: the app goes on without it."""
        _alone.add(self)
        self._deaf = True
        self._gone()
        self._calls.cut()

    def ended(self, error: BaseException | None) -> None:
        """It went on alone, and is over."""
        _alone.discard(self)
        if self._finished is not None:
            self._finished.set()
        if error is not None:
            _log.warning("%s went on after its server had given it up, and failed", self._called, exc_info=error)

    @staticmethod
    def alone_here() -> "list[Running]":
        """All of this loop that go on although their server has given them up."""
        here = asyncio._get_running_loop()
        return [one for one in _alone if one._home is here]

    async def finished(self) -> None:
        """Wait until it is over."""
        if self._finished is None:
            self._finished = anyio.Event()
        await self._finished.wait()

    async def receive(self) -> "Message":
        """The server's, but for the client's leaving: that is not told at once where the whole request is here."""
        message: Message = _LEFT
        try:
            if not self._calls.over:
                message = await (self._calls.make(self._receive()) if self._body.whole else self._piece())
        except Cut:
            pass
        if message["type"] == "http.request":
            self._body.see(message)
            return message
        self._gone()
        if self._body.whole and not self._settled:
            await self._patience()
        self._told = True
        return message

    async def _piece(self) -> "Message":
        """The next of the body. A line that has died without a word would hold the key for as long as it stands."""
        try:
            with self._clock.timeout(SILENCE):
                return await self._calls.make(self._receive())
        except TimeoutError:
            return _LEFT

    async def send(self, message: "Message") -> None:
        """The server's; before the last message of the answer the key is settled."""
        if not self._settled:
            last = self._copy.see(message)
            if message["type"] == "http.response.start" and self._said is not None:
                message = {**message, "headers": with_header(message.get("headers", ()), self._said)}
            if last:
                await self._settle()
            elif self._released is not None and not self._patient():
                self._released.set()
        if not self._deaf:
            try:
                await self._calls.make(self._send(message))
            except Cut:
                self._deaf = True
            except OSError:  # of a server that says so when the client has left
                self._deaf = True
                self._gone()
        if self._deaf and message["type"] != "http.response.start" and not self._patient():
            raise OSError("the client has left")  # nothing else would end an answer without end

    def _gone(self) -> None:
        if self._left_at is None:
            self._left_at = self._clock.now()

    def _patient(self) -> bool:
        """Whether the answer is still worth its end although nobody reads it."""
        if self._copy.missing is not None or self._copy.stream:
            return False
        return self._left_at is None or self._clock.now() < self._left_at + PATIENCE

    async def _patience(self) -> None:
        """Wait until the answer is there, or not worth the wait."""
        if not self._patient() or self._left_at is None:
            return
        if self._released is None:
            self._released = anyio.Event()
        try:
            with self._clock.timeout(self._left_at + PATIENCE - self._clock.now()):
                await self._released.wait()
        except TimeoutError:
            pass

    async def _ended(self, *, failed: bool) -> None:
        """The app is done, maybe before its answer is."""
        if self._settled:
            return
        if self._copy.done:
            self._copy.broken_off()
        elif not failed and self._told and self._copy.status is None:
            self._let_go()  # it may have been in the middle of the work when it heard that its client had left
            return
        await self._settle()

    async def _settle(self) -> None:
        self._over()
        key, owner = self._begin.key, self._begin.owner
        work: Keep | Free = Free(key, owner)
        if self._copy.done and not self._is_about_a_torso():
            record = self._copy.record(self._asked, self._body, self._trace)
            work = Keep(key, owner, record.dump(), self._begin.retention)
        try:
            done = await self._courier.ask(work, SETTLED_WITHIN)
        except StoreAway:
            self._courier.tell(work)  # which goes on trying, and renews the lease meanwhile
            return
        except BaseException:
            self._courier.tell(work)
            raise
        self._courier.let_go(key, owner)
        if not done and work.__class__ is Keep:
            _log.warning("the answer to %s was not kept: its key is gone, or was taken over", self._called)

    def _is_about_a_torso(self) -> bool:
        """Whether it is a complaint about a body that has not come whole: the request itself was never there."""
        return self._told and not self._body.whole and (self._copy.status or 0) >= 400

    def _over(self) -> None:
        self._settled = True
        if self._released is not None:
            self._released.set()

    def _let_go(self) -> None:
        if not self._settled:
            self._over()
            self._courier.let_go(self._begin.key, self._begin.owner)
