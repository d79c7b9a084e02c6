"""What must be done although nobody waits for it: answers to be kept, keys to be freed. Not shared between threads."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .work import Begin, Free, Keep, Work

__all__ = ["Owed", "Owing"]

MOST = 10_000
"""Pieces of work that are owed at once."""
MOST_BYTES = 64 << 20
"""Bytes of answers that are owed at once."""
FREED_WITHIN = 3600.0
"""Seconds for which a key that may be free is tried again; then its next request is refused."""
LATER = (1.0, 10.0)
"""Seconds after which a Free is sent again for a Begin that may still be on its way, as after a lost connection."""
SLOWEST = 60.0
"""Seconds between two tries of what a store does not take while it takes other work."""

_TOO_MANY = (
    "more answers wait for the store than there is room for: requests repeated with their keys will be refused "
    "(said once)"
)

_log = logging.getLogger("handrail")


@dataclass(slots=True, eq=False)
class Owed:
    """One of them. `due` and `until` by the monotonic clock; `again` are the pauses of further Frees."""

    work: Work
    until: float
    due: float
    again: tuple[float, ...] = ()
    pause: float = 0.0
    """Not 0: the store has refused it, or its company; it is tried alone."""


class Owing:
    """The newest for each key and owner, tried until it is done, too old, or there are too many; then `ended`."""

    def __init__(self, ended: Callable[[Work], object] = lambda _: None) -> None:
        self._ended = ended
        self._owed: dict[tuple[bytes, str], Owed] = {}
        self._bytes = 0
        self._warned = False

    def __len__(self) -> int:
        return len(self._owed)

    def add(self, work: Work, now: float) -> None:
        """Do it from now on. An answer that is to be kept is not given up for a Free."""
        owed = self._owed.get((work.key, work.owner))
        if owed is not None and isinstance(owed.work, Keep) and isinstance(work, Free):
            return
        lasts = work.retention if isinstance(work, Keep) else FREED_WITHIN
        self._put(Owed(work, now + lasts, now))

    def free_unsure(self, begin: Begin, now: float) -> None:
        """Free what may have begun, or may begin yet. Nothing where the request is known to have been answered."""
        if (begin.key, begin.owner) not in self._owed:
            self._put(Owed(Free(begin.key, begin.owner), now + FREED_WITHIN, now, LATER))

    def begins(self, begin: Begin) -> None:
        """It is asked for once more: what would free it is owed no longer."""
        owed = self._owed.get((begin.key, begin.owner))
        if owed is not None and isinstance(owed.work, Free):
            self._drop(owed)

    def due(self, now: float) -> list[Owed]:
        """What to send now: all that is due, but of those that were refused one alone."""
        found: list[Owed] = []
        alone = False
        for one in list(self._owed.values()):
            if one.until <= now:
                self._drop(one)
            elif one.due <= now and not (one.pause and alone):
                alone = alone or one.pause > 0
                found.append(one)
        return found

    def next_due(self) -> float | None:
        """When the first of them is due; None where nothing is owed."""
        return min((one.due for one in self._owed.values()), default=None)

    def done(self, one: Owed, now: float) -> None:
        """The store has answered it: True or False, both are final, unless a Begin may come after its Free."""
        if not one.again:
            self._drop(one)
        else:
            one.due, one.again, one.pause = now + one.again[0], one.again[1:], 0.0

    def refused(self, some: Iterable[Owed], now: float) -> None:
        """The store takes other work, but not these, or one of these."""
        for one in some:
            one.due = now + one.pause
            one.pause = min(SLOWEST, max(1.0, one.pause * 2))

    def _put(self, one: Owed) -> None:
        before = self._owed.pop((one.work.key, one.work.owner), None)
        self._owed[one.work.key, one.work.owner] = one
        self._bytes -= _size(before.work) if before is not None else 0
        self._bytes += _size(one.work)
        while len(self._owed) > MOST or self._bytes > MOST_BYTES:
            self._drop(next(iter(self._owed.values())))
            if not self._warned:
                self._warned = True
                _log.warning(_TOO_MANY)

    def _drop(self, one: Owed | None) -> None:
        if one is not None and self._owed.get((one.work.key, one.work.owner)) is one:
            del self._owed[one.work.key, one.work.owner]
            self._bytes -= _size(one.work)
            self._ended(one.work)


def _size(work: Work) -> int:
    return len(work.answer) if isinstance(work, Keep) else 0
