"""How much processor time processes have taken, with those that they started, by what Linux tells of them."""

import os
from contextlib import suppress
from pathlib import Path

__all__ = ["cores", "spent"]

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
_TIMES = slice(11, 13)
"""utime and stime among the fields of `stat` that follow the name (proc(5))."""


def spent(pid: int) -> float:
    """Seconds, user and system, of a process and its living children, of this one alone; 0 where nobody tells."""
    with suppress(OSError):
        times = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[_TIMES]
        if pid == os.getpid():
            return sum(map(int, times)) / _TICKS
        children = (_PROC / str(pid) / "task" / str(pid) / "children").read_text().split()
        return sum(map(int, times)) / _TICKS + sum(spent(int(child)) for child in children)
    return 0.0


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
