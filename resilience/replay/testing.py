"""For tests: a store in memory that moves by a clock of the test, and a courier that needs no thread."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from ..clock import Clock
from ..testing import FakeClock
from ._away import StoreAway
from .work import Backend, Begin, Free, Held, Keep, Renew, State, Work

__all__ = ["DirectCourier", "MemoryBackend"]

IDENTITY = "0123456789abcdef"


@dataclass(slots=True)
class Row:
    """What is held of one key. `answer` is None while it is begun. Times are the clock's."""

    owner: str
    lease_ends: float
    forget_at: float
    answer: bytes | None = None
    again: bool = False


class MemoryBackend:
    """A store that does what `work` says, in `rows`. Several couriers may share one, as processes share a file.

    `before`: raised by each call, which does nothing. `after`: raised once all is done: the answer is lost.
    `calls` lists the batches that came, `opened` and `closed` count. `store_max`: bytes of answers after a `tidy`.
    """

    def __init__(
        self,
        clock: Clock | None = None,
        *,
        identity: str = IDENTITY,
        shown: str = "memory",
        store_max: int = 1 << 40,
    ) -> None:
        self._clock = clock or FakeClock()
        self.shown = shown
        self.identity = identity
        self.store_max = store_max
        self._lock = threading.Lock()
        self.rows: dict[bytes, Row] = {}
        self.calls: list[list[Work]] = []
        self.opened = 0
        self.closed = 0
        self.before: Exception | None = None
        self.after: Exception | None = None

    def open(self) -> str:
        """The identity."""
        self._fail(self.before)
        self.opened += 1
        return self.identity

    def run(self, work: Sequence[Work]) -> list[Held | bool]:
        """Do it, in order."""
        self.calls.append(list(work))
        self._fail(self.before)
        with self._lock:
            results = [self._do(one) for one in work]
        self._fail(self.after)
        return results

    def tidy(self) -> None:
        """Forget what is past its retention; give up the oldest answers above the bound, but not their keys."""
        self._fail(self.before)
        now = self._clock.now()
        self.rows = {key: row for key, row in self.rows.items() if row.forget_at > now}
        kept = [row for row in self.rows.values() if row.answer is not None]
        size = sum(len(row.answer or b"") for row in kept)
        for row in sorted(kept, key=lambda row: row.forget_at):
            if size <= self.store_max:
                break
            size -= len(row.answer or b"")
            row.answer = b""

    def close(self) -> None:
        """Counts."""
        self.closed += 1

    def _fail(self, error: Exception | None) -> None:
        if error is not None:
            raise error

    def _do(self, one: Work) -> Held | bool:
        now = self._clock.now()
        row = self.rows.get(one.key)
        if row is not None and row.forget_at <= now:
            del self.rows[one.key]
            row = None
        if isinstance(one, Begin):
            return self._begin(one, row, now)
        if row is None or row.owner != one.owner:
            return False
        if isinstance(one, Keep):
            if row.answer is None:
                row.answer, row.forget_at = one.answer, now + one.retention
            return True
        if row.answer is not None:
            return False
        if isinstance(one, Free):
            del self.rows[one.key]
        else:
            row.lease_ends = now + one.lease
            row.forget_at = max(row.forget_at, row.lease_ends)
        return True

    def _begin(self, one: Begin, row: Row | None, now: float) -> Held:
        if row is not None and row.answer is not None:
            return Held(State.KEPT, row.answer)
        again = False
        if row is not None and row.owner == one.owner:
            again = row.again
        elif row is not None and row.lease_ends > now:
            return Held(State.BUSY, left=row.lease_ends - now)
        elif row is not None and not one.take_over:
            return Held(State.BROKEN)
        else:
            again = row is not None
        lives = max(one.lease, one.retention)
        self.rows[one.key] = Row(one.owner, now + one.lease, now + lives, again=again)
        return Held(State.NEW, again=again)


class DirectCourier:
    """What a `Courier` does, at once and without a thread: also for the virtual loop.

    `away`: the reason that `ask` gives; what was told waits until it is None again and `settle` is called. Time
    moves only by the clock: `ask`, `settle` and `renew` first renew what is held. `die` drops all, as kill -9 does.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._held: dict[tuple[bytes, str], Begin] = {}
        self._identity = backend.open()
        self.away: str | None = None
        self.told: list[Work] = []
        self.asked: list[Work] = []

    @property
    def identity(self) -> str | None:
        """The store's, unless it is away."""
        return None if self.away else self._identity

    async def ask(self, work: Work, _seconds: float, /) -> Held | bool:
        """Do it; StoreAway while `away` is set, or where the backend raises."""
        self.asked.append(work)
        if self.away:
            raise StoreAway(self.away)
        try:
            self.settle()
            return self._backend.run([work])[0]
        except Exception as error:
            raise StoreAway(str(error)) from error

    def tell(self, work: Work) -> None:
        """Do it now, or keep it while the store is away."""
        self.told.append(work)
        if not self.away:
            self.settle()

    def settle(self) -> None:
        """Renew what is held, and do what was told."""
        self.renew()
        while self.told:
            self._backend.run(self.told[:1])
            self.told.pop(0)

    def hold(self, begin: Begin) -> None:
        """Renew its lease from now on."""
        self._held[begin.key, begin.owner] = begin

    def let_go(self, key: bytes, owner: str) -> None:
        """Renew it no more."""
        self._held.pop((key, owner), None)

    @property
    def held(self) -> int:
        """How many leases are renewed."""
        return len(self._held)

    def renew(self) -> None:
        """Renew all leases that are held."""
        if self._held and not self.away:
            self._backend.run([Renew(one.key, one.owner, one.lease) for one in self._held.values()])

    def die(self) -> None:
        """As if the process had been killed."""
        self._held.clear()
        self.told.clear()

    def end(self, _seconds: float = 1.0, /) -> None:
        """Nothing more."""
        self._backend.close()
