"""Tells when something holds the event loop: `time.sleep` or `requests` inside of `async def`.

A timer on the loop (the heart) says when it ran last; a daemon thread looks at it, and takes the stack of the loop's
thread while the loop is held. When it runs again, each SERVER span that was open then gets an event, and the log one
warning that says where and what to do instead. Both rest while no request is open.

What counts is held for certain: a hold may be up to a quarter of the bound longer than what is told, and one that is
longer than 1.25 times the bound is always noticed. A stopped or starved machine is not the code's fault: where neither
the thread nor the processor did anything meanwhile, nothing is told. Code that keeps the GIL is told without a stack.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from typing import Any, Final

from opentelemetry.context import get_current
from opentelemetry.trace import Span

from .. import semconv
from ..inbound._background import EXCHANGE
from . import _stack as _blocked_stack
from ._stack import Place

__all__ = ["LoopWatch", "OpenExchanges"]

_log = logging.getLogger("handrail")

_REST: Final = 1.0
"""Seconds without an open request after which nothing beats any more."""

_AGAIN: Final = 60.0
_MOST_PLACES: Final = 256

_COMPUTED: Final = 0.25
"""Share of a time in which only one thread ran that the process must have computed; else the machine stood still."""


@dataclass(eq=False, slots=True)
class _Hold:
    """The loop is held: since when (monotonic), noticed when (epoch, ns), where, and who waits."""

    since: float
    noticed: int
    place: Place | None
    culprit: object | None
    waiting: set[object]
    count: int = 0


@dataclass(eq=False, slots=True)
class _Heart:
    """Beats on one loop. `at` is its last beat; the rest is the thread's."""

    loop: asyncio.AbstractEventLoop
    thread: int
    at: float
    busy: float
    cpu: float
    hold: _Hold | None = None
    doing: object = None
    doing_since: float = 0.0


class OpenExchanges(set[object]):
    """The set that `ServerSpans` keeps its open exchanges in; what enters and leaves it is how the watch knows.

    Its class follows what the watch has to know, so that a request of an ordinary second pays for a plain set.
    """

    watch: "LoopWatch"


class _Asleep(OpenExchanges):
    def add(self, exchange: object) -> None:
        """The first request after a rest wakes the watch of its loop."""
        set.add(self, exchange)
        self.watch.wake()


class _Held(OpenExchanges):
    def discard(self, exchange: object) -> None:
        """A request is about to end its span: the last moment to tell it what it suffered."""
        set.discard(self, exchange)
        self.watch.leaves(exchange)


class LoopWatch:
    """Watches the loops that requests run on. `bound` is in seconds.

    `on_blocked` is told the seconds of each hold, on the loop's thread. `open` belongs to `ServerSpans`. Trio's loop is
    not watched, nor one whose time is not the real time.
    """

    def __init__(self, bound: float, on_blocked: Callable[[float], None] | None = None) -> None:
        self.begin(bound, on_blocked)
        self.open: OpenExchanges = _Asleep()
        self.open.watch = self
        self.holds: list[_Hold] = []
        self._hearts: dict[int, _Heart] = {}
        self._thread: threading.Thread | None = None
        self._asked = threading.Event()
        self._ticked = 0.0
        self._said: OrderedDict[tuple[str, int], float] = OrderedDict()

    def begin(self, bound: float, on_blocked: Callable[[float], None] | None = None) -> None:
        """Watch, from the next request on; also after `end`."""
        self.bound = bound
        self.period = max(bound / 4, 0.01)
        self.on_blocked = on_blocked
        self._ended = False

    # -- on the loop's thread

    def wake(self) -> None:
        """Watch the running loop; called by its first request."""
        loop = asyncio._get_running_loop()
        if loop is None or self._ended or abs(loop.time() - time.monotonic()) > 1:
            return
        now = time.monotonic()
        heart = self._hearts.get(id(loop))
        if heart is None or heart.loop is not loop:
            heart = _Heart(loop, threading.get_ident(), now, now, time.process_time())
            self._hearts[id(loop)] = heart
            self._schedule(heart)
        if self._thread is None or not self._thread.is_alive():  # a forked child has none
            self._asked = threading.Event()
            self._ticked = now
            self._thread = threading.Thread(target=self._look_on, args=(self._asked,), name="handrail-loop-watch")
            self._thread.daemon = True
            self._thread.start()
        self._asked.set()
        self._dress()

    def _dress(self) -> None:
        self.open.__class__ = _Held if self.holds else OpenExchanges if self._hearts else _Asleep

    def _schedule(self, heart: _Heart) -> None:
        # In a context of its own: the timer must not keep the first request's one.
        heart.loop.call_later(self.period, self._beat, heart, context=Context())

    def _beat(self, heart: _Heart) -> None:
        now, cpu = time.monotonic(), time.process_time()
        late = now - heart.at - self.period
        if late >= self.bound:
            self._was_late(heart, late, cpu - heart.cpu, now)
        elif heart.hold is not None:  # noticed, and over before it was long enough
            self._forget(heart)
        heart.at, heart.cpu, heart.doing = now, cpu, None
        if self.open:
            heart.busy = now
        if self._ended or now - heart.busy >= _REST:
            self._stop(heart)
        else:
            self._schedule(heart)

    def _was_late(self, heart: _Heart, late: float, cpu: float, now: float) -> None:
        hold = heart.hold
        if hold is None and now - self._ticked > self.period + self.bound / 2:
            if cpu < late * _COMPUTED:
                return  # the thread did not run either, and nobody computed: it was the machine
            hold = _Hold(heart.at, time.time_ns(), None, None, set(self.open), len(self.open))
        if self.on_blocked is not None:
            self.on_blocked(late)
        if hold is None:
            return  # many short steps: a busy loop, and nobody to blame
        for exchange in hold.waiting & self.open:
            self._tell(exchange, hold, late)
        self._forget(heart)
        self._warn(hold, late, now)

    def leaves(self, exchange: object) -> None:
        """Tell an exchange that ends while the loop is held, or before the heart beats again."""
        for hold in tuple(self.holds):
            if exchange in hold.waiting:
                hold.waiting.discard(exchange)
                held = time.monotonic() - hold.since - self.period
                if held >= self.bound:
                    self._tell(exchange, hold, held)

    def _tell(self, exchange: Any, hold: _Hold, seconds: float) -> None:
        span: Span = exchange.span
        attributes: dict[str, str | int | float | bool] = {
            semconv.BLOCKED_DURATION: round(seconds, 3),
            semconv.BLOCKED_REQUESTS: hold.count,
        }
        if hold.culprit is not None:
            attributes[semconv.BLOCKED_CULPRIT] = hold.culprit is exchange
        if hold.place is not None:
            attributes[semconv.CODE_FUNCTION] = hold.place.function
            attributes[semconv.CODE_FILE] = hold.place.path
            attributes[semconv.CODE_LINE] = hold.place.number
            attributes[semconv.CODE_STACKTRACE] = hold.place.stack
        span.add_event(semconv.EVENT_LOOP_BLOCKED, attributes, hold.noticed)

    def _warn(self, hold: _Hold, seconds: float, now: float) -> None:
        place = hold.place
        key = (place.path, place.number) if place is not None else ("", 0)
        if now - self._said.get(key, -_AGAIN) < _AGAIN:
            return
        self._said[key] = now
        self._said.move_to_end(key)
        if len(self._said) > _MOST_PLACES:
            self._said.popitem(last=False)
        others = hold.count - (hold.culprit is not None)
        waited = f"while {others} other request{'s' * (others != 1)} waited" if others else "while one request ran"
        if place is None:
            _log.warning("the event loop was held for %.2f s %s, by code that keeps the GIL", seconds, waited)
            return
        said = f": `{place.line}`" if place.line else ""
        advice = f"; {place.advice}" if place.advice else ""  # not read yet, where the hold ended meanwhile
        _log.warning("%s held the event loop for %.2f s %s%s%s", place, seconds, waited, said, advice)

    def _forget(self, heart: _Heart) -> None:
        hold, heart.hold = heart.hold, None
        if hold in self.holds:
            self.holds.remove(hold)
            self._dress()

    def _stop(self, heart: _Heart) -> None:
        self._forget(heart)
        if self._hearts.get(id(heart.loop)) is heart:
            del self._hearts[id(heart.loop)]
        self._dress()

    # -- on the thread that watches

    def _look_on(self, asked: threading.Event) -> None:
        cpu = time.process_time()
        while not self._ended and asked is self._asked:
            if not self._hearts:
                asked.clear()
                if not self._hearts:
                    asked.wait()
                self._ticked, cpu = time.monotonic(), time.process_time()
            time.sleep(self.period)  # cheaper than an event with a timeout
            now, cpu_now = time.monotonic(), time.process_time()
            slept = now - self._ticked - self.period
            if slept > self.bound / 2 and cpu_now - cpu < slept * _COMPUTED:
                for heart in tuple(self._hearts.values()):  # the machine stood still
                    heart.at += slept
            self._ticked, cpu = now, cpu_now
            for heart in tuple(self._hearts.values()):
                if heart.hold is None and now - heart.at >= self.bound * 0.3:
                    with contextlib.suppress(Exception):  # what a look at a running thread may meet must end nothing
                        self._look(heart, now, starved=slept > self.bound / 2)

    def _look(self, heart: _Heart, now: float, *, starved: bool) -> None:
        if not heart.loop.is_running():
            self._stop(heart)
            return
        found = _blocked_stack.frames(heart.thread)
        task = asyncio.current_task(heart.loop)
        doing = task or _blocked_stack.step(found)
        if doing is not heart.doing:
            heart.doing, heart.doing_since = doing, now
        # One step of the loop, and not many short ones. Where the GIL was kept, this is the first moment behind it.
        one_step = starved or now - heart.doing_since >= self.bound * 0.3
        if now - heart.at < self.bound * 0.8 or not one_step or not found:
            return
        if _blocked_stack.is_debugged(found):
            heart.at = now
            return
        waiting = set(self.open)
        culprit = _blocked_stack.among(found, waiting) or _exchange_of(task, waiting)
        place = _blocked_stack.place(found)
        hold = _Hold(heart.at, time.time_ns(), place, culprit, waiting, len(waiting))
        heart.hold = hold
        self.holds.append(hold)
        self._dress()
        place.read()  # lets others run: whoever leaves now knows the rest already

    def end(self) -> None:
        """Stop watching; the thread ends within a period."""
        self._ended = True
        self._thread = None
        asked, self._asked = self._asked, threading.Event()
        asked.set()


def _exchange_of(task: asyncio.Task[Any] | None, candidates: set[object]) -> object | None:
    """The request in whose context a task runs that was started within it (from Python 3.12 on)."""
    context: Context | None = getattr(task, "get_context", lambda: None)()
    found = context.copy().run(get_current).get(EXCHANGE) if context is not None else None
    return found if found in candidates else None
