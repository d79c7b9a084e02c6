"""Load shedding: a service answers at once what it can, and refuses at once what it cannot, so that it never drowns.

Pure ASGI. Two mechanisms, for the two places in which requests wait: an in-flight limit that is found from the latency
(`_shedding_limit.py`: Gradient2 with Little's law), and control of the delay of the event loop (`_shedding_loop.py`:
CoDel with adaptive LIFO). Neither does anything without evidence of overload.
"""

import math
import random
import threading
import time
from asyncio import _get_running_loop as running_loop
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING

from ..clock import Clock, Jitter, SystemClock
from ..events import Listener, RequestRefused
from ._answer import Answer
from ._directly import directly
from ._reply import Replies
from ._shedding_gone import GONE, Watch
from ._shedding_levels import Levels
from ._shedding_load import Load
from ._shedding_place import Place
from ._shedding_queue import Cell
from .settings import InboundSettings
from .streams import OpenStreams, refuse_events

if TYPE_CHECKING:
    import asyncio

    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["LoadShedding"]

_SPREAD = 3
"""Retry-After is a whole number: 1 to 3 seconds, so that those refused together do not come back together."""
_UNWATCHED = 0.1
"""Seconds that a request waits without a look at whether its client is still there."""
_DETAIL = "the service has more requests than it can serve in time; this one was not begun"


class LoadShedding:
    """ASGI middleware. `emit` is told of refusals; `levels` says how much a request matters, 0 most; `left` how many
    seconds its caller waits for it yet, None for ever; `streams` are counted here where they turn out to be some.
    `used`: seconds of the processor that this process has had; with a `clock` of its own, all that it shows.
    `other` gets what is no request: websockets.
    """

    def __init__(
        self,
        app: "ASGIApp",
        *,
        settings: InboundSettings,
        streams: OpenStreams,
        replies: Replies,
        emit: Listener,
        levels: "Callable[[Scope], int] | None" = None,
        left: "Callable[[Scope], float | None]" = lambda _scope: None,
        clock: Clock | None = None,
        used: Callable[[], float] | None = None,
        other: "ASGIApp | None" = None,
        jitter: Jitter = random.random,
    ) -> None:
        self._app = directly(app)
        self._other = directly(other or app)
        self._settings = settings
        self._streams = streams
        self._replies = replies
        self._answers = [replies.prepared(_answer(1.0 + more)) for more in range(_SPREAD)]
        self._emit = emit
        self._level = levels or Levels()
        self._left = left
        self._now = (clock or SystemClock()).now
        self._used = used or (clock.now if clock else time.process_time)
        self._jitter = jitter
        self._loads: dict[object, Load] = {}  # by loop; where there is none of asyncio's, by thread
        self._lock = threading.Lock()
        self._last: Load | None = None

    def loads(self) -> Iterator[Load]:
        """What the event loops of this process have under way, for those who look at it."""
        with self._lock:
            return iter([*self._loads.values()])

    def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> Awaitable[None]:
        if scope["type"] != "http":
            return self._other(scope, receive, send)
        load = self._last
        if load is None or load.loop is not running_loop():
            load = self._of(running_loop())
        if load.under_way < load.room:
            if load.unwatched:
                load.watch()
            load.under_way += 1
            cell = load.cell
            cell.count += 1
            return self._run(Place(load, cell, scope, send), scope, receive, send)
        return self._full(load, scope, receive, send)

    def _of(self, loop: "asyncio.AbstractEventLoop | None") -> Load:
        """What this loop has under way; where it is not asyncio's, this thread."""
        key = loop or threading.current_thread()
        with self._lock:
            load = self._loads.get(key)
            if load is None:
                self._loads = {known: held for known, held in self._loads.items() if not _over(known)}
                load = Load(self._settings, loop, self._now, self._emit, self._used, self._streams)
                self._loads[key] = load
        self._last = None if loop is None else load  # of two threads without a loop, neither is the other
        return load

    async def _run(self, place: Place, scope: "Scope", receive: "Receive", send: "Send") -> None:
        try:
            await self._app(scope, receive, place.send)
        except BaseException as error:
            if not place.end() or not isinstance(error, Exception):
                raise
            await refuse_events(scope, send, self._replies, self._emit)
        else:
            if (place.cell is not None or place.odd) and place.end():
                await refuse_events(scope, send, self._replies, self._emit)

    async def _full(self, load: Load, scope: "Scope", receive: "Receive", send: "Send") -> None:
        level = self._level(scope)
        load.comes()
        if not load.queue.count and not load.gated and load.fits(level):
            if level == 0:
                load.uppermost += 1
            if load.unwatched:
                load.watch()
            await self._let_in(load, load.enter(), scope, receive, send, level)
            return
        left = self._left(scope)
        waiter = load.wait(level, math.inf if left is None else self._now() + left)
        if isinstance(waiter, str):
            await self._refuse(waiter, load, scope, send)
            return
        watch = Watch(receive, waiter.future) if self._settings.load_queue_wait > _UNWATCHED else None
        try:
            why = await waiter.future
            if watch is not None:
                await watch.over()
                receive = watch.receive
        except BaseException:
            load.abandon(waiter)  # with its place, if it has been let in meanwhile
            if watch is not None:
                await watch.over()
            raise
        if why == GONE:
            load.abandon(waiter)
        elif waiter.cell is None:
            await self._refuse(why, load, scope, send)
        else:
            await self._let_in(load, waiter.cell, scope, receive, send, level)

    async def _let_in(
        self, load: Load, cell: Cell, scope: "Scope", receive: "Receive", send: "Send", level: int
    ) -> None:
        try:
            await self._run(Place(load, cell, scope, send), scope, receive, send)
        finally:
            if level == 0:
                load.uppermost -= 1

    async def _refuse(self, reason: str, load: Load, scope: "Scope", send: "Send") -> None:
        load.shed(reason)
        self._emit(RequestRefused("", scope["method"], "load_shedding", reason, 503))
        await self._answers[int(_SPREAD * self._jitter())].send(scope, send)


def _answer(wait: float) -> Answer:
    return Answer(503, "overloaded", _DETAIL, "load_shedding", None, wait, overloaded=True)


def _over(key: object) -> bool:
    """Whether a loop is closed, a thread at its end."""
    if isinstance(key, threading.Thread):
        return not key.is_alive()
    closed: Callable[[], bool] = getattr(key, "is_closed", bool)
    return closed()
