"""A request whose caller has so much time: its calls are bound, and it is ended where that is spent before its answer.

One object for all of it, which is the `receive` and the `send` of the app: such requests come from every caller that
has handrail, so what nearly all of them have in common stands on the class.
"""

from asyncio import Task, TimerHandle, current_task, get_running_loop
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context, Token, copy_context
from typing import TYPE_CHECKING, Any

import anyio

from ..bound import Bound, bind, variable
from ..call import inbound_attempt
from ..clock import Clock, Timer
from ._idempotency_task import KEYED, Calls, Cut

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["ANSWERED_WITHIN", "GRACE", "PATIENCE", "Bounded", "Cancellable"]

GRACE = 0.05
"""Seconds between the deadline, at which calls end, and the end of the request: what the app makes of a call that ran
out of time (a kept answer, its own error page, a problem that names the dependency) is the better answer."""
PATIENCE = 5.0
"""Seconds for an app that was told that its client has left to end by itself."""
ANSWERED_WITHIN = 0.5
"""Seconds for the app to end before the answer goes out without it (Django waits for its threads)."""


class Bounded:
    """One request whose calls are bound. With the last byte of its answer nothing binds it any more."""

    bound: Bound | None = None
    begun = done = False

    def __init__(self, app: "ASGIApp", scope: "Scope", receive: "Receive", send: "Send", attempt: int) -> None:
        self.app = app
        self.scope = scope
        self.inner_receive = receive
        self.out = send
        self.attempt = attempt

    async def run(self, left: float | None, clock: Clock) -> None:
        """The app, with so many seconds left; None: any number."""
        token = inbound_attempt.set(self.attempt) if self.attempt > 1 else None
        bound = self.bound = None if left is None else bind(clock.now() + left)
        bounds = None if bound is None else variable.set(bound)
        try:
            await self.app(self.scope, self.inner_receive, self.send)
        except GeneratorExit:
            raise  # thrown away with its event loop, in a context that is not ours to restore
        except BaseException:
            self.leave(token, bounds)
            raise
        self.leave(token, bounds)

    def leave(self, attempt: Token[int] | None, bounds: Token[Bound | None] | None) -> None:
        """The request is over: what was set is taken back."""
        if self.bound is not None:
            self.bound.lift()
        if bounds is not None:
            variable.reset(bounds)
        if attempt is not None:
            inbound_attempt.reset(attempt)

    def send(self, message: "Message") -> Awaitable[None]:
        """The app's."""
        kind = message["type"]
        if (kind == "http.response.body" and not message.get("more_body")) or kind == "http.response.pathsend":
            self.last()
        return self.out(message)

    def last(self) -> None:
        """The answer is out: nobody waits any more."""
        self.done = True
        # A server may start the next request of the connection from within this send, and in this context.
        if self.attempt > 1:
            inbound_attempt.set(1)
        if self.bound is not None:
            self.bound.lift()


class Cancellable(Bounded):
    """One that is also ended when its time is spent; `answer` then sends one.

    The app is told that its client has left, where a task of its own waits for that: frameworks that run it in a task
    beside such a one (Django, Quart) end it cleanly then, and leave it alone where they are cancelled themselves. Else,
    or if that does not help, it is cancelled, once. An answer that it gives nevertheless is its answer; what it raises,
    and a cancellation from outside, pass unchanged. Where it takes its time to end, the answer goes out before.
    """

    answer: Callable[["Scope", "Send"], Coroutine[Any, Any, None]]
    over = told = False
    """`over`: it is answered by us, and what the app leaves behind has nobody to talk to."""
    _timer: Timer | None = None
    _soon: TimerHandle | None = None
    _answering: "Task[None] | None" = None
    _calls: Calls | None = None
    _waiting = 0
    _context: Context

    async def run(self, left: float | None, clock: Clock) -> None:
        """The app, for so many seconds until its answer begins."""
        now = clock.now()
        token = inbound_attempt.set(self.attempt) if self.attempt > 1 else None
        bound = self.bound = bind(now + (left or 0.0))
        bounds = variable.set(bound)
        self._context = copy_context()
        timer = self._timer = clock.timeout((bound.ends() or 0.0) - now + GRACE, self._first)
        theirs = False
        try:
            with timer:
                try:
                    await self.app(self.scope, self.receive, self.send)
                except TimeoutError:
                    theirs = True
                    raise
        except GeneratorExit:
            raise  # see above
        except BaseException as error:
            self.leave(token, bounds)
            if self._answering is not None and isinstance(error, Exception):
                await self._answering  # an answer that has begun goes out whole
            if theirs or not isinstance(error, TimeoutError) or (self.begun and not self.done):
                raise
        else:
            self.leave(token, bounds)
        if self._soon is not None or timer.expired():
            await self._end()

    def leave(self, attempt: Token[int] | None, bounds: Token[Bound | None] | None) -> None:
        """The request is over."""
        self._timer = None  # else they hold each other: work for the collector
        if self._soon is not None:
            self._soon.cancel()
        super().leave(attempt, bounds)

    async def receive(self) -> "Message":
        """The app's."""
        home = None if self._timer is None else self._timer.task
        if home is None or current_task() is home:  # which will be cancelled
            return await self.inner_receive()
        calls = self._calls = self._calls or Calls()
        if calls.over:
            return {"type": "http.disconnect"}
        self._waiting += 1
        try:
            return await calls.make(self.inner_receive())
        except Cut:
            return {"type": "http.disconnect"}
        finally:
            self._waiting -= 1

    def send(self, message: "Message") -> Awaitable[None]:
        """The app's."""
        if self.over:
            return _unheard(message)
        kind, timer = message["type"], self._timer
        if kind == "http.response.start":
            self.begun = True
            if timer is not None:
                timer.stop()
                if not timer.expired():
                    timer = self._timer = None  # what streams goes on
        elif (kind == "http.response.body" and not message.get("more_body")) or kind == "http.response.pathsend":
            self.last()
        return self.out(message) if timer is None or timer.task is not None else _on_trio(self.out, message)

    def _first(self) -> float:
        """The time is up: seconds more before it is cancelled."""
        if self._soon is None:
            self._soon = get_running_loop().call_later(ANSWERED_WITHIN, self._answer_now, context=self._context)
        # A request that outlives this one keeps such news from its app.
        if self.told or not self._waiting or self._calls is None or KEYED in self.scope:
            return 0.0
        self.told = True
        self._calls.cut()
        return PATIENCE

    def _answer_now(self) -> None:
        if not self.begun:
            self.over = True
            self._answering = get_running_loop().create_task(self._answer())

    async def _end(self) -> None:
        """The app has returned, or was cancelled."""
        if self._answering is not None:
            await self._answering
        elif not self.begun:
            self.over = True
            await self._answer()

    def _answer(self) -> Coroutine[Any, Any, None]:
        if self.bound is not None:
            self.bound.lift()  # what goes on does so for nobody
        return self.answer(self.scope, self.out)


async def _on_trio(send: "Send", message: "Message") -> None:
    """Send though the time is spent: a scope of trio's that is cancelled stays so, and the answer would stay unsaid."""
    with anyio.move_on_after(PATIENCE, shield=True):
        await send(message)


async def _unheard(message: "Message") -> None:
    if message.get("more_body"):
        raise OSError("the request was cancelled, and answered with 504")  # nothing else ends an answer without end
