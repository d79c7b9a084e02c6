"""Leaving in time: a flush that ends when it said it would, also with a dead collector.

The SDK's `force_flush(2000)` was seen to take 19 s and to return True with every span lost. So it
runs on a daemon thread here, and we wait for it only as long as we promised.
"""

import atexit
import logging
import os
import sys
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .export._guarded import CountedExporter  # at run time it would import the SDK

__all__ = ["Flusher", "at_end", "at_end_of_child"]

_log = logging.getLogger("handrail")


class Flusher:
    """Runs `work`, a flush without a bound of its own, within one.

    `exporter` is asked what was lost and told when we stopped waiting; None where it is not ours.
    """

    def __init__(self, work: Callable[[], object], exporter: "CountedExporter | None" = None) -> None:
        self._work = work
        self._exporter = exporter
        self._begin()
        _flushers.add(self)

    def _begin(self) -> None:
        """As after the construction: at first, and in the child of a fork."""
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._gave_up = False
        self._failed = False

    @property
    def stuck(self) -> bool:
        """Whether a flush that we stopped waiting for is still at it."""
        return self._gave_up and self._thread is not None and self._thread.is_alive()

    def __call__(self, seconds: float) -> bool:
        """Flush for at most `seconds`; True only where everything left and nothing was lost.

        Callers at the same time wait for the same flush. While one is stuck nobody waits again:
        the end of the service takes one bound, not one for each of its parts. What `work` raises
        is logged. Raises RuntimeError where the interpreter starts no more threads.
        """
        with self._lock:
            if self.stuck:
                return False
            lost = self._exporter.dropped if self._exporter is not None else 0
            thread = self._thread
            if thread is None or not thread.is_alive():
                self._failed = False
                self._gave_up = False
                thread = self._thread = threading.Thread(target=self._run, name="handrail-flush", daemon=True)
                thread.start()
        thread.join(seconds)
        if thread.is_alive():
            self._gave_up = True
            if self._exporter is not None:
                self._exporter.late(seconds)
            return False
        return not self._failed and (self._exporter is None or self._exporter.dropped == lost)

    def _run(self) -> None:
        try:
            self._work()
        except Exception:
            self._failed = True
            _log.exception("flushing spans failed")


def at_end(stop: Callable[[], None]) -> None:
    """Call `stop` when this process ends, and when a child does that is forked from it.

    Children of `multiprocessing` end without `atexit`; they have a list of their own, which they empty at their
    start. A signal that nobody handles ends a process without either.
    """
    atexit.register(stop)
    at_end_of_child(stop)

    def forked() -> None:
        util = sys.modules.get("multiprocessing.util")
        if util is not None:
            util.register_after_fork(stop, lambda held: util.Finalize(None, held, exitpriority=10))

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=forked)


def at_end_of_child(stop: Callable[[], None]) -> None:
    """Call `stop` when this process ends, where it is a child of `multiprocessing`."""
    process = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None:
        from multiprocessing.util import Finalize

        Finalize(None, stop, exitpriority=10)


_flushers: "weakref.WeakSet[Flusher]" = weakref.WeakSet()


def _after_fork() -> None:
    for flusher in list(_flushers):
        flusher._begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
