"""Hedging: who is sent a second time, who wins, and what becomes of the other."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from math import inf

import anyio
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from handrail.resilience import (
    AttemptTimedOut,
    BulkheadFull,
    Call,
    Pipeline,
    Resend,
    ResilienceSettings,
    Retry,
    TimedOut,
    Tools,
)
from handrail.resilience.budget import Budget
from handrail.resilience.events import HedgeSent, HedgeWon, NotRetried, RetriesExhausted
from handrail.resilience.hedge import Hedge
from handrail.resilience.registry import Registry
from handrail.resilience.testing import FakeClock, RecordingListener, Reply, ScriptedWire, run, sleep
from handrail.resilience.timeouts import AttemptTimeout, TotalTimeout

where: ContextVar[str] = ContextVar("where", default="nowhere")


class Peer(ScriptedWire):
    """Answers the n-th request after so many seconds with so much; notes who was cancelled and in which context."""

    def __init__(self, clock: FakeClock, *answers: tuple[float, int | BaseException]) -> None:
        super().__init__(clock=clock)
        self.answers = answers
        self.cancelled: list[int] = []
        self.replies: list[Reply] = []
        self.contexts: list[str] = []
        self.under_way = 0

    async def send(self, call: Call[Reply]) -> Reply:
        seconds, answer = self.answers[min(len(self.sent), len(self.answers) - 1)]
        self.sent.append(call.attempt)
        self.contexts.append(where.get())
        self.under_way += 1
        try:
            await sleep(seconds)
        except asyncio.CancelledError:
            self.cancelled.append(call.attempt)
            await sleep()  # a connection that is closed takes a turn of the loop
            raise
        finally:
            self.under_way -= 1
        if isinstance(answer, BaseException):
            raise answer
        self.replies.append(Reply(answer))
        return self.replies[-1]

    async def discard(self, result: Reply) -> None:
        await sleep()
        await super().discard(result)


class Bench:
    """A hedge after 1 s."""

    def __init__(self, budget: Budget | None = None, free: Callable[[], bool] | None = None) -> None:
        self.clock = FakeClock()
        self.told = RecordingListener()
        self.tools = Tools(clock=self.clock, emit=self.told, jitter=lambda: 0.0)
        self.hedge = Hedge(1.0, budget=budget, free=free, tools=self.tools)
        self.pipeline = Pipeline(self.hedge)

    def peer(self, *answers: tuple[float, int | BaseException]) -> Peer:
        return Peer(self.clock, *answers)

    def play(self, peer: Peer, resend: Resend = Resend.SAFE) -> Call[Reply]:
        """Run one call, and say what is known of it afterwards."""
        call = peer.call(resend=resend)

        async def main() -> None:
            reply = await self.pipeline.run(call)
            assert reply not in peer.discarded
            assert len(asyncio.all_tasks()) == 1

        run(main(), self.clock)
        return call


def test_a_quick_answer_is_never_hedged() -> None:
    """Before the delay is over nothing is sent twice, and nothing is told."""
    bench = Bench()
    peer = bench.peer((0.9, 200))
    bench.play(peer)
    assert (peer.sent, bench.told.events, bench.clock.now()) == ([1], [], 1000.9)


def test_the_second_answers_first() -> None:
    """Its reply is the caller's, the first is cancelled, and the call knows the second's number and verdict."""
    bench = Bench()
    peer = bench.peer((9.0, 200), (0.5, 404))
    call = bench.play(peer)
    assert (peer.sent, peer.cancelled, bench.clock.now()) == ([1, 2], [1], 1001.5)
    assert bench.told.events == [HedgeSent("http://peer", "GET", 1.0), HedgeWon("http://peer", "GET", 0.5)]
    assert (call.attempt, call.verdict.cause) == (2, "ok")


def test_the_first_answers_first_after_all() -> None:
    """The second is cancelled, and no win is told."""
    bench = Bench()
    peer = bench.peer((1.5, 200), (9.0, 200))
    call = bench.play(peer)
    assert (peer.sent, peer.cancelled, call.attempt) == ([1, 2], [2], 1)
    assert bench.told.of(HedgeWon) == []


def test_a_failure_waits_for_the_other() -> None:
    """503 or a broken connection is no answer as long as the other may bring one; it is thrown away."""
    for answers in (((2.0, 503), (3.0, 200)), ((3.0, 200), (1.0, 503))):
        bench = Bench()
        peer = bench.peer(*answers)
        call = bench.play(peer)
        assert ([reply.status for reply in peer.discarded], peer.cancelled) == ([503], [])
        assert call.verdict.cause == "ok"
    bench = Bench()
    bench.play(bench.peer((2.0, ConnectionResetError()), (3.0, 200)))
    assert bench.clock.now() == 1004.0


def test_both_fail() -> None:
    """The first one's outcome goes up, unchanged; Retry goes on with the third attempt."""
    bench = Bench()
    error = ConnectionResetError("first")
    peer = bench.peer((2.0, error), (0.5, 503))
    with pytest.raises(ConnectionResetError) as caught:
        bench.play(peer)
    assert caught.value is error
    assert [reply.status for reply in peer.discarded] == [503]
    bench.pipeline = Pipeline(Retry(attempts=3, tools=bench.tools), bench.hedge)
    peer = bench.peer((2.0, 503), (0.5, 503), (0.1, 502))
    bench.play(peer)
    assert (peer.sent, [reply.status for reply in peer.discarded]) == ([1, 2, 3], [503, 503])
    assert [event.attempts for event in bench.told.of(RetriesExhausted)] == [3]


def test_a_circuit_that_the_second_opens_ends_the_retries() -> None:
    """What the breaker said to the second request holds for the call: no pause for an attempt that would be refused."""
    clock, told = FakeClock(), RecordingListener()
    settings = ResilienceSettings(hedge_after=1.0, breaker_minimum_calls=2)
    entry = Registry(settings, Tools(clock=clock, emit=told, jitter=lambda: 0.5)).pipeline("http", "peer", 80)
    peer = Peer(clock, (1.5, 503), (1.0, 503))

    async def main() -> Reply:
        return await entry.pipeline.run(peer.call())

    assert run(main(), clock).status == 503
    assert (peer.sent, clock.slept) == ([1, 2], [])
    assert [event.reason for event in told.of(NotRetried)] == ["circuit_breaker"]


def test_the_first_fails_before_the_delay() -> None:
    """That is Retry's matter: nothing is sent beside it."""
    bench = Bench()
    peer = bench.peer((0.5, 503))
    bench.play(peer)
    assert (peer.sent, bench.told.events) == ([1], [])


def test_a_retry_is_not_hedged() -> None:
    """One extra request for a call: attempts after the first may be slow."""
    bench = Bench()
    bench.pipeline = Pipeline(Retry(tools=bench.tools), bench.hedge)
    peer = bench.peer((0.1, 503), (5.0, 200))
    bench.play(peer)
    assert peer.sent == [1, 2]


@examples(max_examples=60, deadline=None)
@given(
    st.sampled_from([Resend.KEYED, Resend.UNSAFE, Resend.ONE_TIME, Resend.ONE_SHOT]),
    st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0, 5.0, 50.0]), st.sampled_from([200, 404, 500, 503])), min_size=1),
)
def test_nothing_unsafe_is_ever_hedged(resend: Resend, answers: list[tuple[float, int]]) -> None:
    """However slow or broken the peer is, at no time are two requests of such a call under way."""
    clock, told = FakeClock(), RecordingListener()
    settings = ResilienceSettings(hedge_after=0.4, attempt_timeout=10)
    entry = Registry(settings, Tools(clock=clock, emit=told)).pipeline("http", "peer", 80)
    peer = Peer(clock, *answers)

    async def main() -> None:
        task = asyncio.create_task(entry.pipeline.run(peer.call(resend=resend, operation="POST")))
        while not task.done():
            assert peer.under_way <= 1
            await sleep(0.1)
        assert isinstance(task.exception(), TimedOut | None)

    run(main(), clock)
    assert told.of(HedgeSent) == []


def test_credentials_for_one_request_are_not_sent_twice() -> None:
    """A safe method whose credentials are good for one request is not hedged."""

    class OneTime(Call[Reply]):
        __slots__ = ()

        def one_time(self) -> bool:
            return True

    bench = Bench()
    peer = bench.peer((5.0, 200))
    call = OneTime(peer, target="http://peer", operation="GET", resend=Resend.SAFE)

    async def main() -> Reply:
        return await bench.pipeline.run(call)

    assert run(main(), bench.clock).status == 200
    assert peer.sent == [1]


def test_the_budget_pays() -> None:
    """Hedges and retries together never exceed it: with a floor of two, the third call waits for its answer."""
    bench = Bench(budget=Budget(ratio=0.0, floor=2))
    seen = []
    for _ in range(3):
        peer = bench.peer((1.5, 200))
        bench.play(peer)
        seen.append(len(peer.sent))
    assert seen == [2, 2, 1]


def test_only_where_the_peer_is_free() -> None:
    """No second request to a peer in trouble, or to one where it would have to wait; and the budget is not asked."""
    budget = Budget(ratio=0.0, floor=2)
    bench = Bench(budget=budget, free=lambda: False)
    peer = bench.peer((1.5, 200))
    bench.play(peer)
    assert (peer.sent, budget.spent(bench.clock.now())[0]) == ([1], 0)


@pytest.mark.parametrize("settings", [{"bulkhead_limit": 1}, {"breaker_minimum_calls": 1}], ids=["bulkhead", "breaker"])
def test_the_standard_list_knows_who_is_free(settings: dict[str, int]) -> None:
    """A full bulkhead and a circuit that is not closed mean no second request."""
    clock, told = FakeClock(), RecordingListener()
    numbers = ResilienceSettings(hedge_after=1.0, **settings)  # type: ignore[arg-type]  # whole numbers
    entry = Registry(numbers, Tools(clock=clock, emit=told)).pipeline("http", "peer", 80)
    slow, bad = Peer(clock, (5.0, 200)), Peer(clock, (0.1, 501))

    async def main() -> None:
        task = asyncio.create_task(entry.pipeline.run(slow.call()))
        if "breaker_minimum_calls" in settings:
            await entry.pipeline.run(bad.call())
            assert entry.breaker.state == "open"
        await task

    run(main(), clock)
    assert (slow.sent, told.of(HedgeSent)) == ([1], [])


def test_not_when_the_time_is_nearly_up() -> None:
    """A second request that could not end before the call must is not begun."""
    bench = Bench()
    for total, sent in ((1.004, [1]), (1.5, [1, 2])):
        tools = bench.tools
        bench.pipeline = Pipeline(TotalTimeout(total, tools=tools), bench.hedge, AttemptTimeout(9.0, tools=tools))
        peer = bench.peer((inf, 200), (0.1, 200)) if len(sent) == 2 else bench.peer((1.003, 200))
        bench.play(peer)
        assert peer.sent == sent


def test_a_refused_second_request_was_never_one() -> None:
    """Where a policy inside refuses it, the first one's outcome and number stand."""
    bench = Bench()
    peer = bench.peer((2.0, ConnectionResetError()))

    class Refusing:
        def wrap(self, call_next: Callable[[Call[Reply]], Awaitable[Reply]]) -> Callable[..., Awaitable[Reply]]:
            async def go(call: Call[Reply]) -> Reply:
                if call.attempt > 1:
                    raise BulkheadFull("full", target="http://peer")
                return await call_next(call)

            return go

        def wrap_sync(self, call_next: Callable[[Call[Reply]], Reply]) -> Callable[[Call[Reply]], Reply]:
            return call_next

    bench.pipeline = Pipeline(bench.hedge, Refusing())  # type: ignore[arg-type]  # for one kind of reply
    call = peer.call()

    async def main() -> None:
        with pytest.raises(ConnectionResetError):
            await bench.pipeline.run(call)

    run(main(), bench.clock)
    assert (peer.sent, call.attempt, call.verdict.cause) == ([1], 1, "network")


def test_a_first_request_that_was_never_sent_is_not_the_outcome() -> None:
    """Refused after a wait inside, while the second one failed for real: that goes up, with all that is known of it."""
    bench = Bench()
    error = ConnectionResetError()
    peer = bench.peer((2.0, error))

    class Refusing:
        def wrap(self, call_next: Callable[[Call[Reply]], Awaitable[Reply]]) -> Callable[..., Awaitable[Reply]]:
            async def go(call: Call[Reply]) -> Reply:
                if call.attempt == 1:
                    await sleep(2.0)
                    raise BulkheadFull("full", target="http://peer")
                call.held_until = 5.0
                return await call_next(call)

            return go

        def wrap_sync(self, call_next: Callable[[Call[Reply]], Reply]) -> Callable[[Call[Reply]], Reply]:
            return call_next

    bench.pipeline = Pipeline(bench.hedge, Refusing())  # type: ignore[arg-type]  # for one kind of reply
    call = peer.call()

    async def main() -> None:
        with pytest.raises(ConnectionResetError) as caught:
            await bench.pipeline.run(call)
        assert caught.value is error

    run(main(), bench.clock)
    assert (call.attempt, call.verdict.cause, call.held_until) == (2, "network", 5.0)


def test_both_are_bounded_by_their_own_attempt() -> None:
    """Each has its own timer: one that hangs is ended, and the other may still answer."""
    bench = Bench()
    bench.pipeline = Pipeline(bench.hedge, AttemptTimeout(2.0, tools=bench.tools))
    peer = bench.peer((inf, 200), (1.5, 200))
    bench.play(peer)
    assert (bench.clock.now(), peer.cancelled) == (1002.5, [1])
    with pytest.raises(AttemptTimedOut):
        bench.play(bench.peer((inf, 200)))


def test_each_runs_in_the_context_of_the_caller() -> None:
    """What is current where the call was made (the span among it) is current for both requests."""
    bench = Bench()
    peer = bench.peer((9.0, 200), (0.5, 200))

    async def main() -> None:
        where.set("in the request")
        await bench.pipeline.run(peer.call())
        assert where.get() == "in the request"

    run(main(), bench.clock)
    assert peer.contexts == ["in the request"] * 2


def test_a_cancelled_caller_leaves_nothing_behind() -> None:
    """Cancelled at any turn, once or again and again: both requests end, what came is thrown away or the caller's."""
    outcomes = set()
    for again in (False, True):
        for turn in range(60):
            bench = Bench()
            peer = bench.peer((1.0 + 1.0, 503), (1.0, 200))

            async def main(
                bench: Bench = bench, peer: Peer = peer, turn: int = turn, again: bool = again
            ) -> Reply | None:
                task = asyncio.create_task(bench.pipeline.run(peer.call()))
                for _ in range(turn):
                    await (sleep(0.25) if turn < 12 else sleep(0.0 if bench.clock.now() >= 1002.0 else 0.25))
                in_time = task.cancel()
                while not task.done():
                    await sleep()
                    if again:
                        task.cancel()
                assert task.cancelled() is in_time
                assert asyncio.all_tasks() == {asyncio.current_task()}
                return None if task.cancelled() else task.result()

            got = run(main(), bench.clock)
            outcomes.add((len(peer.sent), got is not None))
            assert peer.under_way == 0
            assert {id(reply) for reply in peer.replies} == {id(r) for r in [*peer.discarded, *([got] if got else [])]}
    assert outcomes == {(0, False), (1, False), (2, False), (2, True)}


def test_a_loser_that_answers_in_the_same_moment_is_thrown_away() -> None:
    """Of two answers one is the caller's, the first one's, and the other is let go."""
    bench = Bench()
    peer = bench.peer((2.0, 200), (1.0, 200))
    bench.play(peer)
    assert len(peer.replies) - len(peer.discarded) == 1
    assert bench.told.of(HedgeWon) == []


def test_on_a_thread_and_on_trio_nothing_is_sent_twice() -> None:
    """The call goes as ever: hedging needs asyncio."""
    bench = Bench()
    wire = ScriptedWire(clock=bench.clock, takes=5.0)
    assert bench.pipeline.run_sync(wire.call()).status == 200
    assert wire.sent == [1]

    async def main() -> Reply:
        return await Pipeline(Hedge(0.0)).run(ScriptedWire().call())

    assert anyio.run(main, backend="trio").status == 200


def test_what_it_prints() -> None:
    """The delay."""
    assert repr(Hedge(0.25)) == "Hedge(after 0.25 s)"
