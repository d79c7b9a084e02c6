"""The end of a bare worker by SIGTERM, which Python leaves to the operating system: no `atexit`, no flush."""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

__all__ = ["before_sigterm"]


def before_sigterm(flush: Callable[[], object], seconds: float) -> Callable[[], None]:
    """Flush for at most `seconds` when SIGTERM comes, then die of it as before; returns the undo.

    Only where nobody handles the signal (servers and task libraries do, and then end in order), and on the main
    thread, since Python allows it nowhere else. Whoever sets a handler later replaces this one. A child by fork dies
    of the signal at once.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        return lambda: None
    here = os.getpid()

    def handle(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if os.getpid() == here:
            # On a thread: what was interrupted here may hold a lock that the flush needs.
            flushing = threading.Thread(target=flush, name="handrail-end", daemon=True)
            flushing.start()
            flushing.join(seconds)
        os.kill(os.getpid(), signal.SIGTERM)

    def undo() -> None:
        if signal.getsignal(signal.SIGTERM) is handle and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    signal.signal(signal.SIGTERM, handle)
    return undo
