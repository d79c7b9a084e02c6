"""How a server's order to stop becomes a drain: readiness fails first, requests are still taken for a while.

Each known server has one seam, a method or function that is looked up after the application is loaded, and given back
on `undo`. The others tell of their end by the lifespan alone.
"""

import asyncio
import logging
import signal
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any

from . import _siblings
from ._shapes import when_imported
from .resilience.inbound.drain import Drain

if TYPE_CHECKING:
    from pathlib import Path

    from .resilience.inbound.settings import InboundSettings
    from .settings import Settings

__all__ = ["DRAIN", "asked", "install"]

_log = logging.getLogger("handrail")
DRAIN = Drain()
"""The one of this process: what is under way outlives a change of settings."""
ASKED_WITHIN = 600.0
"""Seconds for which a question for readiness counts."""
_TICK = 0.1
_SPARE = 0.5
"""Seconds between our end of what is under way, which answers it, and the server's own, which does not."""
_asked_at: float | None = None
_serving: ContextVar[Any] = ContextVar("handrail-hypercorn-config", default=None)
_now = time.monotonic


def asked(state: "Path") -> None:
    """Somebody wants to know whether requests should be sent here. `state` is where workers tell each other."""
    global _asked_at
    _asked_at = _now()
    _siblings.tell(state, ASKED_WITHIN)


def waiting(settings: "Settings") -> float:
    """Seconds for which requests are still taken after SIGTERM: none where nobody would notice."""
    heard = _asked_at is not None and _now() - _asked_at < ASKED_WITHIN
    return settings.inbound.drain_wait if heard or _siblings.heard(settings.state, ASKED_WITHIN) else 0.0


def install(settings: "Callable[[], Settings]") -> Callable[[], None]:
    """Take hold of the servers, those imported later included; returns the undo."""
    undo: list[Callable[[], None]] = []
    seams: tuple[tuple[str, str, Callable[[Any, Callable[[], Settings]], Any]], ...] = (
        ("uvicorn.server", "Server.shutdown", _uvicorn),
        ("hypercorn.asyncio.run", "worker_serve", _hypercorn),
        ("hypercorn.asyncio.run", "WorkerContext", _recycled),
        ("hypercorn.trio.run", "worker_serve", _hypercorn),
        ("hypercorn.trio.run", "WorkerContext", _recycled),
        ("granian._signals", "set_loop_signals", _granian),
    )
    on = True

    def take(place: str, make: Callable[[Any, "Callable[[], Settings]"], Any], module: Any) -> None:
        if on:
            try:
                undo.append(_replaced(module, place, lambda original: make(original, settings)))
            except Exception as error:  # a version that looks otherwise
                _log.warning("%s gives no way in, so that its end is abrupt: %r", module.__name__, error)

    def off() -> None:
        nonlocal on
        on = False
        while undo:
            undo.pop()()

    for name, place, make in seams:
        when_imported(name, partial(take, place, make))
    return off


def _replaced(module: Any, place: str, make: Callable[[Any], Any]) -> Callable[[], None]:
    owner, _, name = place.rpartition(".")
    holder = getattr(module, owner) if owner else module
    original = getattr(holder, name)
    made = make(original)
    setattr(holder, name, made)

    def undo() -> None:
        if getattr(holder, name) is made:
            setattr(holder, name, original)

    return undo


def _begin(seconds: float, who: object = None) -> None:
    DRAIN.begin(who)
    if seconds > 0:
        _log.info("SIGTERM: not ready from now on; requests are taken for %g s more", seconds)


def _uvicorn(original: Any, settings: "Callable[[], Settings]") -> Any:
    """Around `Server.shutdown`, which begins with the end of accepting. So it is for gunicorn's uvicorn worker."""

    async def shutdown(self: Any, sockets: Any = None) -> None:
        now = settings()
        caught = getattr(self, "_captured_signals", [signal.SIGTERM])
        # A parent, or systemd, may send a second SIGTERM to all: only SIGINT is impatience.
        wait = waiting(now) if signal.SIGTERM in caught and signal.SIGINT not in caught else 0.0
        _begin(wait, self)
        await _take_more(self, wait)
        config, theirs = self.config, self.config.timeout_graceful_shutdown
        if theirs is None:  # else a client that does not read holds it for ever
            config.timeout_graceful_shutdown = now.inbound.drain_timeout + 2 * _SPARE
        DRAIN.end(_within(now.inbound, theirs), self)
        try:
            await original(self, sockets)
        finally:
            config.timeout_graceful_shutdown = theirs
            DRAIN.over(self)
            _siblings.leave()  # a forced end skips the lifespan

    return shutdown


async def _take_more(server: Any, seconds: float) -> None:
    """Go on as the server's main loop does: it keeps the Date header, and a parent informed."""
    ends, count = _now() + seconds, 0
    while _now() < ends and not server.force_exit:
        count += 1
        await asyncio.sleep(_TICK)
        await server.on_tick(count)


def _within(settings: "InboundSettings", theirs: float | None) -> float:
    """Seconds until we cut off; before a server that has a bound of its own does."""
    return settings.drain_timeout if theirs is None else min(settings.drain_timeout, max(theirs - _SPARE, theirs / 2))


def _hypercorn(original: Any, settings: "Callable[[], Settings]") -> Any:
    """Around `worker_serve`: what triggers the end of accepting waits."""

    async def worker_serve(app: Any, config: Any, *, shutdown_trigger: Any = None, **more: Any) -> None:
        _serving.set(config)
        caught: list[int] = []
        if shutdown_trigger is None and asyncio._get_running_loop() is not None:
            shutdown_trigger = _signalled(caught)
        if shutdown_trigger is None:  # trio without a parent: it has no signals
            await original(app, config, shutdown_trigger=None, **more)
            return

        async def later() -> None:
            import anyio

            await shutdown_trigger()
            now = settings()
            ends = _now() + (0.0 if signal.SIGINT in caught else waiting(now))
            _begin(ends - _now(), config)
            while _now() < ends and signal.SIGINT not in caught:  # noqa: ASYNC110 (on trio there is no such event)
                await anyio.sleep(_TICK)
            _end_of_hypercorn(config, now.inbound)

        try:
            await original(app, config, shutdown_trigger=later, **more)
        finally:
            DRAIN.over(config)

    return worker_serve


def _end_of_hypercorn(config: Any, settings: "InboundSettings") -> None:
    theirs: float | None = config.graceful_timeout
    if theirs == type(config).graceful_timeout:
        theirs, config.graceful_timeout = None, settings.drain_timeout + 2 * _SPARE
    DRAIN.end(_within(settings, theirs), config)


def _recycled(original: Any, settings: "Callable[[], Settings]") -> Any:
    """Around `WorkerContext`, which ends a worker after `max_requests`: at once, since another takes its place."""

    def context(max_requests: int | None) -> Any:
        made, config = original(max_requests), _serving.get()
        end = made.terminate.set

        async def terminate() -> None:
            if not DRAIN.draining():  # else its end is under way, and clients may still come
                if config is not None:
                    _end_of_hypercorn(config, settings().inbound)
                await end()

        made.terminate.set = terminate
        return made

    return context


def _signalled(caught: list[int]) -> Callable[[], Awaitable[object]]:
    """As hypercorn itself does it, but that it is known which signal it was."""
    event, loop = asyncio.Event(), asyncio.get_running_loop()

    def handler(signum: int) -> None:
        caught.append(signum)
        event.set()

    for name in ("SIGINT", "SIGTERM", "SIGBREAK"):
        number = getattr(signal, name, None)
        if number is not None:
            try:
                loop.add_signal_handler(number, handler, number)
            except NotImplementedError:  # Windows
                signal.signal(number, lambda signum, _frame: loop.call_soon_threadsafe(handler, signum))
    return event.wait


def _granian(original: Any, settings: "Callable[[], Settings]") -> Any:
    """Around `set_loop_signals`, whose event ends the worker."""

    def set_loop_signals(loop: Any) -> Any:
        event = original(loop)
        timer: list[asyncio.TimerHandle] = []
        ended: list[bool] = []

        def end() -> None:
            if not ended:
                ended.append(True)
                DRAIN.end(settings().inbound.drain_timeout)
                loop.call_later(_TICK, event.set)  # it drops websockets at once: let them be told

        def handler(signum: int) -> None:
            wait = waiting(settings()) if signum == signal.SIGTERM else 0.0
            if not timer:
                _begin(wait)
            elif signum == signal.SIGTERM:
                return
            timer.append(loop.call_later(wait, end))

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, handler, number)
        return event

    return set_loop_signals
