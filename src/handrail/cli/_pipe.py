"""What reads our output may have had enough: `| head` is no error."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

__all__ = ["closed_pipe_is_no_error"]


@contextmanager
def closed_pipe_is_no_error() -> Iterator[None]:
    """Print inside of it; what comes after a reader has gone is dropped."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter flushes once more at its end, and would complain.
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
