"""What stands between requests on event loops and a store that may block: one thread that carries batches.

An event loop never waits for the store, nor for a lock: it puts a question into a queue, and is called back. All that
waits when the thread comes by goes in one batch.
"""

import contextvars
import logging
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

from .._forked import watch
from ..clock import Clock, SystemClock
from ._away import StoreAway
from ._courier_asked import Asked, asked
from ._courier_rounds import Rounds
from .work import Backend, Begin, Free, Held, Work

__all__ = ["Courier", "StoreAway"]

MOST_WAITING = 10_000
"""Questions and pieces of work in the queue; above, `ask` is refused at once."""
STUCK = 5.0
"""Seconds after which a store that does not return from a call is away, for those who would ask."""

_log = logging.getLogger("handrail")


class _Stop:
    """The last in the queue."""


_leaked: list[object] = []
"""Connections of a parent process: not even closed here, since they share sockets and locks with the parent's own."""


class Courier:
    """The one of a process for one store.

    `connect` makes the store, in the thread, at the first question. `lease`: seconds; what is held is renewed every
    third of them. `clock` tells when things are due; the thread waits by the real one.
    """

    def __init__(self, connect: Callable[[], Backend], *, lease: float, clock: Clock | None = None) -> None:
        self._connect = connect
        self._lease = lease
        self.now: Callable[[], float] = (clock or SystemClock()).now
        self._ended = False
        self._fresh()
        watch(self)

    def _fresh(self) -> None:
        """As after the construction: at first, and in the child of a fork."""
        self._queue: SimpleQueue[Asked | Work | _Stop] = SimpleQueue()
        self._rounds = Rounds(self._connect, self._lease, self.now)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @property
    def identity(self) -> str | None:
        """Of the store; None until it is known, and while the store is away. The first look starts the thread."""
        if self._thread is None:
            self._begin()
        rounds = self._rounds
        return None if rounds.away or self._stuck(rounds) else rounds.identity

    async def ask(self, work: Work, seconds: float, /) -> Held | bool:
        """Have it done, and wait for the result.

        Raises StoreAway at once while the store is known to be away, or 10,000 others wait, or after `end`; else
        after `seconds`. A Begin that ends so, or is cancelled, leaves no key behind: the courier frees it, now or
        when the store is back. So its owner is spent: whoever tries again does it in another name.
        """
        if self._thread is None:
            self._begin()
        if trouble := self._trouble():
            raise StoreAway(trouble)
        one = asked(work, self)
        self._queue.put(one)
        return await one.answer(seconds)

    def tell(self, work: Work) -> None:
        """Have it done at some time, by whoever calls and from any thread: a Keep within its retention, all else
        within an hour, and as long as this process lives. A lease that is held is renewed until it is done, and then
        let go.
        """
        if self._thread is None:
            self._begin()
        if not self._ended and self._queue.qsize() < 2 * MOST_WAITING:
            self._queue.put(work)

    def hold(self, begin: Begin) -> None:
        """Renew its lease every third of it, until `let_go`, or until it is not its own any more."""
        self._rounds.held[begin.key, begin.owner] = begin

    def let_go(self, key: bytes, owner: str) -> None:
        """Renew it no more."""
        self._rounds.held.pop((key, owner), None)

    def give_back(self, begin: Begin) -> None:
        """A key that is begun and that nobody works on is free again."""
        self.let_go(begin.key, begin.owner)
        self.tell(Free(begin.key, begin.owner))

    def end(self, seconds: float = 1.0) -> None:
        """Do what was told, within `seconds`, and stop for ever."""
        self._ended = True
        thread = self._thread
        self._queue.put(_Stop())
        if thread is not None and thread.is_alive():
            thread.join(seconds)

    def in_child(self) -> None:
        """The thread, its connection, and all that waits, are the parent's."""
        _leaked.append(self._rounds)
        self._fresh()

    def _trouble(self) -> str:
        """Why the store cannot be asked, or empty."""
        rounds = self._rounds
        if self._ended:
            return "this process is about to end"
        if rounds.away:
            return rounds.away
        if self._queue.qsize() >= MOST_WAITING:
            return "busy: 10,000 others wait for it"
        return f"it does not return from a call for {STUCK:g} s" if self._stuck(rounds) else ""

    def _stuck(self, rounds: Rounds) -> bool:
        since = rounds.busy_since
        return since is not None and self.now() - since > STUCK

    def _begin(self) -> None:
        with self._lock:
            if self._thread is not None or self._ended:
                return
            thread = threading.Thread(target=self._run, name="handrail-courier", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # no more threads, or the interpreter is about to end
                self._rounds.away = str(error)
                return
            self._thread = thread
            self._rounds.away = ""

    def _run(self) -> None:
        # Not in the context of the request that happened to be first: its span and deadline are nothing to us.
        contextvars.Context().run(self._work, self._queue, self._rounds)

    def _work(self, queue: "SimpleQueue[Asked | Work | _Stop]", rounds: Rounds) -> None:
        going = True
        while going:
            questions: list[Asked] = []
            try:
                going = self._gather(queue, rounds, questions)
                rounds.round(questions)
            except Exception:
                _log.exception("the courier stumbled, and goes on")
        rounds.last()

    def _gather(self, queue: "SimpleQueue[Asked | Work | _Stop]", rounds: Rounds, questions: list[Asked]) -> bool:
        """All that waits, or what comes first; False after the last."""
        try:
            one = queue.get(timeout=rounds.wait())
            while True:
                if isinstance(one, Asked):
                    questions.append(one)
                elif isinstance(one, _Stop):
                    return False
                else:
                    rounds.owing.add(one, self.now())
                one = queue.get_nowait()
        except Empty:
            return True
