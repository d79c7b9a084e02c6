"""The span processor: encodes each span at its end, and exports on one thread of its own.

The thread sleeps while nothing waits. Once something does, it looks four times a second and exports when a batch is
full, when OTEL_BSP_SCHEDULE_DELAY is over, or when nothing more came for half a second: a machine that is suspended
after its last request takes nothing with it.
"""

import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable

from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, set_value
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

from ..redact._span import cleaned
from ._bell import Bell
from ._guarded import CountedExporter
from ._queue import Limits, Queue

__all__ = ["Batch"]

_NEVER = sys.maxsize
_LOOKS = 2
"""How often the thread looks within `Limits.idle`."""


class Batch(SpanProcessor):
    """Hands batches to `exporter`, one at a time, and never to two at once.

    `after` is called on the exporting thread after each batch (False), and at the end (True). A fork begins with
    an empty queue: what waited in the parent leaves from there.
    """

    def __init__(
        self,
        exporter: CountedExporter,
        limits: Limits | None = None,
        *,
        flush_timeout: float = 1.5,
        after: Callable[[bool], None] = lambda _end: None,
    ) -> None:
        self._exporter = exporter
        self._limits = limits or Limits()
        self._flush_timeout = flush_timeout
        self._after = after
        self._stopped = False
        self._begin()
        _processors.add(self)

    def _begin(self) -> None:
        """As after the construction: at first, and in the child of a fork."""
        self._queue = Queue(self._limits, self._exporter.encoder)
        self._queue.encodes, self._queue.keeps = self._exporter.wants
        self._bell = Bell()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._flushes: deque[threading.Event] = deque()
        self._ring_at = 0
        self._busy = False
        self._abandoned = False

    def on_end(self, span: ReadableSpan) -> None:
        """Encode the span and put it into the queue. Never raises, never waits."""
        context = span._context
        if context is None or not context.trace_flags & 1:
            return
        if self._stopped:
            self._exporter.lost(1, "a span came after the end of tracing")
            return
        queue = self._queue
        try:
            taken = queue.put(cleaned(span))
        except Exception as error:  # a request must not fail because of what its span holds
            self._exporter.lost(1, f"a span cannot be encoded: {type(error).__name__}: {error}"[:200], tell=True)
            return
        if not taken:
            self._exporter.lost(1, f"more spans than the queue holds ({queue.full or 'full'})")
        elif len(queue.items) > self._ring_at:  # after the span is in: the thread looks in the other order
            self._ring_at = _NEVER
            self._wake()

    def force_flush(self, timeout_millis: int | None = None) -> bool:
        """Export all that waits now, within the timeout; whether that was done and nothing was lost."""
        if self._stopped or threading.current_thread() is self._thread:
            return False
        if not self._queue.items and not self._busy:
            return True
        lost = self._exporter.dropped
        done = threading.Event()
        self._flushes.append(done)
        if not self._wake():
            self._drain(everything=True)
        return (
            done.wait((30_000 if timeout_millis is None else timeout_millis) / 1000) and self._exporter.dropped == lost
        )

    def shutdown(self) -> None:
        """Export all that waits and stop, within `flush_timeout`."""
        self.stop(self._flush_timeout)

    def stop(self, seconds: float) -> None:
        """Export all that waits and stop, within about `seconds`; what is left is lost and counted."""
        if self._stopped:
            return
        self._stopped = True
        # Python 3.12 starts no thread at exit: then this one does the work.
        if (self._queue.items or self._thread is not None) and not self._wake():
            self._drain(everything=True)
        thread = self._thread
        if thread is not None and thread.ident is not None and thread is not threading.current_thread():
            thread.join(seconds)
        self._abandoned = True
        self._exporter.shutdown()
        if thread is not None and thread.is_alive() and thread is not threading.current_thread():
            thread.join(0.1)  # a retry that was waiting is over now, and its spans are counted
        if self._queue.items:
            self._exporter.lost(len(self._queue.items), "the process ended before they left")
            self._queue.items.clear()
        if thread is not None and thread.is_alive():
            self._exporter.give_up()
        self._after(True)

    def _wake(self) -> bool:
        """Ring for the thread, which is started at the first ring; False where no thread can be had."""
        self._bell.ring()
        thread = self._thread
        if thread is not None and thread.is_alive():
            return True
        if not self._starting.acquire(blocking=False):
            return True  # another thread is at it, or we are inside a signal handler that interrupted it
        try:
            # Known before it runs: a signal handler may end this thread's work between any two steps.
            self._thread = thread = threading.Thread(target=self._work, name="handrail-export", daemon=True)
            thread.start()
        except RuntimeError:
            self._thread = None
            return False
        finally:
            self._starting.release()
        return True

    def _work(self) -> None:
        attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))  # this thread does nothing else, ever
        bell, queue = self._bell, self._queue
        while bell is self._bell:
            self._ring_at = 0
            if not queue.items and not self._flushes and not self._stopped:
                bell.wait()
            everything = self._gather(bell, queue)
            self._ring_at = _NEVER
            self._drain(everything=everything or bool(self._flushes) or self._stopped)
            if self._stopped:
                return

    def _gather(self, bell: Bell, queue: Queue) -> bool:
        """Wait for a reason to export; whether everything is to go, not only full batches."""
        limits = self._limits
        tick = min(limits.idle / _LOOKS, limits.delay)
        ends = time.monotonic() + limits.delay
        seen, still = -1, 0
        self._ring_at = limits.batch - 1
        while len(queue.items) < limits.batch and not self._flushes and not self._stopped:
            if time.monotonic() >= ends:
                return True
            bell.wait(tick)
            still = still + 1 if queue.added == seen else 0
            seen = queue.added
            if still >= _LOOKS:
                return True
        return False

    def _drain(self, *, everything: bool) -> None:
        queue, exporter, limits = self._queue, self._exporter, self._limits
        flushes = [self._flushes.popleft() for _ in range(len(self._flushes))]
        left = len(queue.items)  # what comes meanwhile is not waited for
        self._busy = True
        while left > 0 and not self._abandoned and (everything or len(queue.items) >= limits.batch):
            batch = queue.take()
            if not batch:
                break
            left -= len(batch)
            exporter.send(batch)
            queue.encodes, queue.keeps = exporter.wants
            self._after(False)
        self._busy = False
        for done in flushes:
            done.set()


_processors: "weakref.WeakSet[Batch]" = weakref.WeakSet()


def _after_fork() -> None:
    for processor in list(_processors):
        processor._exporter.restart()
        processor._begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
