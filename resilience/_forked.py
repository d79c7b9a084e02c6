"""For a child made by `fork`: the threads of its parent are not there, and what they hold is held for ever."""

import os
import threading
from typing import Protocol
from weakref import WeakSet

__all__ = ["ReentrantLock", "watch"]

ReentrantLock: "type[threading.RLock]" = type(threading.RLock())
"""`threading.RLock` is a function that calls this class, and costs more than the lock."""


class Forked(Protocol):
    """Has something that a thread may hold."""

    def in_child(self) -> None:
        """Begin anew with locks, and with what belongs to calls of the parent."""
        ...


_watched: WeakSet[Forked] = WeakSet()


def watch(owner: Forked) -> None:
    """Call `owner.in_child()` first thing in each child, for as long as the owner lives."""
    _watched.add(owner)


def _after_fork() -> None:
    for owner in list(_watched):
        owner.in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
