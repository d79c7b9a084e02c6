"""A request whose caller's time is spent: it is cancelled, unless its answer has begun."""

import asyncio
from asyncio import Task, TimerHandle, get_running_loop
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from ..bound import Bound
from ..call import inbound_attempt
from ..clock import Clock, Timer
from ._idempotency_task import KEYED, Calls, Cut

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["GRACE", "Sending", "within"]

GRACE = 0.05
"""Seconds between the deadline, at which calls end, and the end of the request: what the app makes of a call that ran
out of time (a kept answer, its own error page, a problem that names the dependency) is the better answer."""


PATIENCE = 5.0
"""Seconds for an app that was told that its client has left to end by itself."""
ANSWERED_WITHIN = 0.5
"""Seconds for the app to end before the answer goes out without it (Django waits for its threads)."""


class Sending:
    """The `send` of one request with a deadline: with the last byte of its answer nothing binds it any more."""

    __slots__ = ("_attempt", "_bound", "begun", "done", "out", "over", "timer")

    def __init__(self, send: "Send", bound: Bound | None, attempt: int) -> None:
        self.out = send
        self._bound = bound
        self._attempt = attempt
        self.timer: Timer | None = None
        """Stopped when the answer begins: what streams goes on."""
        self.begun = self.done = False
        self.over = False
        """It was cut, and is answered by us: what the app leaves behind has nobody to talk to."""

    def __call__(self, message: "Message") -> Awaitable[None]:
        if self.over:
            return _unheard(message)
        kind = message["type"]
        if kind == "http.response.start":
            self.begun = True
            if self.timer is not None:
                self.timer.stop()
        elif (kind == "http.response.body" and not message.get("more_body")) or kind == "http.response.pathsend":
            self.done = True
            # A server may start the next request of the connection from within this send, and in this context.
            if self._attempt > 1:
                inbound_attempt.set(1)
            if self._bound is not None:
                self._bound.lift()
        return self.out(message)


class _Listening:
    """The `receive` of one request. Frameworks that run the app in a task beside one that waits for the client's
    leaving (Django, Quart) end it cleanly when they are told so; where they are cancelled they leave it alone.
    """

    __slots__ = ("_calls", "_home", "_receive", "_waiting")

    def __init__(self, receive: "Receive") -> None:
        self._receive = receive
        self._calls: Calls | None = None
        self._waiting = 0
        self._home = _task()

    async def __call__(self) -> "Message":
        if self._home is None or _task() is self._home:  # which will be cancelled; None: on trio
            return await self._receive()
        calls = self._calls = self._calls or Calls()
        if calls.over:
            return {"type": "http.disconnect"}
        self._waiting += 1
        try:
            return await calls.make(self._receive())
        except Cut:
            return {"type": "http.disconnect"}
        finally:
            self._waiting -= 1

    def tell(self) -> bool:
        """Say to whoever waits in another task that the client has left; False where nobody does."""
        if self._calls is None or not self._waiting:
            return False
        self._calls.cut()
        return True


class _End:
    """How one request ends whose time is up."""

    __slots__ = ("_answer", "_answering", "_context", "_listening", "_scope", "_sending", "_soon", "told")

    def __init__(
        self, scope: "Scope", receive: "Receive", sending: Sending, answer: Callable[[], Coroutine[Any, Any, None]]
    ) -> None:
        self._scope = scope
        self._sending = sending
        self._answer = answer
        self._context = copy_context()
        self._listening = _Listening(receive)
        self._soon: TimerHandle | None = None
        self._answering: Task[None] | None = None
        self.told = False

    @property
    def receive(self) -> "Receive":
        return self._listening

    def first(self) -> float:
        """Seconds more before it is cancelled."""
        if self._soon is None:
            loop = get_running_loop()
            self._soon = loop.call_later(ANSWERED_WITHIN, self._answer_now, context=self._context)
        # A request that outlives this one keeps such news from its app.
        if not self.told and KEYED not in self._scope and self._listening.tell():
            self.told = True
            return PATIENCE
        return 0.0

    def _answer_now(self) -> None:
        if not self._sending.begun:
            self._sending.over = True
            self._answering = get_running_loop().create_task(self._answer())

    async def over(self, *, spent: bool) -> None:
        """The app has returned: `spent`, where it was cancelled."""
        self.drop()
        if self._answering is not None:
            await self._answering
        elif not self._sending.begun and (spent or self.told):
            self._sending.over = True
            await self._answer()

    def drop(self) -> None:
        if self._soon is not None:
            self._soon.cancel()


async def within(
    seconds: float,
    clock: Clock,
    app: "ASGIApp",
    scope: "Scope",
    receive: "Receive",
    sending: Sending,
    answer: Callable[[], Coroutine[Any, Any, None]],
) -> None:
    """Run the app, for so many seconds until its answer begins; then it is ended, and `answer` sends one.

    The app is told that its client has left, where a task of its own waits for that; else, or if that does not help, it
    is cancelled, once. An answer that it gives nevertheless is its answer; what it raises, and a cancellation from
    outside, pass unchanged. Where it takes its time to end, the answer goes out before.
    """
    theirs = False
    end = _End(scope, receive, sending, answer)
    sending.timer = timer = clock.timeout(seconds, end.first)
    try:
        with timer:
            try:
                await app(scope, end.receive, sending)
            except TimeoutError:
                theirs = True
                raise
    except TimeoutError:
        if theirs or (sending.begun and not sending.done):
            raise
    finally:
        sending.timer = None
        end.drop()
    await end.over(spent=timer.expired())


def _task() -> "Task[Any] | None":
    return None if asyncio._get_running_loop() is None else asyncio.current_task()


async def _unheard(message: "Message") -> None:
    if message.get("more_body"):
        raise OSError("the request was cancelled, and answered with 504")  # nothing else ends an answer without end
