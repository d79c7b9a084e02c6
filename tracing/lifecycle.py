"""Leaving in time: a flush that ends when it said it would, also with a dead collector.

The SDK's `force_flush(2000)` was seen to take 19 s and to return True with every span lost. So it
runs on a daemon thread here, and we wait for it only as long as we promised.
"""

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .export import CountedExporter  # at run time it would import the SDK

__all__ = ["Flusher"]

_log = logging.getLogger("handrail")


class Flusher:
    """Runs `work`, a flush without a bound of its own, within one.

    `exporter` is asked what was lost and told when we stopped waiting; None where it is not ours.
    """

    def __init__(self, work: Callable[[], object], exporter: "CountedExporter | None" = None) -> None:
        self._work = work
        self._exporter = exporter
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
