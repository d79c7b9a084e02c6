"""Breakers that tell each other: the thread that carries votes between this process and the store.

A call never waits for it: its breaker reports a change to a queue in memory, and the thread opens breakers from the
outside. What the store says can open a closed breaker and nothing else; every instance probes and closes by itself.
"""

import contextvars
import logging
import os
import random
import threading
import uuid
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..circuit import CircuitBreaker
from ..events import CircuitChanged, Event
from ..registry import Registry
from ..settings import ResilienceSettings
from ._outage import Outage
from ._redis import MOST_VOTES, Store, reason
from ._votes import LONGEST, Vote, Voter, agreed, machine_name

__all__ = ["SharedBreakers"]

EVERY = 0.5
"""Seconds between two rounds."""
SLOWEST = 5.0
"""Seconds between two rounds while the store is away; they grow from EVERY."""
REFRESH = 5.0
"""Seconds after which own votes are put down again, in case that the store has lost them."""
AT_ONCE = 100
"""Targets whose votes are read in one round."""
FEW = 8
"""Votes read for a target at first, times the quorum."""
CROWDED_AT_ONCE = 10
"""Targets of which all votes are read in one round, where the few did not tell."""
_MOST_HEARD = 10_000
"""Changes of breakers kept between two rounds."""
_NOT_OUR_OWN = frozenset({"shared", "manual"})
"""Causes that are no finding of this instance, and so no vote."""

_log = logging.getLogger("handrail")


@dataclass(slots=True)
class _Mine:
    """An open breaker of ours, by our clock; `vote` once it was put down."""

    began: float
    lasts: float
    vote: Vote | None = None


class SharedBreakers:
    """The breakers of `registry`, joined to those of the other instances.

    `connect` makes the store, at the first round and in the thread. `shown` is its name in log lines.
    """

    def __init__(
        self,
        registry: Registry,
        connect: Callable[[], Store],
        *,
        quorum: int = 2,
        shown: str = "the store",
        machine: str | None = None,
    ) -> None:
        self._registry = registry
        self._connect = connect
        self._quorum = quorum
        self._machine = machine or machine_name()
        self._now = registry.tools.clock.now
        self._jitter = registry.tools.jitter
        self._outage = Outage(shown, self._now)
        self._lock = threading.Lock()
        self._closed: dict[str, float] = {}
        """When a breaker of ours closed, by our clock: what others said before that is old."""
        self._fresh()
        _all.add(self)

    def _fresh(self) -> None:
        """As after the construction: at first, and in the child of a fork."""
        self.voter = Voter(self._machine, uuid.uuid4().hex[:12])
        self._heard: deque[tuple[float, CircuitChanged]] = deque(maxlen=_MOST_HEARD)
        self._mine: dict[str, _Mine] = {}
        self._gone: list[tuple[str, Vote]] = []
        self._refreshed = 0.0
        self._again = False  # whether a round has failed since the votes were put down
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._ended = False

    @property
    def away(self) -> bool:
        """Whether the store could not be reached in the last round."""
        return self._outage.lasts

    def heard(self, event: Event) -> None:
        """The listener: runs on the path of calls, and only takes a note."""
        if isinstance(event, CircuitChanged):
            self._heard.append((self._now(), event))

    def begin(self) -> None:
        """Start the thread where none runs; for the first origin of a process."""
        with self._lock:
            if self._thread is not None or self._ended:
                return
            self._thread = threading.Thread(target=self._run, name="handrail-shared", daemon=True)
            try:
                self._thread.start()
            except RuntimeError as error:  # no more threads, or the interpreter is about to end
                _log.warning("breakers are not shared: %s", error)

    def end(self, seconds: float = 1.0) -> None:
        """Withdraw what we said and stop, within `seconds`; begins no more."""
        self._ended = True
        self._stop.set()
        thread = self._thread
        if thread is not None and thread.is_alive():
            thread.join(seconds)

    def _forked(self) -> None:
        """The votes are the parent's, and so is its connection; the breakers are as they were."""
        ran, ended = self._thread is not None, self._ended
        self._lock = threading.Lock()
        self._fresh()
        self._ended = ended
        if ran and not ended:
            self.begin()

    def _run(self) -> None:
        # Not in the context of the request that happened to be first: its span and deadline are nothing to us.
        contextvars.Context().run(self._work)

    def _work(self) -> None:
        store: Store | None = None
        stop, pause = self._stop, 0.0
        while not stop.wait(pause * (0.75 + random.random() / 2)):
            try:
                store = store or self._connect()
                self.round(store)
                trouble = store.trouble
            except Exception as error:
                trouble = reason(error)
            pause = EVERY if not trouble else min(SLOWEST, max(EVERY, pause * 2))
            self._outage.told(trouble)
        if store is not None:
            if not self._outage.lasts:
                self._farewell(store)
            store.close()

    def _farewell(self, store: Store) -> None:
        """An instance that ends in peace has no opinion any more."""
        try:
            self._note()
            self._gone += [(target, mine.vote) for target, mine in self._mine.items() if mine.vote is not None]
            if self._gone:
                store.exchange({}, self._gone, store.now())
        except Exception as error:
            _log.debug("the last votes end by themselves: %s", error)

    def round(self, store: Store) -> None:
        """Once: put down what is new, and open what others have found broken."""
        again, self._again = self._again, True
        now = store.now()
        self._note()
        targets = store.exchange(self._due(now, again), self._gone, now)
        self._gone = []
        if targets:
            self._follow(store, targets, now)
        self._again = bool(store.trouble)

    def _note(self) -> None:
        """Make votes, and take them back, from what the breakers reported."""
        while self._heard:
            at, event = self._heard.popleft()
            if event.after == "open" and event.cause not in _NOT_OUR_OWN:
                self._withdraw(event.target)
                self._mine[event.target] = _Mine(at, min(event.open_for, LONGEST))
            elif event.after == "closed":
                self._withdraw(event.target)
                self._closed[event.target] = at

    def _withdraw(self, target: str) -> None:
        mine = self._mine.pop(target, None)
        if mine is not None and mine.vote is not None:
            self._gone.append((target, mine.vote))

    def _due(self, now: float, again: bool) -> dict[str, Vote]:
        """Votes to put down: new ones, and `again` and now and then all that have not ended."""
        here = self._now()
        again = again or here - self._refreshed >= REFRESH
        if again:
            self._refreshed = here
            self._mine = {target: mine for target, mine in self._mine.items() if mine.began + mine.lasts > here}
            self._closed = {target: at for target, at in self._closed.items() if here - at < LONGEST}
        given = {}
        for target, mine in self._mine.items():
            if mine.vote is None:
                begins = round(now - (here - mine.began), 3)
                mine.vote = Vote(self.voter, begins, begins + mine.lasts)
            elif not again:
                continue
            if mine.vote.ends > now:
                given[target] = mine.vote
        return given

    def _follow(self, store: Store, targets: Iterable[str], now: float) -> None:
        """Open what enough others gave up. Mostly a few of the votes tell; only then all are read."""
        closed = self._may_open(frozenset(targets))
        asked = random.sample(sorted(closed), min(len(closed), AT_ONCE))
        few = min(FEW * self._quorum, MOST_VOTES)
        crowded = [
            target
            for target, found in (store.votes(asked, now, few) if asked else {}).items()
            if not self._follows(target, found.votes, now, *closed[target]) and found.more
        ]
        if crowded:
            for target, found in store.votes(crowded[:CROWDED_AT_ONCE], now).items():
                self._follows(target, found.votes, now, *closed[target])

    def _follows(self, target: str, votes: list[Vote], now: float, breaker: CircuitBreaker, longest: float) -> bool:
        since = self._closed[target] + now - self._now() if target in self._closed else 0.0
        lasts = agreed(votes, self.voter, self._quorum, now, since)
        if lasts <= 0:
            return False
        # Not all at once: the probes of many instances spread over half of the time.
        breaker.force_open(min(lasts, longest) * (0.5 + self._jitter() / 2), "shared")
        return True

    def _may_open(self, targets: frozenset[str]) -> dict[str, tuple[CircuitBreaker, float]]:
        """Our closed breakers among `targets` that do not know better, with the longest time to open each for."""
        found = {}
        for entry in self._registry.entries():
            for breaker in entry.breakers():
                if breaker.target in targets and breaker.state == "closed" and not _thrives(breaker, entry.settings):
                    found[breaker.target] = (breaker, entry.settings.breaker_open_for)
        return found


def _thrives(breaker: CircuitBreaker, settings: ResilienceSettings) -> bool:
    """Whether our own calls are enough to tell, and hardly any fails: nobody is talked out of what he sees."""
    rate, calls = breaker.counts()
    return calls >= settings.breaker_minimum_calls and rate < settings.breaker_failure_rate / 2


_all: "weakref.WeakSet[SharedBreakers]" = weakref.WeakSet()


def _after_fork() -> None:
    for shared in list(_all):
        shared._forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
