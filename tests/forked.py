"""A child made by fork, for tests of what it inherits."""

import os
import signal
import warnings
from collections.abc import Callable

__all__ = ["ended", "forked", "in_child"]

LONGEST = 100
"""Seconds after which a child that hangs is ended."""


def forked(does: Callable[[], None]) -> int:
    """Start a child that does that; its id. It exits with 0, or 1 where it raises, or by its alarm."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads: which is what this is about
        child = os.fork()
    if child:
        return child
    code = 1
    try:
        signal.alarm(LONGEST)
        does()
        code = 0
    finally:
        os._exit(code)


def ended(child: int) -> int:
    """Wait for it; its exit code, or the signal that ended it below 0."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def in_child(does: Callable[[], None]) -> int:
    """The exit code of a child that does that."""
    return ended(forked(does))
