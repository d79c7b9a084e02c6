"""A round of the courier: what is sent, what is owed, when the store is away. No thread, no time."""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handrail.resilience.replay import _courier_owed as owed_room
from handrail.resilience.replay._away import StoreAway
from handrail.resilience.replay._courier_asked import Asked, asked
from handrail.resilience.replay._courier_rounds import AT_ONCE, SLOWEST_PROBE, TIDY_AFTER, TIDY_EVERY, Rounds
from handrail.resilience.replay.testing import MemoryBackend
from handrail.resilience.replay.work import Begin, Free, Held, Keep, Renew, State, Work
from handrail.resilience.testing import FakeClock, run
from tests.replay.backend_rules import begin, keep, key_of

NEW = Held(State.NEW)


class Bench:
    """Rounds by hand, on the loop of `run`."""

    def __init__(self, lease: float = 9.0) -> None:
        self.clock = FakeClock()
        self.now = self.clock.now
        self.backend = MemoryBackend(self.clock)
        self.connected = 0
        self.rounds = Rounds(self.connect, lease, self.clock.now)
        self.waiting: list[Asked] = []
        self.back: list[Begin] = []

    def connect(self) -> MemoryBackend:
        self.connected += 1
        return self.backend

    def give_back(self, begin: Begin) -> None:
        self.back.append(begin)
        self.rounds.owing.add(Free(begin.key, begin.owner), self.now())

    def ask(self, work: Work, seconds: float = 5.0) -> "asyncio.Task[Held | bool]":
        return asyncio.ensure_future(self._ask(work, seconds))

    async def _ask(self, work: Work, seconds: float) -> Held | bool:
        one = asked(work, self)
        self.waiting.append(one)
        return await one.answer(seconds)

    def round(self) -> None:
        waiting, self.waiting = self.waiting, []
        self.rounds.round(waiting)

    def later(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.round()

    def sent(self, kind: type[Work] = Renew) -> list[Work]:
        """All of a kind that came to the store, also what it refused."""
        return [work for batch in self.backend.calls for work in batch if isinstance(work, kind)]


async def turns() -> None:
    """Let the loop do all that is ready."""
    for _ in range(5):
        await asyncio.sleep(0)  # noqa: TID251  (no time passes)


def on(bench: Bench, main: Coroutine[Any, Any, None]) -> None:
    run(main, bench.clock)


def test_all_that_waits_goes_in_one_batch() -> None:
    """Fifty questions are one transaction; each has its own answer."""
    bench = Bench()

    async def main() -> None:
        tasks = [bench.ask(begin(number % 25, f"o{number}", lease=9.0)) for number in range(50)]
        await turns()
        bench.round()
        found = [await task for task in tasks]
        assert [len(batch) for batch in bench.backend.calls] == [50]
        assert found[:25] == [NEW] * 25
        assert {held.state for held in found[25:] if isinstance(held, Held)} == {State.BUSY}

    on(bench, main())


def test_a_batch_is_bounded() -> None:
    """Others wait for its end, in all processes that share the store."""
    bench = Bench()

    async def main() -> None:
        tasks = [bench.ask(begin(number)) for number in range(AT_ONCE * 2 + 1)]
        await turns()
        bench.round()
        assert [await task for task in tasks] == [NEW] * len(tasks)
        assert [len(batch) for batch in bench.backend.calls] == [AT_ONCE, AT_ONCE, 1]

    on(bench, main())


def test_a_lost_connection_is_not_an_outage(caplog: pytest.LogCaptureFixture) -> None:
    """What failed once is sent once more at once: nobody hears of it."""
    bench = Bench()

    class Once(MemoryBackend):
        def run(self, work: Sequence[Work]) -> list[Held | bool]:
            self.before = None if self.calls else ConnectionError("reset")
            return super().run(work)

    bench.backend = Once(bench.clock)

    async def main() -> None:
        task = bench.ask(begin(1))
        await turns()
        bench.round()
        assert await task == NEW
        assert len(bench.backend.calls) == 2
        assert not caplog.records

    on(bench, main())


def test_an_answer_that_was_lost_leaves_no_key_behind() -> None:
    """Done twice and never heard of: he who asked is refused, and the key is free once the store is back."""
    bench = Bench()

    async def main() -> None:
        bench.backend.after = ConnectionError("lost")
        task = bench.ask(begin(1))
        await turns()
        bench.round()
        with pytest.raises(StoreAway, match="lost"):
            await task
        assert key_of(1) in bench.backend.rows
        bench.backend.after = None
        bench.later(1.0)
        assert not bench.backend.rows
        for _ in range(3):  # it may still be on its way, and come after its Free
            bench.later(20.0)
        assert len(bench.sent(Free)) == 3

    on(bench, main())


def test_a_question_cancelled_in_the_moment_of_its_answer_leaves_no_key() -> None:
    """The answer is there, the task has not seen it: nobody else would ever give the key back."""
    bench = Bench()

    async def main() -> None:
        task = bench.ask(begin(1))
        await turns()
        bench.round()
        await asyncio.sleep(0)  # noqa: TID251  (the answer is put down; the task runs in the next turn)
        assert bench.backend.rows
        assert not bench.back
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert bench.back == [begin(1)]
        bench.round()
        assert not bench.backend.rows

    on(bench, main())


def test_who_asks_again_in_the_same_name_is_not_freed() -> None:
    """Nobody should; but a key that is at work must not be freed by what was owed for an earlier question."""
    bench = Bench()

    async def main() -> None:
        bench.backend.after = ConnectionError("lost")
        first = bench.ask(begin(1))
        await turns()
        bench.round()
        bench.backend.after = None
        bench.clock.advance(1.0)
        second = bench.ask(begin(1))
        await turns()
        bench.round()
        assert await second == NEW
        assert isinstance(await asyncio.gather(first, return_exceptions=True), list)
        bench.later(20.0)
        assert key_of(1) in bench.backend.rows

    on(bench, main())


def test_an_outage_is_told_once_and_ends_once(caplog: pytest.LogCaptureFixture) -> None:
    """One warning with the reason, one line at the end; probes are ever rarer, and none is a request."""
    caplog.set_level(logging.INFO, "handrail")
    bench = Bench()

    async def main() -> None:
        bench.round()
        assert bench.rounds.identity == bench.backend.identity
        bench.backend.before = ConnectionError("refused\nby the  script")
        task = bench.ask(begin(1))
        await turns()
        bench.round()
        with pytest.raises(StoreAway, match="ConnectionError: refused by the script"):
            await task
        calls, waits = len(bench.backend.calls), []
        for _ in range(12):
            wait = bench.rounds.wait()
            assert wait is not None
            waits.append(wait)
            bench.later(wait)
        assert len(bench.backend.calls) == calls
        assert waits[0] < 0.2 < 1.0 < waits[-1] <= SLOWEST_PROBE * 1.25
        bench.backend.before = None
        bench.later(10.0)
        assert not bench.rounds.away
        while (wait := bench.rounds.wait()) is not None and wait < 60:
            bench.later(wait)
        said = [(record.levelname, record.getMessage()) for record in caplog.records]
        assert [level for level, _ in said] == ["WARNING", "INFO"], said
        assert "memory, is away: ConnectionError: refused by the script;" in said[0][1]
        assert "memory, is back after" in said[1][1]

    on(bench, main())


def test_a_store_that_cannot_be_made_is_away() -> None:
    """A missing library or a wrong address is a reason like others, and may be mended."""
    bench = Bench()

    async def main() -> None:
        connect, bench.rounds._connect = bench.connect, _fails
        task = bench.ask(begin(1))
        await turns()
        bench.round()
        with pytest.raises(StoreAway, match="no such store"):
            await task
        bench.rounds._connect = connect
        bench.later(1.0)
        assert bench.rounds.identity == bench.backend.identity

    on(bench, main())


def _fails() -> MemoryBackend:
    raise ValueError("no such store")


def test_results_that_do_not_fit_are_no_results() -> None:
    """Nobody is told what another one's work came to."""
    bench = Bench()
    bench.backend.run = lambda work: [NEW]  # type: ignore[method-assign]  # a broken store

    async def main() -> None:
        tasks = [bench.ask(begin(1)), bench.ask(begin(2))]
        await turns()
        bench.round()
        for task in tasks:
            with pytest.raises(StoreAway, match="1 results for 2 pieces"):
                await task

    on(bench, main())


def test_what_is_told_is_done_when_the_store_is_back() -> None:
    """An answer that could not be kept replaces what would have been broken."""
    bench = Bench()

    async def main() -> None:
        task = bench.ask(begin(1, lease=9.0))
        await turns()
        bench.round()
        assert await task == NEW
        bench.backend.before = ConnectionError("away")
        bench.rounds.held[key_of(1), "a"] = begin(1, lease=9.0)
        bench.rounds.owing.add(keep(1, b"told"), bench.now())
        for _ in range(20):
            bench.later(5.0)
        assert bench.rounds.held
        assert bench.backend.rows[key_of(1)].answer is None
        bench.backend.before = None
        bench.later(10.0)
        assert bench.backend.rows[key_of(1)].answer == b"told"
        assert not bench.rounds.owing
        assert not bench.rounds.held  # nobody else would let it go

    on(bench, main())


def test_work_that_a_store_never_takes_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """It is tried alone, ever more rarely; the others, owed and asked, are done, and the store is not away."""
    bench = Bench()

    class Narrow(MemoryBackend):
        def run(self, work: Sequence[Work]) -> list[Held | bool]:
            if any(isinstance(one, Keep) and len(one.answer) > 10 for one in work):
                self.calls.append(list(work))
                raise ValueError("too large")
            return super().run(work)

    bench.backend = Narrow(bench.clock)

    async def main() -> None:
        tasks = [bench.ask(begin(number)) for number in range(3)]
        await turns()
        bench.round()
        assert [await task for task in tasks] == [NEW] * 3
        for number, answer in ((0, b"x"), (1, b"x" * 11), (2, b"y")):
            bench.rounds.owing.add(keep(number, answer, retention=200_000.0), bench.now())
        for number in range(3, 9):
            task = bench.ask(begin(number))
            await turns()
            bench.round()
            assert await task == NEW
            wait = bench.rounds.wait()
            bench.clock.advance(wait or 0.0)
        assert [bench.backend.rows[key_of(number)].answer for number in range(3)] == [b"x", None, b"y"]
        assert not bench.rounds.away
        assert not caplog.records
        for _ in range(2000):
            bench.later(60.0)
        assert len(bench.rounds.owing) == 1
        assert len(bench.sent(Keep)) < 4100
        bench.later(100_000.0)
        assert not bench.rounds.owing

    on(bench, main())


def test_leases_are_renewed_as_long_as_they_are_held() -> None:
    """Every third of a lease, and no more once they are let go or are not their own any more."""
    bench = Bench(lease=9.0)

    async def main() -> None:
        tasks = [bench.ask(begin(number, lease=9.0)) for number in range(3)]
        await turns()
        bench.round()
        for number, task in enumerate(tasks):
            assert await task == NEW
            bench.rounds.held[key_of(number), "a"] = begin(number, lease=9.0)
        for _ in range(10):
            wait = bench.rounds.wait()
            assert wait is not None
            assert wait <= 3.0
            bench.later(wait)
        assert all(row.lease_ends > bench.now() + 5 for row in bench.backend.rows.values())
        bench.rounds.held.pop((key_of(0), "a"))
        bench.backend.rows[key_of(1)].owner = "thief"
        before = len(bench.sent())
        bench.later(3.0)
        bench.later(3.0)
        assert len(bench.sent()) - before == 3
        assert set(bench.rounds.held) == {(key_of(2), "a")}
        bench.rounds.held.clear()
        bench.later(10.0)
        bench.later(10.0)
        assert bench.rounds.wait() is None

    on(bench, main())


def test_leases_are_renewed_before_others_may_take_over() -> None:
    """After an outage that was longer than a lease, the first thing said is that the owner lives."""
    bench = Bench(lease=9.0)

    async def main() -> None:
        task = bench.ask(begin(1, lease=9.0))
        await turns()
        bench.round()
        assert await task == NEW
        bench.rounds.held[key_of(1), "a"] = begin(1, lease=9.0)
        bench.backend.before = ConnectionError("away")
        bench.later(4.0)
        assert bench.rounds.away
        bench.clock.advance(20.0)
        bench.backend.before = None
        other = bench.ask(begin(1, "b", take_over=True))
        await turns()
        bench.round()
        held = await other
        assert isinstance(held, Held)
        assert held.state is State.BUSY

    on(bench, main())


def test_a_key_that_came_after_half_of_its_lease_is_given_back() -> None:
    """Before anybody could renew it, another might have taken it over: two would do the same work."""
    bench = Bench()

    class Slow(MemoryBackend):
        def run(self, work: Sequence[Work]) -> list[Held | bool]:
            bench.clock.advance(2.0)
            return super().run(work)

    bench.backend = Slow(bench.clock)

    async def main() -> None:
        task, unharmed = bench.ask(begin(1, lease=3.0)), bench.ask(begin(2, lease=9.0))
        await turns()
        bench.round()
        with pytest.raises(StoreAway, match=r"took 2\.0 s, too long for a lease of 3 s"):
            await task
        assert await unharmed == NEW
        bench.round()
        assert set(bench.backend.rows) == {key_of(2)}

    on(bench, main())


def test_it_tidies_while_there_is_work() -> None:
    """Every few seconds, or after some hundred keys; an idle process asks nothing of its store."""
    bench = Bench()
    tidied: list[float] = []
    bench.backend.tidy = lambda: tidied.append(bench.now())  # type: ignore[method-assign]  # counted

    async def main() -> None:
        bench.round()
        assert bench.rounds.wait() is None
        task = bench.ask(begin(1))
        await turns()
        bench.round()
        assert await task == NEW
        bench.later(TIDY_EVERY)
        assert len(tidied) == 1
        tasks = [bench.ask(begin(number)) for number in range(2, TIDY_AFTER + 3)]
        await turns()
        bench.round()
        assert await asyncio.gather(*tasks)
        assert len(tidied) == 2
        bench.later(60.0)
        bench.later(60.0)
        assert bench.rounds.wait() is None

    on(bench, main())


def test_a_store_that_cannot_be_tidied_still_answers() -> None:
    """To forget is not what a request waits for."""
    bench = Bench()
    bench.backend.tidy = _refuses  # type: ignore[method-assign]  # a right that is missing

    async def main() -> None:
        task = bench.ask(begin(1))
        await turns()
        bench.round()
        assert await task == NEW
        bench.later(TIDY_EVERY)
        assert not bench.rounds.away

    on(bench, main())


def _refuses() -> None:
    raise PermissionError("no right to delete")


def test_an_answer_that_is_owed_is_not_given_up() -> None:
    """Neither a Free nor another Begin of the same name takes its place: what was carried out is not forgotten."""
    owing = owed_room.Owing()
    owing.add(keep(1, b"x"), 0.0)
    owing.add(Free(key_of(1), "a"), 0.0)
    owing.free_unsure(begin(1), 0.0)
    owing.begins(begin(1))
    assert [one.work for one in owing.due(0.0)] == [keep(1, b"x")]


def test_what_is_owed_is_bounded(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """By number and by bytes; the oldest go, and that is said once."""
    monkeypatch.setattr(owed_room, "MOST", 10)
    monkeypatch.setattr(owed_room, "MOST_BYTES", 1000)
    owing = owed_room.Owing()
    for number in range(20):
        owing.add(keep(number, b""), 0.0)
    assert [one.work.key for one in owing.due(0.0)] == [key_of(number) for number in range(10, 20)]
    for number in range(20, 25):
        owing.add(keep(number, b"x" * 300), 0.0)
    assert [one.work.key for one in owing.due(0.0)] == [key_of(number) for number in range(22, 25)]
    assert len(caplog.records) == 1
    assert "more answers wait" in caplog.text


# ---- any sequence of events ----------------------------------------------------------------------------------------

_step = st.one_of(
    st.tuples(st.just("ask"), st.integers(0, 2), st.booleans()),
    st.tuples(st.just("cancel"), st.integers(0, 3), st.booleans()),
    st.tuples(st.sampled_from(["round", "turn", "before", "after", "heal", "time"]), st.just(0), st.just(value=False)),
)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.lists(_step, max_size=40))
def test_no_key_is_left_behind(steps: list[tuple[str, int, bool]]) -> None:
    """Whatever is cancelled, late, lost or away, and when: he who was told NEW has the key, and nobody else has any."""
    bench = Bench()

    async def main() -> None:
        tasks: list[tuple[Begin, asyncio.Task[Held | bool]]] = []
        for what, which, now in steps:
            if what == "ask":
                work = begin(which, f"owner{len(tasks)}", lease=86_400.0, retention=86_400.0)
                tasks.append((work, bench.ask(work, 3.0)))
            elif what == "cancel" and tasks:
                tasks[-1 - which % len(tasks)][1].cancel()
            elif what == "round":
                bench.round()
            elif what in {"before", "after"}:
                setattr(bench.backend, what, ConnectionError(what))
            elif what == "heal":
                bench.backend.before = bench.backend.after = None
            elif what == "time":
                bench.clock.advance(1.5)
            if what == "turn" or now:
                await asyncio.sleep(0)  # noqa: TID251  (no time passes)
        bench.backend.before = bench.backend.after = None
        for _ in range(12):
            bench.later(6.0)
            await turns()
        found = [(work, (await asyncio.gather(task, return_exceptions=True))[0]) for work, task in tasks]
        owners = {work.owner for work, held in found if held == NEW}
        assert {row.owner for row in bench.backend.rows.values()} == owners
        assert len({work.key for work, held in found if held == NEW}) == len(owners)

    on(bench, main())
