"""`handrail.resume` and its kin: the work of a process that may never import the web application."""

import logging
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from . import _wire
from .resilience import bound
from .tracing import context as _context
from .tracing.context import Carried, Carrier, CarrierOf, context_of

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer
    from opentelemetry.util.types import Attributes

__all__ = ["arrived", "capture", "carry", "install", "resume"]

_log = logging.getLogger("handrail")
_watched = 0
"""The process whose end is watched; a child by fork watches its own."""


P = ParamSpec("P")
R = TypeVar("R")


def install() -> Callable[[], None]:
    """Carry the current span and the caller's deadline into threads and executors; returns the undo."""
    from .resilience.call import inbound_attempt
    from .resilience.overrides import at_hand

    return _context.install((bound.variable,), arrived, (inbound_attempt, at_hand))


def capture(context: "Context | None" = None, *, deadline: bool = False) -> dict[str, str]:
    """What joins later work to the current span: W3C `traceparent`, `tracestate` and `baggage`, as far as there are.

    Text only, so it fits into JSON, a job's arguments or a column; empty where no span is current. Baggage is
    bounded as on the wire: 64 members, 8192 bytes. Anybody's W3C propagator reads it, ours reads anybody's.

    `deadline`: also the time that is left of the caller's deadline, for a caller who waits for the work's result;
    `resume` counts the time in the queue. Without it the work is bound by nothing: it outlives its request.
    """
    carrier = _context.capture(context)
    here = bound.variable.get() if deadline else None
    if here is not None:
        carrier.update(here.carrier())
    return carrier


def carry(fn: Callable[P, R]) -> Callable[P, R]:
    """`fn` for a queue inside this process: wherever and whenever it is called, it runs in the context of now.

        queue.put(handrail.carry(job))      the worker calls what it gets

    Spans that it begins are children of the span that is current now, also where that has ended by then; the
    worker's own context is back afterwards. A caller's deadline binds it until the caller has its answer. Sync and
    async functions; arguments, result and exceptions pass unchanged. (Java calls this `Context.wrap`, Node
    `context.bind`.) For another process see `capture`.

    Raises TypeError for generator functions: they run step by step, each in the context of whoever asks for it.
    """
    here = bound.variable.get()
    return _context.carry(fn, () if here is None else ((bound.variable, here),))


def resume(
    carrier: "Carrier | CarrierOf", name: str, *, link: bool = True, attributes: "Attributes" = None
) -> "Resume":
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

    A deadline in the carrier (`capture(deadline=True)`) binds the outbound calls of the work; its waiting counts.
    """
    return Resume(_tracer, carrier, name, link=link, attributes=attributes)


class Resume(_context.Resume):
    """With the deadline of the carrier, if it has one."""

    _held: tuple[AbstractContextManager[object], ...] = ()

    def __enter__(self) -> "Span":
        ends = bound.resumed(self._carrier)
        held = nullcontext() if ends is None else bound.until(ends)
        held.__enter__()
        self._held = (*self._held, held)
        return super().__enter__()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            super().__exit__(kind, error, at)
        finally:
            *others, held = self._held
            self._held = tuple(others)
            if not isinstance(error, GeneratorExit):  # thrown away, in a context that is not ours to restore
                held.__exit__(None, None, None)


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
    ends = bound.resumed(carrier)
    return Carried(fn, context_of(carrier), () if ends is None else ((bound.variable, bound.Bound(ends)),))


def _watch_the_end(process: _wire.Process) -> None:
    """`atexit` is the provider's; a child of multiprocessing does not run it, and SIGTERM runs nothing."""
    global _watched
    _watched = os.getpid()
    from .tracing.context import _exit as _context_exit
    from .tracing.lifecycle import at_end_of_child

    undo = _context_exit.before_sigterm(_flush, process.settings.tracing.flush_timeout)
    process.undo.append(lambda: _unwatch(undo))
    at_end_of_child(_flush)


def _unwatch(undo: Callable[[], None]) -> None:
    global _watched
    _watched = 0
    undo()


def _flush() -> None:
    process = _wire.current()
    if process is not None:
        process.flush_now()
