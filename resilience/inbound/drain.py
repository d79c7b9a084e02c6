"""The end of a server: readiness fails, streams are sent elsewhere, and what does not end in time is cancelled.

What follows the order to stop is the server's own graceful end; this is what it does not do. Each event loop has its
own end: a process may run several servers.
"""

import asyncio
import logging
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import anyio

from ..clock import Clock, SystemClock
from ..events import Listener, RequestRefused
from ._answer import Answer
from ._directly import directly
from ._drain_underway import ClientSentAway, Underway, UnderwayOnTrio
from ._reply import Replies

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["ClientSentAway", "Drain", "Draining"]

_log = logging.getLogger("handrail")
# Before 3.12 `current_task` is a function in Python, which costs as much as all else that is done here.
_task_in: Callable[[asyncio.AbstractEventLoop], "asyncio.Task[Any] | None"] = asyncio.current_task
if sys.version_info < (3, 12):
    _task_in = vars(asyncio.tasks)["_current_tasks"].get
_loop = asyncio._get_running_loop
_ANSWER = Answer(
    503,
    "draining",
    "the service ends, and the request was not done in the time that it has for that",
    "drain",
    None,
    1.0,
)


class Drain:
    """What is under way in this process, and which of its event loops are about to end. Safe for threads."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self.underway: dict[Underway, None] = {}
        """A set of them: to put one into a dict and take it out costs less."""
        self.begun = False
        """Whether any loop has ever begun to drain: else there is nothing to look for."""
        self._draining: WeakKeyDictionary[Any, dict[object, asyncio.Task[None] | None]] = WeakKeyDictionary()
        self._tasks: set[asyncio.Task[None]] = set()

    def draining(self) -> bool:
        """Whether the running loop is about to end."""
        return self.begun and _here() in self._draining

    def begin(self, who: object = None) -> None:
        """From now on the running loop is not ready, and each answer by HTTP/1.1 ends its connection.

        Until it is over for `who`, a server or an app, and for all others of this loop.
        """
        here = _here()
        self._draining.setdefault(here, {}).setdefault(who, None)
        self.begun = True
        for one in tuple(self.underway):
            if one.runs_in(here):
                one.close_after()

    def end(self, seconds: float, who: object = None) -> None:
        """The server accepts no more: send streams elsewhere, and cancel what is left after so many seconds."""
        here = _here()
        if who not in self._draining.get(here, ()):
            self.begin(who)
        self._draining[here][who] = self._spawn(partial(self._end, here, seconds))

    def cut(self) -> None:
        """Cancel what is under way in the running loop."""
        here = _here()
        left = [one for one in tuple(self.underway) if one.stop is not None and one.runs_in(here)]
        if left:
            _log.warning("requests and streams cut off at the end: %d", len(left))
        for one in left:
            one.cut()

    def over(self, who: object = None) -> None:
        """It has ended."""
        here = _here()
        known = self._draining.get(here)
        if known is None:
            return
        task = known.pop(who, None)
        if task is not None:
            task.cancel()
        if not known:
            del self._draining[here]

    async def _end(self, here: object, seconds: float) -> None:
        for one in tuple(self.underway):
            if one.runs_in(here) and one.is_stream:
                self._spawn(one.send_away)
        await self._clock.sleep(seconds)
        self.cut()

    def _spawn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> "asyncio.Task[None] | None":
        loop = asyncio._get_running_loop()
        if loop is None:
            sys.modules["trio"].lowlevel.spawn_system_task(work)
            return None
        task = loop.create_task(work())
        self._tasks.add(task)  # a loop holds its tasks weakly
        task.add_done_callback(self._tasks.discard)
        return task


class Draining:
    """ASGI middleware: keeps what is under way in `drain`, and answers what is cut off."""

    def __init__(self, app: "ASGIApp", drain: Drain, *, emit: Listener, replies: Replies) -> None:
        self.app = app
        self._call = directly(app)
        self._drain = drain
        self._underway = drain.underway
        self._emit = emit
        self._replies = replies

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        loop = _loop()
        task = None if loop is None else _task_in(loop)
        if task is None:
            await self._on_trio(scope, receive, send)
            return
        one = Underway()
        one.scope = scope  # one by one: cheaper than a tuple of them
        one.stop = task
        one.out = send
        one.start = None
        underway = self._underway
        underway[one] = None
        if self._drain.begun and self._drain.draining():
            one.close_after()
        try:
            await self._call(scope, receive, one.send)
        except asyncio.CancelledError:
            del underway[one]
            if one.stop is not None or task.uncancel():  # somebody else cancels it as well
                raise
            await self._answer(one)
            return
        except BaseException:
            del underway[one]
            raise
        del underway[one]

    async def _on_trio(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        stop = anyio.CancelScope()
        one = UnderwayOnTrio()
        one.scope, one.stop, one.out, one.start, one.where = scope, stop, send, None, _here()
        self._underway[one] = None
        if self._drain.draining():
            one.close_after()
        with stop:
            try:
                await self.app(scope, receive, one.send)
            finally:
                del self._underway[one]
        if stop.cancelled_caught:
            await self._answer(one)

    async def _answer(self, one: Underway) -> None:
        """To a request whose response has begun, and to a websocket, there is nothing to say but the end."""
        scope = one.scope
        if scope["type"] != "http":
            return
        if one.start is not None and one.begun:
            self._emit(RequestRefused("", scope["method"], "drain", "begun", one.start["status"]))
            return
        self._emit(RequestRefused("", scope["method"], "drain", "", _ANSWER.status))
        await self._replies.send(_ANSWER, scope, one.send)


def _here() -> Any:
    """The running event loop, or what stands for it on trio."""
    loop = asyncio._get_running_loop()
    return loop if loop is not None else sys.modules["trio"].lowlevel.current_root_task()
