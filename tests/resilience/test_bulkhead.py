"""The bulkhead: how many at a time, who waits and for how long, what is told, and that no permit is lost."""

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress

import anyio
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from handrail.resilience import BulkheadFull, Call, CircuitBreaker, Pipeline, Retry, Tools
from handrail.resilience.adaptive import Gradient2
from handrail.resilience.bulkhead import Bulkhead
from handrail.resilience.classify import POOL
from handrail.resilience.events import CallQueued, CallRejected, CircuitChanged
from handrail.resilience.registry import Registry
from handrail.resilience.settings import ResilienceSettings
from handrail.resilience.testing import FakeClock, RecordingListener, Reply, ScriptedWire, run, sleep
from handrail.resilience.timeouts import AttemptTimeout, TotalTimeout


class Bench:
    """A bulkhead of two, with two waiting up to 3 s, on a clock that stands still."""

    def __init__(self, limit: int = 2, queue: int = 2, wait: float = 3.0) -> None:
        self.clock = FakeClock()
        self.told = RecordingListener()
        self.tools = Tools(clock=self.clock, emit=self.told)
        self.bulkhead = Bulkhead("http://peer", limit=limit, queue=queue, wait=wait, tools=self.tools)
        self.pipeline = Pipeline(self.bulkhead)

    def run(self, main: Callable[[], Awaitable[None]]) -> None:
        async def driven() -> None:
            await main()

        run(driven(), self.clock)
        assert (self.bulkhead.under_way, self.bulkhead.queued) == (0, 0)

    def wire(self, *steps: str | int | BaseException, takes: float = 1.0) -> ScriptedWire:
        return ScriptedWire(*steps, clock=self.clock, takes=takes)

    def start(self, takes: float = 1.0) -> asyncio.Task[Reply]:
        return asyncio.create_task(self.pipeline.run(self.wire(takes=takes).call()))


def test_no_more_than_the_limit_are_under_way() -> None:
    """Two run, two wait and follow, in the order in which they came."""
    bench = Bench()
    order: list[int] = []

    async def one(number: int) -> None:
        await bench.pipeline.run(bench.wire(takes=1.0 + number / 8).call())
        order.append(number)

    async def main() -> None:
        tasks = [asyncio.create_task(one(number)) for number in range(4)]
        await sleep(0.5)
        assert (bench.bulkhead.under_way, bench.bulkhead.queued) == (2, 2)
        await asyncio.gather(*tasks)

    bench.run(main)
    assert order == [0, 1, 2, 3]
    assert bench.told.events == [CallQueued("http://peer", "GET", waited, 2) for waited in (1.0, 1.125)]


def test_who_comes_later_does_not_overtake_who_waits() -> None:
    """A place that becomes free goes to the queue, also where a newcomer is there at that moment."""
    bench = Bench(limit=1)
    order: list[str] = []

    async def one(name: str) -> None:
        await bench.pipeline.run(bench.wire().call())
        order.append(name)
        if name == "first":
            await one("again")

    async def main() -> None:
        await asyncio.gather(one("first"), one("waiting"))

    bench.run(main)
    assert order == ["first", "waiting", "again"]


def test_a_full_queue_refuses_at_once() -> None:
    """BulkheadFull, with no time lost, told once; nothing was sent, and nobody knows when to come again."""
    bench = Bench()
    wire = bench.wire()

    async def main() -> None:
        tasks = [bench.start() for _ in range(4)]
        await sleep()
        with pytest.raises(BulkheadFull, match="2 calls to http://peer are under way, and 2 more wait") as caught:
            await bench.pipeline.run(wire.call())
        assert (caught.value.target, caught.value.retry_after, caught.value.policy) == ("http://peer", None, "bulkhead")
        assert bench.clock.now() == 1000.0
        await asyncio.gather(*tasks)

    bench.run(main)
    assert wire.sent == []
    assert bench.told.of(CallRejected) == [
        CallRejected("http://peer", "GET", "bulkhead", "handrail.BulkheadFull", None)
    ]


def test_without_a_queue_nobody_waits() -> None:
    """A queue of 0 refuses what finds no place, and says no more than it knows."""
    bench = Bench(limit=1, queue=0)

    async def main() -> None:
        task = bench.start()
        await sleep()
        with pytest.raises(BulkheadFull, match=r"^1 calls to http://peer are under way$"):
            await bench.pipeline.run(bench.wire().call())
        await task

    bench.run(main)


def test_the_wait_is_bounded() -> None:
    """After `wait` seconds a waiter is refused, and its place in the queue is free again."""
    bench = Bench(limit=1, queue=1)

    async def main() -> None:
        task = bench.start(takes=10.0)
        await sleep()
        for _ in range(2):
            with pytest.raises(BulkheadFull, match="none ended within 3 s"):
                await bench.pipeline.run(bench.wire().call())
        assert bench.clock.now() == 1006.0
        await task

    bench.run(main)


def test_nobody_waits_past_the_end_of_the_call() -> None:
    """The call's total ends the wait where it comes before the bulkhead's own bound."""
    bench = Bench(limit=1)
    bench.pipeline = Pipeline(TotalTimeout(2.0, tools=bench.tools), bench.bulkhead)

    async def main() -> None:
        task = bench.start(takes=10.0)
        await sleep()
        with pytest.raises(BulkheadFull, match="none ended within 2 s"):
            await bench.pipeline.run(bench.wire().call())
        assert bench.clock.now() == 1002.0
        await task

    bench.run(main)


def test_the_wait_takes_nothing_from_the_attempt() -> None:
    """The attempt's time begins when its place is there."""
    bench = Bench(limit=1)
    bench.pipeline = Pipeline(bench.bulkhead, AttemptTimeout(1.5, tools=bench.tools))

    async def main() -> None:
        replies = await asyncio.gather(bench.start(), bench.start(), bench.start())
        assert [reply.status for reply in replies] == [200, 200, 200]

    bench.run(main)


@pytest.mark.parametrize("on_loop", [True, False], ids=["loop", "thread"])
def test_a_permit_comes_back_whatever_happens(on_loop: bool) -> None:
    """Errors, results and the end of the interpreter all give it back."""
    bench = Bench(limit=1, queue=0)
    for step in ("ok", 503, "fail", "refuse", KeyboardInterrupt(), SystemExit()):
        call = bench.wire(step).call()
        with suppress(ConnectionError, KeyboardInterrupt, SystemExit):
            run(bench.pipeline.run(call), bench.clock) if on_loop else bench.pipeline.run_sync(call)
        assert bench.bulkhead.under_way == 0


def test_a_coroutine_that_is_thrown_away_gives_its_permit_back() -> None:
    """GeneratorExit, at the call as well as in the queue."""
    bench = Bench(limit=1, queue=1)

    async def main() -> None:
        inside: Awaitable[Reply] = bench.pipeline.run(bench.wire("hang").call())
        outside: Awaitable[Reply] = bench.pipeline.run(bench.wire().call())
        inside.__await__().send(None)
        waiting = outside.__await__()
        waiting.send(None)
        assert (bench.bulkhead.under_way, bench.bulkhead.queued) == (1, 1)
        del waiting, outside
        gc.collect()
        assert (bench.bulkhead.under_way, bench.bulkhead.queued) == (1, 0)
        del inside
        gc.collect()

    bench.run(main)


def test_no_permit_is_lost_by_a_cancellation_at_any_await() -> None:
    """A waiter cancelled at each turn of the loop, the one on which its place is handed over among them."""
    handed_over = False
    for turn in range(12):
        bench = Bench(limit=1, queue=3, wait=30.0)
        release = asyncio.Event()
        reached: list[str] = []

        async def holder(bench: Bench = bench, release: asyncio.Event = release) -> None:
            class Held(ScriptedWire):
                async def send(self, call: Call[Reply]) -> Reply:
                    await release.wait()
                    return Reply(200)

            await bench.pipeline.run(Held().call())

        async def main(
            bench: Bench = bench, turn: int = turn, release: asyncio.Event = release, reached: list[str] = reached
        ) -> None:
            nonlocal handed_over
            first = asyncio.create_task(holder())
            await sleep()
            victim, follower = bench.start(), bench.start()
            for step in range(12):
                if step == 3:
                    release.set()
                if step == turn:
                    # Handed over, and not yet noticed by the waiter: the narrowest place of all.
                    handed_over |= bench.bulkhead.under_way == 1 and first.done() and bench.bulkhead.queued == 1
                    victim.cancel()
                await sleep()
            await asyncio.wait([first, victim, follower])
            assert follower.result().status == 200
            reached.append("end")

        bench.run(main)
        assert reached == ["end"]
    assert handed_over


@examples(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["call", "cancel", "turn", "pass"]), st.integers(0, 7)), min_size=4, max_size=50
    ),
    st.integers(1, 3),
)
def test_no_permit_is_lost_whoever_is_cancelled_when(steps: list[tuple[str, int]], limit: int) -> None:
    """Through the whole standard list with all options on: any calls, any cancelled, at any turn or time."""
    clock = FakeClock()
    settings = ResilienceSettings(
        bulkhead_limit=limit,
        bulkhead_queue=3,
        bulkhead_wait=2.0,
        hedge_after=1.5,
        throttle=2.0,
        adaptive_concurrency=True,
    )
    entry = Registry(settings, Tools(clock=clock, jitter=lambda: 0.99)).pipeline("http", "peer", 80)
    permits = entry.state.permits

    async def main() -> None:
        tasks: list[asyncio.Task[Reply]] = []
        for action, number in steps:
            if action == "call":
                wire = ScriptedWire(
                    *(("ok",), (503, "ok"), ("fail",), ("hang",))[number % 4], clock=clock, takes=number
                )
                tasks.append(asyncio.create_task(entry.pipeline.run(wire.call())))
            elif action == "cancel" and tasks:
                tasks[number % len(tasks)].cancel()
            elif action == "turn":
                await sleep()
            else:
                await sleep(number / 4)
            assert len(permits.held) <= limit
        await asyncio.gather(*tasks, return_exceptions=True)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main(), clock)
    assert (permits.held, list(permits.waiting)) == ([], [])


def test_a_place_that_comes_as_the_wait_ends_is_taken() -> None:
    """Handed over in the very moment of the bound: the call goes on, and nothing is refused or lost."""
    bench = Bench(limit=1, queue=1, wait=1.0)

    async def main() -> None:
        await asyncio.gather(bench.start(takes=1.0), bench.start(takes=1.0))

    bench.run(main)
    assert bench.told.of(CallRejected) == []


def test_a_bulkhead_that_is_full_says_nothing_about_the_peer() -> None:
    """The breaker counts nothing, and the retry repeats nothing."""
    bench = Bench(limit=1, queue=0)
    breaker = CircuitBreaker("http://peer", tools=bench.tools)
    bench.pipeline = Pipeline(Retry(tools=bench.tools), breaker, bench.bulkhead)

    async def main() -> None:
        task = bench.start()
        await sleep()
        with pytest.raises(BulkheadFull):
            await bench.pipeline.run(bench.wire().call())
        assert (breaker.counts()[1], bench.clock.slept) == (0, [1.0])
        await task

    bench.run(main)
    assert bench.told.of(CircuitChanged) == []


def test_a_resend_that_finds_no_place_is_not_the_outcome() -> None:
    """The call was sent once: what came then goes up, and no rejection is told."""
    bench = Bench(limit=1, queue=0)
    tools = Tools(clock=bench.clock, emit=bench.told, jitter=lambda: 1.0)
    bench.pipeline = Pipeline(Retry(backoff_base=0.5, tools=tools), bench.bulkhead)

    async def main() -> None:
        failing = asyncio.create_task(bench.pipeline.run(bench.wire(503, takes=0.1).call()))
        await sleep(0.2)  # its pause has begun, and its place is free
        other = bench.start(takes=2.0)
        assert (await failing).status == 503
        await other

    bench.run(main)
    assert bench.told.of(CallRejected) == []


def test_pipelines_with_other_settings_share_the_places() -> None:
    """What is under way is the origin's; the limit is that of the one who comes."""
    bench = Bench(limit=1, queue=2)
    narrow = Bulkhead("http://peer", limit=1, queue=0, permits=bench.bulkhead.permits, tools=bench.tools)
    wide = Bulkhead("http://peer", limit=2, queue=0, permits=bench.bulkhead.permits, tools=bench.tools)

    async def main() -> None:
        task = bench.start()
        await sleep()
        assert wide.has_room()
        assert not narrow.has_room()
        with pytest.raises(BulkheadFull):
            await Pipeline(narrow).run(bench.wire().call())
        assert (await Pipeline(wide).run(bench.wire(takes=0.1).call())).status == 200
        waiting = bench.start()
        await sleep()
        with pytest.raises(BulkheadFull):  # there is room for it, but somebody was there before
            await Pipeline(wide).run(bench.wire().call())
        await asyncio.gather(task, waiting)

    bench.run(main)


def test_a_gather_of_a_thousand_is_as_ever() -> None:
    """With the defaults nobody of 1,000 waits or is refused; a hundred more wait."""
    clock, told = FakeClock(), RecordingListener()
    entry = Registry(ResilienceSettings(), Tools(clock=clock, emit=told)).pipeline("http", "peer", 80)

    async def main(calls: int) -> None:
        wires = [ScriptedWire(clock=clock, takes=0.5) for _ in range(calls)]
        await asyncio.gather(*(entry.pipeline.run(wire.call()) for wire in wires))

    run(main(1000), clock)
    assert told.events == []
    run(main(1100), clock)
    assert len(told.of(CallQueued)) == len(told.events) == 100


def test_a_place_in_our_own_pool_is_no_overload() -> None:
    """Neutral outcomes teach the adaptive limit nothing: only answers, timeouts, 429 and 503 do."""
    bench = Bench()
    heard: list[str] = []

    class Ear:
        limit = 2

        def took(self, *_: float) -> None:
            heard.append("took")

        def dropped(self, *_: float) -> None:
            heard.append("dropped")

    bulkhead = Bulkhead("http://peer", adaptive=Ear(), tools=bench.tools)  # type: ignore[arg-type]  # its two methods
    pipeline = Pipeline(bulkhead)
    for step in ("ok", 429, 503, 500, "fail", "ok"):
        try:
            pipeline.run_sync(bench.wire(step).call())
        except ConnectionError:
            heard.append("error")
    bulkhead._learn(POOL, 0.0)
    assert heard == ["took", "dropped", "dropped", "error", "took"]


def test_trio_waits_too() -> None:
    """Under trio: one runs, one waits, one is refused; and nothing is left."""
    bulkhead = Bulkhead("http://peer", limit=1, queue=1, wait=5.0)
    outcomes: list[str] = []

    async def main() -> None:
        release = anyio.Event()

        class Held(ScriptedWire):
            async def send(self, call: Call[Reply]) -> Reply:
                await release.wait()
                return Reply(200)

        async def one() -> None:
            try:
                await Pipeline(bulkhead).run(Held().call())
                outcomes.append("ok")
            except BulkheadFull:
                outcomes.append("full")
                release.set()

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(one)
                await anyio.lowlevel.checkpoint()

    anyio.run(main, backend="trio")
    assert outcomes == ["full", "ok", "ok"]
    assert (bulkhead.under_way, bulkhead.queued) == (0, 0)


def test_a_synchronous_call_on_a_loop_does_not_hold_the_loop() -> None:
    """It is refused at once: those whose places it would wait for may run on that very loop."""
    bench = Bench(limit=1, queue=9)

    async def main() -> None:
        task = bench.start()
        await sleep()
        with pytest.raises(BulkheadFull):
            bench.pipeline.run_sync(bench.wire().call())
        await task

    bench.run(main)


def test_a_limit_that_was_found_holds_for_pipelines_with_other_settings() -> None:
    """What one of them learns, the next call through another goes by; each keeps below a limit of its own."""
    clock = FakeClock()
    tools = Tools(clock=clock)
    found = Gradient2()
    one, other = (Bulkhead("http://peer", limit=limit, adaptive=found, tools=tools) for limit in (1000, 15))
    assert (one.limit, other.limit) == (20, 15)
    for _ in range(3):
        Pipeline(one).run_sync(ScriptedWire(503).call())
        clock.advance(1.0)
    Pipeline(other).run_sync(ScriptedWire().call())
    assert (one.limit, other.limit) == (14, 14)


def test_what_it_prints() -> None:
    """The numbers, in the style of the other policies."""
    assert repr(Bulkhead("x")) == "Bulkhead(1000 at a time, 100 wait up to 1 s)"


def test_threads_and_loops_share_it() -> None:
    """Eight threads and two loops at a limit of three, some cancelled: never more at once, no one lost."""
    bulkhead = Bulkhead("http://peer", limit=3, queue=10_000, wait=60.0)
    pipeline = Pipeline(bulkhead)
    inside: list[None] = []
    most: list[int] = []
    served: list[None] = []
    cancelled: list[object] = []

    class Counting(ScriptedWire):
        def send_sync(self, call: Call[Reply]) -> Reply:
            inside.append(None)
            most.append(len(inside))
            inside.pop()
            return Reply(200)

        async def send(self, call: Call[Reply]) -> Reply:
            inside.append(None)
            most.append(len(inside))
            try:
                await anyio.lowlevel.checkpoint()
            finally:
                inside.pop()
            return Reply(200)

    def on_thread() -> None:
        for _ in range(300):
            pipeline.run_sync(Counting().call())
            served.append(None)

    def on_loop() -> None:
        async def one() -> None:
            await pipeline.run(Counting().call())
            served.append(None)

        async def main() -> None:
            tasks = [asyncio.create_task(one()) for _ in range(400)]
            for task in tasks[::4]:
                await anyio.lowlevel.checkpoint()
                task.cancel()
            await asyncio.wait(tasks)
            cancelled.extend(task for task in tasks if task.cancelled())

        asyncio.run(main())

    threads = [threading.Thread(target=on_thread) for _ in range(8)] + [threading.Thread(target=on_loop) for _ in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(served) + len(cancelled) == 3200
    assert max(most) <= 3
    assert (bulkhead.under_way, bulkhead.queued) == (0, 0)
