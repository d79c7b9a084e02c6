"""The peak of a process's memory and its processor time, as Linux keeps them."""

import os
from collections.abc import Iterable
from pathlib import Path

__all__ = ["busy", "peaks", "reset"]

_TICK = 1 / os.sysconf("SC_CLK_TCK")


def reset(pid: int) -> None:
    """Forget the peak so far."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def peaks(pids: Iterable[int]) -> float:
    """Megabytes of all of them together."""
    return sum(_peak(pid) for pid in pids) / 1024


def busy(pids: Iterable[int]) -> float:
    """Seconds of processor time of all of them together, to a hundredth."""
    fields = (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids)
    return sum((int(each[11]) + int(each[12])) * _TICK for each in fields)


def _peak(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
