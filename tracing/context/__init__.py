"""The current span in every thread, executor and queue that a request uses, and in the work that it leaves behind.

Tasks, `asyncio.to_thread`, anyio's threads and callbacks of a loop keep it by themselves. `install` adds threads,
timers, executors and pools of processes. What lies in a queue cannot be known from outside: `carry` wraps it for a
worker in this process, `capture` and `Resume` are for any other. The table is in docs/context.md.
"""

import functools
import threading
from asyncio import BaseEventLoop
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextvars import ContextVar
from types import ModuleType
from typing import Any

import wrapt

from ._carry import Arrived, Carried, Travel, carry
from ._lent import LENT_FOR
from ._seams import POOL, Make, Seam, in_loop, pooled, start, submit
from ._work import Carrier, CarrierOf, Resume, capture, context_of

__all__ = [
    "LENT_FOR",
    "Arrived",
    "Carried",
    "Carrier",
    "CarrierOf",
    "Resume",
    "capture",
    "carry",
    "context_of",
    "install",
]


class _Process:
    """The seams of this process, and what undoes them."""

    def __init__(self) -> None:
        self.seams: list[Seam] = [
            Seam(threading.Thread, "start", start),
            Seam(ThreadPoolExecutor, "submit", submit),
            Seam(BaseEventLoop, "run_in_executor", in_loop(self.covered)),
        ]
        self.travel: Travel | None = None
        self.undo: Callable[[], None] | None = None

    def covered(self, executor: Executor) -> bool:
        """Whether what this executor is given to `submit` passes one of our seams in any case."""
        method = getattr(type(executor), "submit", None)
        return any(seam.replacement is method for seam in self.seams)

    def later(self, cls: type, name: str, make: Make) -> None:
        """A seam in a module that is imported only now."""
        if all((seam.cls, seam.name) != (cls, name) for seam in self.seams):
            seam = Seam(cls, name, make)
            self.seams.append(seam)
            if self.travel is not None:
                seam.on(self.travel)

    def process_executor(self, module: ModuleType) -> None:
        """concurrent.futures.process, which brings much of multiprocessing along."""
        self.later(module.ProcessPoolExecutor, "submit", submit)

    def pools(self, module: ModuleType) -> None:
        """multiprocessing.pool: ThreadPool inherits from Pool."""
        for name in POOL:
            self.later(module.Pool, name, pooled)

    def uvloop(self, module: ModuleType) -> None:
        """The loop of uvloop is no BaseEventLoop. Its class is one of Python's, over one of Cython's."""
        loop = getattr(module, "Loop", None)
        if isinstance(loop, type) and not issubclass(loop, BaseEventLoop):
            self.later(loop, "run_in_executor", in_loop(self.covered))


_process = _Process()
_lock = threading.Lock()


def install(
    variables: Sequence[ContextVar[Any]] = (), arrived: Arrived | None = None, brief: Sequence[ContextVar[Any]] = ()
) -> Callable[[], None]:
    """Carry OpenTelemetry's context into threads and executors; returns what undoes it. Twice is once.

    `variables` travel besides it into executors and threads, `brief` ones into executors alone: a thread may serve for
    ever. A value with a method `carrier` also reaches another process: as what that returns, in the carrier of
    `arrived(fn, carrier)`, which makes the callable in a process of a ProcessPoolExecutor. It must be importable
    there, and call `fn`.
    """
    with _lock:
        if _process.undo is not None:
            return _process.undo
        _process.travel = Travel(variables, arrived, brief)
        for seam in _process.seams:
            seam.on(_process.travel)

        def undo() -> None:
            with _lock:
                if _process.undo is undo:
                    _process.undo = _process.travel = None
                    for seam in _process.seams:
                        seam.off()

        _process.undo = undo
    _watch()
    return undo


@functools.cache
def _watch() -> None:
    # Such a hook cannot be taken back; it does nothing while nothing is installed.
    for name, then in (
        ("concurrent.futures.process", _process.process_executor),
        ("multiprocessing.pool", _process.pools),
        ("uvloop", _process.uvloop),
    ):
        wrapt.register_post_import_hook(then, name)
