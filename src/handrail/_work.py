"""`handrail.resume` and its kin: the work of a process that may never import the web application."""

import logging
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import _wire
from .tracing.context import Carried, Carrier, CarrierOf, Resume, capture, carry, context_of

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer
    from opentelemetry.util.types import Attributes

__all__ = ["arrived", "capture", "carry", "install", "resume"]

_log = logging.getLogger("handrail")
_watched = 0
"""The process whose end is watched; a child by fork watches its own."""


def install() -> Callable[[], None]:
    """Carry the current span into threads and executors, and a caller's deadline into executors; returns the undo."""
    from .resilience import call
    from .tracing import context

    return context.install((call._deadline,), arrived)


def resume(carrier: "Carrier | CarrierOf", name: str, *, link: bool = True, attributes: "Attributes" = None) -> Resume:
    """A CONSUMER span around work that was handed over with `capture()`: a job, a message, a row.

        with handrail.resume(job["trace"], "send receipt"): ...          `async with` as well

        @handrail.resume(lambda order, trace: trace, "send receipt")     as a decorator, each call a span;
        async def send(order, trace): ...                                the lambda gets the call's arguments

    `link`: the work is a trace of its own with a link to where it came from (default, as the messaging conventions
    have it: it may begin hours later, run twice, be sampled apart); False: a child in the same trace. Baggage is
    restored either way. A span that this process has open at the moment, a task library's for instance, is linked.

    The error of the body is recorded on the span and raised unchanged; a cancellation is no error. A carrier that is
    None, empty or garbage gives a span without link. Switches handrail on where nothing did, as `import
    handrail.auto` does; where its settings are wrong that is logged once, and the work runs without a span. Spans
    are flushed at exit, and at SIGTERM where nobody handles it and the first work runs on the main thread.
    """
    return Resume(_tracer, carrier, name, link=link, attributes=attributes)


def _tracer() -> "Tracer | None":
    process = _wire.current()
    if process is None:
        from .resilience.errors import SettingsError

        try:
            process = _wire.switch_on({})
        except SettingsError as error:
            _once(f"work runs without spans: {error}")
            return None
    if not process.settings.enabled or process.settings.tracing.disabled:
        return None
    tracing = process.tracing()
    if _watched != os.getpid():
        _watch_the_end(process)
    tracer: Tracer = tracing.tracer
    return tracer


_said: set[str] = set()


def _once(text: str) -> None:
    if text not in _said:
        _said.add(text)
        _log.error(text)


def arrived(fn: Callable[..., Any], carrier: dict[str, str]) -> Callable[..., Any]:
    """What a function becomes in a process of a ProcessPoolExecutor: its spans are children, and leave."""
    _tracer()
    return Carried(fn, context_of(carrier))


def _watch_the_end(process: _wire.Process) -> None:
    """`atexit` is the provider's; a child of multiprocessing does not run it, and SIGTERM runs nothing."""
    global _watched
    _watched = os.getpid()
    from .tracing.context import _exit as _context_exit

    undo = _context_exit.before_sigterm(_flush, process.settings.tracing.flush_timeout)
    process.undo.append(lambda: _unwatch(undo))
    multiprocessing = sys.modules.get("multiprocessing.process")
    if multiprocessing is not None and multiprocessing.parent_process() is not None:
        from multiprocessing.util import Finalize

        Finalize(None, _flush, exitpriority=10)


def _unwatch(undo: Callable[[], None]) -> None:
    global _watched
    _watched = 0
    undo()


def _flush() -> None:
    process = _wire.current()
    if process is not None:
        process.flush_now()
