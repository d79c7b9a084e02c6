"""A wake-up call for one thread: never blocks the caller, costs next to nothing, safe inside a signal handler."""

from _thread import allocate_lock
from contextlib import suppress

__all__ = ["Bell"]


class Bell:
    """A lock used as a flag. `threading.Event` holds a lock of its own while it is set: a handler may find it held."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._lock.acquire()

    def ring(self) -> None:
        """Wake the thread up, or let its next `wait` return at once."""
        with suppress(RuntimeError):  # rung already
            self._lock.release()

    def wait(self, seconds: float = -1) -> bool:
        """Wait for a ring, at most `seconds` (for ever by default); whether there was one."""
        return self._lock.acquire(timeout=seconds)
