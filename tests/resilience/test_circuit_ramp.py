"""How a circuit that has just closed comes back to full load."""

import asyncio
from collections import deque

import pytest

from handrail.resilience import CircuitOpen
from handrail.resilience.events import CallRejected
from handrail.resilience.testing import FakeClock, Reply, ScriptedWire, run, sleep
from tests.resilience.circuit_bench import Bench


class Peer(ScriptedWire):
    """Answers each call when it is told to."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock=clock)
        self.waiting: deque[asyncio.Future[Reply]] = deque()

    async def send(self, call: object) -> Reply:
        self.waiting.append(asyncio.get_running_loop().create_future())
        return await self.waiting[-1]

    def answer(self, status: int = 200) -> None:
        self.waiting.popleft().set_result(Reply(status))


async def offered(bench: Bench, peer: Peer, calls: int) -> list["asyncio.Task[Reply]"]:
    """So many calls at once; those that were refused are done."""
    tasks = [asyncio.create_task(bench.pipeline.run(peer.call())) for _ in range(calls)]
    await sleep()
    return tasks


def test_two_at_a_time_and_one_more_for_each_success() -> None:
    """TCP's slow start: a round of successes doubles the number; at `ramp` all are free."""
    bench = Bench(ramp=8).closed_again()
    peer = Peer(bench.clock)

    async def main() -> None:
        for allowed in (2, 4):
            tasks = await offered(bench, peer, 20)
            assert len(peer.waiting) == allowed
            assert bench.breaker.recovering
            while peer.waiting:
                peer.answer()
            await asyncio.gather(*tasks, return_exceptions=True)
        tasks = await offered(bench, peer, 20)
        assert len(peer.waiting) == 20
        assert not bench.breaker.recovering
        while peer.waiting:
            peer.answer()
        await asyncio.gather(*tasks)

    run(main(), bench.clock)


def test_a_call_beyond_is_refused_for_a_moment() -> None:
    """The state is closed, the error says that it recovers, and to come back after about one round trip."""
    bench = Bench(ramp=8).opened()
    bench.clock.advance(5.0)
    bench.play("ok", takes=0.2)
    peer = Peer(bench.clock)

    async def main() -> None:
        tasks = await offered(bench, peer, 3)
        with pytest.raises(CircuitOpen, match=r"circuit recovering for http://peer: 2 calls at a time; more in 0\.2 s"):
            await tasks[2]
        assert bench.breaker.state == "closed"
        assert bench.breaker.retry_after() == pytest.approx(0.2)
        assert bench.told.of(CallRejected)[-1].retry_after == pytest.approx(0.2)
        for _ in range(2):
            peer.answer()
        await asyncio.gather(*tasks[:2])
        assert bench.breaker.retry_after() == 0.0

    run(main(), bench.clock)


def test_two_failures_open_it_again() -> None:
    """A peer that fails as it is tried again is not hit ten times more; one failure alone is no rule."""
    bench = Bench(ramp=8, minimum_calls=10)
    for _ in range(10):
        bench.play(503)
    bench.clock.advance(5.0)
    for step in ("ok", "ok", 503):
        bench.play(step)
    assert bench.breaker.state == "closed"
    bench.play(503)
    assert bench.breaker.state == "open"
    assert bench.breaker.retry_after() == 10.0
    assert bench.causes == ["failures", "probe", "probe", "failures"]


def test_what_says_nothing_gives_its_place_back() -> None:
    """A cancelled call makes room for another, and no more room than there was."""
    bench = Bench(ramp=8).closed_again()
    peer = Peer(bench.clock)

    async def main() -> None:
        for _ in range(5):
            tasks = await offered(bench, peer, 3)
            assert len(peer.waiting) == 2
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            peer.waiting.clear()
        assert bench.breaker.counts() == (0.0, 0)

    run(main(), bench.clock)


def test_it_lasts_no_longer_than_a_window() -> None:
    """A quiet service does not ramp for ever, nor do calls that hang keep the places."""
    bench = Bench(ramp=64).closed_again()
    peer = Peer(bench.clock)

    async def main() -> None:
        hanging = await offered(bench, peer, 2)
        bench.clock.advance(9.9)
        with pytest.raises(CircuitOpen):
            await (await offered(bench, peer, 1))[0]
        bench.clock.advance(0.1)
        assert not bench.breaker.recovering
        tasks = await offered(bench, peer, 10)
        assert len(peer.waiting) == 12
        while peer.waiting:
            peer.answer()
        await asyncio.gather(*hanging, *tasks)
        assert bench.breaker.counts() == (0.0, 12)

    run(main(), bench.clock)


def test_nothing_of_it_is_left_when_it_is_over() -> None:
    """Free again, the breaker takes its usual way: one read, one comparison."""
    bench = Bench(ramp=4).closed_again()
    for _ in range(2):
        assert bench.breaker._window is None
        bench.play("ok")
    assert bench.breaker._window is not None
    assert bench.breaker.counts() == (0.0, 2)


@pytest.mark.parametrize("ramp", [0, 1, 2])
def test_off_all_are_let_in_at_once(ramp: int) -> None:
    """Up to two at a time there is nothing to ramp."""
    bench = Bench(ramp=ramp).closed_again()
    assert not bench.breaker.recovering
    assert bench.breaker._window is not None


def test_a_thousand_calls_a_second_are_back_within_a_few_round_trips() -> None:
    """With 64 and a peer that answers in 20 ms: under a quarter of a second from the probe to full load."""
    bench = Bench(ramp=64).closed_again()
    wire = ScriptedWire("ok", clock=bench.clock, takes=0.02)
    refused: list[float] = []

    async def one() -> None:
        try:
            await bench.pipeline.run(wire.call())
        except CircuitOpen:
            refused.append(bench.clock.now())

    async def main() -> None:
        began, tasks = bench.clock.now(), []
        for _ in range(1000):
            tasks.append(asyncio.create_task(one()))
            await sleep(0.001)
        await asyncio.gather(*tasks)
        assert 0 < max(refused) - began < 0.25
        assert len(refused) < 100

    run(main(), bench.clock)
