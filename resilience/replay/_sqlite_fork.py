"""No SQLite file is open while this process forks.

SQLite keeps its own account of the locks that a process has on a file. A child would inherit it, take what its parent
holds for its own, and so leave out locks: the parent's end could then take the log away under the child's hands.
"""

import os
from pathlib import Path
from typing import Protocol
from weakref import WeakSet

from ._store_errors import StoreRefused

__all__ = ["check", "watch"]


class Parked(Protocol):
    """A store that can be closed from the thread that forks."""

    def park(self) -> Path | None:
        """Let nobody use it, and close it; the file where that is not to be had."""
        ...

    def unpark(self) -> None:
        """Go on."""
        ...


_watched: WeakSet[Parked] = WeakSet()
_parked: list[Parked] = []
_stuck: list[Path] = []
_carried: set[Path] = set()
"""Files that were open in the parent when this process was made."""


def watch(store: Parked) -> None:
    """Close it before each fork, for as long as it lives."""
    _watched.add(store)


def check(path: Path) -> None:
    """Raises StoreRefused where this process cannot lock the file as it should."""
    if path in _carried:
        raise StoreRefused(
            f"{path} was in use while this process was forked, and could not be closed: start it anew, not by a fork"
        )


def _before() -> None:
    for store in list(_watched):
        if (path := store.park()) is None:
            _parked.append(store)
        else:
            _stuck.append(path)


def _after() -> None:
    while _parked:
        _parked.pop().unpark()
    _stuck.clear()


def _in_child() -> None:
    _carried.update(_stuck)
    _after()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_in_child)
