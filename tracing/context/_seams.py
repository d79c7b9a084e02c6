"""Methods of the standard library through which work reaches another thread, each passed through one function of ours.

Class methods, never module attributes: whoever has taken hold of a class or a bound method earlier is covered too.
"""

import functools
import inspect
import threading
from collections.abc import Callable
from typing import Any

from opentelemetry.context import Context, attach, detach, get_current

from ._carry import Travel, Values, call_with
from ._lent import lend

__all__ = ["POOL", "Make", "Seam", "in_loop", "pooled", "start", "submit"]

Method = Callable[..., Any]
Make = Callable[["Seam", Method], Method]

POOL = ("apply_async", "imap", "imap_unordered", "map", "map_async", "starmap", "starmap_async")
"""Methods of multiprocessing's pools, of threads and of processes, that take a function."""

_MACHINERY = frozenset(
    {
        "anyio",
        "apscheduler",
        "asyncio",
        "concurrent",
        "grpc",
        "handrail",
        "kafka",
        "logging",
        "multiprocessing",
        "opentelemetry",
        "prometheus_client",
        "psycopg_pool",
        "pymongo",
        "sentry_sdk",
        "trio",
        "watchdog",
    }
)
"""Packages whose threads serve the whole process, whichever request happens to start them."""


class Seam:
    """One method of one class. Off and on again is the same as on once, whoever wrapped it meanwhile."""

    __slots__ = ("_make", "_own", "cls", "name", "replacement", "travel")

    def __init__(self, cls: type, name: str, make: Make) -> None:
        self.cls = cls
        self.name = name
        self._make = make
        self.travel: Travel | None = None
        """What it does while it is on; None: it only passes on."""
        self.replacement: Method | None = None

    def on(self, travel: Travel) -> None:
        """Put the function on the class, where it is not there already."""
        self.travel = travel
        if self.replacement is None:
            self._own = self.cls.__dict__.get(self.name)
            original: Method = getattr(self.cls, self.name)
            self.replacement = functools.wraps(original)(self._make(self, original))
            setattr(self.cls, self.name, self.replacement)

    def off(self) -> None:
        """Give the method back. Where somebody wrapped ours since, it stays below and only passes on."""
        self.travel = None
        if self.replacement is not None and self.cls.__dict__.get(self.name) is self.replacement:
            if self._own is None:
                delattr(self.cls, self.name)
            else:
                setattr(self.cls, self.name, self._own)
            self.replacement = None


def submit(seam: Seam, original: Method) -> Method:
    """`Executor.submit`, and with it `map`, which calls it."""

    def submit(self: Any, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        travel = seam.travel
        return original(self, fn if travel is None else travel(fn), *args, **kwargs)

    return submit


def pooled(seam: Seam, original: Method) -> Method:
    """One of POOL."""

    def pooled(self: Any, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        travel = seam.travel
        return original(self, func if travel is None else travel(func), *args, **kwargs)

    return pooled


def in_loop(covered: Callable[[Any], bool]) -> Make:
    """`run_in_executor` of an event loop, for executors whose `submit` is not `covered`."""

    def make(seam: Seam, original: Method) -> Method:
        def run_in_executor(self: Any, executor: Any, func: Callable[..., Any], *args: Any) -> Any:
            travel = seam.travel
            if travel is not None and executor is not None and not covered(executor):
                # A coroutine function is refused below, by its looks.
                func = func if inspect.iscoroutinefunction(func) else travel(func)
            return original(self, executor, func, *args)

        return run_in_executor

    return make


def start(seam: Seam, original: Method) -> Method:
    """`Thread.start`: `run` runs in what the starter lends, also a `run` that a subclass overrides."""

    def start(self: threading.Thread) -> None:
        travel = seam.travel
        if travel is None:
            original(self)
            return
        context, values = get_current(), travel.into_thread()
        if (not context and not values) or _serves_all(self):
            original(self)
            return
        own = self.__dict__.get("run")
        ours = functools.partial(_run, self, self.run, own, lend(context), values)
        self.__dict__["run"] = ours
        try:
            original(self)
        except BaseException:
            if self.__dict__.get("run") is ours:
                _restore(self, own)
            raise

    return start


def _run(thread: threading.Thread, run: Callable[[], None], own: object, context: Context, values: Values) -> None:
    _restore(thread, own)  # first: no cycle through the thread is left to the collector
    del thread
    token = attach(context)
    del context
    try:
        if values:
            call_with(values, run, (), {})
        else:
            run()
    finally:
        detach(token)


def _restore(thread: threading.Thread, own: object) -> None:
    if own is None:
        del thread.__dict__["run"]
    else:
        thread.__dict__["run"] = own


def _serves_all(thread: threading.Thread) -> bool:
    target = getattr(thread, "_target", None)
    for owner in (type(thread), target):
        module = getattr(owner, "__module__", None)
        if isinstance(module, str) and module.partition(".")[0] in _MACHINERY:
            return True
    return False
