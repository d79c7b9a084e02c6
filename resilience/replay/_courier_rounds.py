"""What the courier's thread does in a round: all that waits, in one batch. No threads here, no loops, no sleeping."""

import random
from collections.abc import Callable, Sequence
from functools import partial

from ..state._outage import STEADY, Outage
from ._away import StoreAway
from ._courier_asked import Asked, Result, is_new
from ._courier_owed import Owed, Owing
from ._store_errors import StoreChanged, StoreRefused
from .work import Backend, Begin, Free, Renew, Work

__all__ = ["AT_ONCE", "Rounds"]

AT_ONCE = 200
"""Pieces of work in one batch: others wait for its end, in all processes that share a file."""
FIRST_PROBE = 0.1
SLOWEST_PROBE = 5.0
"""Seconds until a store that is away is tried again; they double."""
TIDY_EVERY = 5.0
"""Seconds between two times of tidying, while there is work."""
TIDY_AFTER = 250
"""Keys that were begun since the last time: a tidy forgets some hundreds."""
NOBODY = Free(bytes(32), "nobody")
"""Work that changes nothing."""
LOST = (
    "the store of idempotent answers, %s, is away: %s; requests with an Idempotency-Key are refused, or run unguarded "
    "where idempotency_unavailable says so (said once until it works again)"
)
BACK = "the store of idempotent answers, %s, is back after %.0f s"


class Rounds:
    """The store as this process knows it. All is called by one thread, but `away`, `identity` and `held` are read, and
    `held` is changed, by others too: each in one step.
    """

    def __init__(self, connect: Callable[[], Backend], lease: float, now: Callable[[], float]) -> None:
        self._connect = connect
        self._every = lease / 3
        self._now = now
        self._outage = Outage("as yet unknown", now, LOST, BACK)
        self._backend: Backend | None = None
        self._pause = 0.0
        self._probe_at = now()
        self._renew_at: float | None = None
        self._tidy_at: float | None = None
        self._begun = 0
        self.owing = Owing(lambda work: self.held.pop((work.key, work.owner), None))
        self.away = ""
        """Why the store cannot be asked; empty where it can, or where that is not yet known."""
        self.identity: str | None = None
        self.held: dict[tuple[bytes, str], Begin] = {}
        self.busy_since: float | None = None
        """When the call of the store that is under way began."""

    def wait(self) -> float | None:
        """Seconds until the next round, if nobody asks before; None: until somebody does."""
        due = [self._renew_at, self._tidy_at, self.owing.next_due()]
        if self.away or self._backend is None:
            due = [self._probe_at]
        elif self._outage.told_of:
            due.append(self._now() + STEADY / 2)
        known = [at for at in due if at is not None]
        return max(0.0, min(known) - self._now()) if known else None

    def round(self, asked: Sequence[Asked]) -> None:
        """Once: answer all that is asked, do what is owed and due."""
        now = self._now()
        waiting = [one for one in asked if not one.gone]
        if not self._there(now):
            _settle([(one, StoreAway(self.away)) for one in waiting], self.owing, now)
            return
        self._renew()
        for one in waiting:
            if self.owing and isinstance(one.work, Begin):
                self.owing.begins(one.work)
        owed = self.owing.due(now)
        while (waiting or owed) and not self.away:
            self._carry(waiting[:AT_ONCE], owed[:AT_ONCE])
            waiting, owed = waiting[AT_ONCE:], owed[AT_ONCE:]
        _settle([(one, StoreAway(self.away)) for one in waiting], self.owing, now)
        self._tidy()
        if not self.away:
            self._outage.told("")
            self._pause = self._pause if self._outage.told_of else 0.0

    def last(self) -> None:
        """Before the end: what is owed, if it can be done, and no more."""
        now = self._now()
        owed = [] if self.away or self._backend is None else self.owing.due(now)
        while owed and not self.away:
            self._carry([], owed[:AT_ONCE])
            owed = owed[AT_ONCE:]
        if self._backend is not None:
            self._backend.close()

    def _there(self, now: float) -> bool:
        """Whether the store can be asked; tries it where its time has come."""
        if self._backend is not None and not self.away:
            return True
        if now < self._probe_at:
            return False
        self.busy_since = now
        try:
            if self._backend is None:
                self._backend = self._connect()
                self._outage.shown = self._backend.shown
            self.identity = self._backend.open()
        except Exception as error:
            self._lost(error)
            return False
        finally:
            self.busy_since = None
        self.away = ""
        return True

    def _lost(self, error: Exception) -> None:
        self.away = _reason(error)
        self._pause = min(SLOWEST_PROBE, max(FIRST_PROBE, self._pause * 2))
        # Not all workers at once.
        self._probe_at = self._now() + self._pause * (0.75 + random.random() / 2)
        self._outage.told(self.away)

    def _carry(self, asked: list[Asked], owed: list[Owed]) -> None:
        """One batch, and the results to where they belong."""
        now = self._now()
        for one in asked:
            one.sent = now
        results, error = self._try([*(one.work for one in owed), *(one.work for one in asked)])
        if error is not None:
            # A connection that had died unnoticed; or a piece of what is owed that this store will never take.
            results, error = self._try([one.work for one in asked] or [NOBODY])
            if error is not None:
                self._lost(error)
                _settle([(one, StoreAway(self.away)) for one in asked], self.owing, self._now(), unsure=True)
                return
            self.owing.refused(owed, self._now())
            owed = []
        now = self._now()
        for one_owed in owed:
            self.owing.done(one_owed, now)
        if asked:
            self._note(results, now)
            _settle(list(zip(asked, results[len(owed) :], strict=True)), self.owing, now)

    def _note(self, results: Sequence[Result], now: float) -> None:
        """Renew and tidy in good time: whoever was told NEW will hold his key."""
        begun = sum(map(is_new, results))
        self._begun += begun
        if begun and self._renew_at is None:
            self._renew_at = now + self._every
        if self._tidy_at is None:
            self._tidy_at = now + TIDY_EVERY

    def _try(self, work: Sequence[Work]) -> tuple[list[Result], Exception | None]:
        assert self._backend is not None
        self.busy_since = self._now()
        try:
            results = self._backend.run(work)
            if len(results) != len(work):
                raise RuntimeError(f"{len(results)} results for {len(work)} pieces of work")
        except Exception as error:
            return [], error
        finally:
            self.busy_since = None
        return results, None

    def _renew(self) -> None:
        if self.away or self._renew_at is None or self._now() < self._renew_at:
            return
        held = list(self.held.values())
        self._renew_at = self._now() + self._every if held else None
        for start in range(0, len(held), AT_ONCE):
            part = held[start : start + AT_ONCE]
            renewals = [Renew(one.key, one.owner, one.lease) for one in part]
            results, error = self._try(renewals)
            if error is not None:
                results, error = self._try(renewals)
            if error is not None:
                self._renew_at = self._now()  # the first thing once it is back
                self._lost(error)
                return
            for one, still in zip(part, results, strict=True):
                if not still:
                    self.held.pop((one.key, one.owner), None)

    def _tidy(self) -> None:
        now = self._now()
        if self.away or self._tidy_at is None or (now < self._tidy_at and self._begun < TIDY_AFTER):
            return
        assert self._backend is not None
        self._tidy_at, self._begun = None, 0
        self.busy_since = now
        try:
            self._backend.tidy()
        except Exception as error:
            if self._try([NOBODY])[1] is not None:
                self._lost(error)
        finally:
            self.busy_since = None


def _settle(
    answers: Sequence[tuple[Asked, Result | StoreAway]], owing: Owing, now: float, *, unsure: bool = False
) -> None:
    """To each loop its answers, in one call. `unsure`: they were sent, and may have been done."""
    places: dict[int, list[tuple[Asked, Result | StoreAway]]] = {}
    for one, result in answers:
        places.setdefault(id(one.place), []).append((one, result))
        if unsure and isinstance(one.work, Begin):
            owing.free_unsure(one.work, now)
    for there in places.values():
        try:
            there[0][0].soon(partial(_in_place, there))
        except RuntimeError:  # that loop is closed: nobody waits
            for one, result in there:
                if isinstance(one.work, Begin) and is_new(result):
                    owing.add(Free(one.work.key, one.work.owner), now)


def _in_place(answers: Sequence[tuple[Asked, Result | StoreAway]]) -> None:
    for one, result in answers:
        one.settle(result)


def _reason(error: Exception) -> str:
    """Why, on one short line."""
    said = str(error) if isinstance(error, StoreRefused | StoreChanged) else f"{type(error).__name__}: {error}"
    return " ".join(said.split())[:300]
