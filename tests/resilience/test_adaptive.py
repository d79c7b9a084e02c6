"""Gradient2 against peers of known capacity, in virtual time: where the limit settles, and how it follows a change."""

import asyncio
from heapq import heapreplace

import pytest

from handrail.resilience import Call, Pipeline, Tools
from handrail.resilience.adaptive import Gradient2
from handrail.resilience.bulkhead import Bulkhead
from handrail.resilience.testing import FakeClock, Reply, ScriptedWire, run, sleep


class Peer(ScriptedWire):
    """Serves `capacity` requests at a time, each for `takes` seconds; the others stand in its queue."""

    def __init__(self, clock: FakeClock, capacity: int, takes: float) -> None:
        super().__init__(clock=clock)
        self.clock = clock
        self.served = 0
        self.become(capacity, takes)

    def become(self, capacity: int, takes: float) -> None:
        self.free = [self.clock.now()] * capacity
        self.takes = takes

    async def send(self, call: Call[Reply]) -> Reply:
        now = self.clock.now()
        end = max(now, self.free[0]) + self.takes
        heapreplace(self.free, end)
        await sleep(end - now)
        self.served += 1
        return Reply(200)


class World:
    """Many clients that call without a pause, one bulkhead with an adaptive limit, one peer."""

    def __init__(self, capacity: int, takes: float, *, most: int = 1000) -> None:
        self.clock = FakeClock()
        tools = Tools(clock=self.clock)
        self.bulkhead = Bulkhead(
            "http://peer", limit=most, queue=10_000, wait=3600.0, adaptive=Gradient2(), tools=tools
        )
        self.pipeline = Pipeline(self.bulkhead)
        self.peer = Peer(self.clock, capacity, takes)

    async def client(self) -> None:
        while True:
            await self.pipeline.run(self.peer.call())

    async def limits(self, seconds: int) -> list[int]:
        """The limit, looked at four times a second."""
        seen = []
        for _ in range(seconds * 4):
            await sleep(0.25)
            seen.append(self.bulkhead.limit)
        return seen

    def run(self, clients: int, *phases: tuple[int, int, float]) -> list[list[int]]:
        """What the limit was in each phase (seconds, capacity, seconds that the peer takes)."""
        seen: list[list[int]] = []

        async def main() -> None:
            tasks = [asyncio.create_task(self.client()) for _ in range(clients)]
            for seconds, capacity, takes in phases:
                self.peer.become(capacity, takes)
                seen.append(await self.limits(seconds))
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

        run(main(), self.clock)
        assert (self.bulkhead.under_way, self.bulkhead.queued) == (0, 0)
        return seen


@pytest.mark.parametrize(("capacity", "takes"), [(5, 0.1), (20, 0.05), (60, 0.1), (100, 0.1)])
def test_the_limit_settles_near_the_capacity(capacity: int, takes: float) -> None:
    """Never below it but for a probe, never more than about twice it (and the headroom of four), under endless load."""
    [seen] = World(capacity, takes).run(300, (180, capacity, takes))
    settled = seen[-160:]
    assert sum(limit >= capacity for limit in settled) >= 0.9 * len(settled)
    assert max(settled) <= 2 * capacity + 8


def test_the_peer_is_kept_busy() -> None:
    """Its whole capacity is used while the queue in front of it is ours: within 3 % of what it can do."""
    world = World(20, 0.05)
    world.run(300, (120, 20, 0.05))
    assert world.peer.served >= 0.97 * 120 * 20 / 0.05


def test_a_peer_that_becomes_slower_and_faster_is_followed() -> None:
    """Three times slower with the same capacity, half of the capacity, three times the capacity: near it each time."""
    phases = [(40, 20, 0.05), (60, 20, 0.15), (60, 10, 0.05), (60, 60, 0.05)]
    for (_, capacity, _), seen in zip(phases, World(20, 0.05).run(300, *phases), strict=True):
        settled = seen[-40:]
        assert capacity <= sorted(settled)[len(settled) // 2] <= 2 * capacity + 8


def test_a_quiet_service_learns_nothing_from_being_quiet() -> None:
    """With three calls at a time the limit is not what binds: it stays where it was."""
    [seen] = World(100, 0.05).run(3, (60, 100, 0.05))
    assert set(seen) == {20}


def test_the_bulkhead_s_limit_is_the_most() -> None:
    """However well the peer is, never above `bulkhead_limit`; and where that is below four, that is the least too."""
    [seen] = World(500, 0.1, most=50).run(100, (60, 500, 0.1))
    assert max(seen) == 50
    [seen] = World(1, 0.02, most=2).run(50, (60, 1, 0.02))
    assert set(seen[-100:]) <= {1, 2}


def test_overload_that_is_said_counts_at_once() -> None:
    """Each window with a drop leaves nine tenths; drops of calls that began before the cut do not cut again."""
    gradient = Gradient2(100)
    for number in range(60):
        assert gradient.limit == max(4, int(100 * 0.9**number))
        gradient.dropped(number * 1.0, number + 0.5, 1000)
        gradient.dropped(number * 1.0, number + 0.9, 1000)  # began before the cut


def test_some_outliers_change_little() -> None:
    """One call in fifty that takes twenty times as long is no reason to shrink below half."""
    gradient = Gradient2(100)
    now = 0.0
    for number in range(20_000):
        now += 0.002
        gradient.took(now - (0.4 if number % 50 == 0 else 0.02), now, 100, 1000)
    assert gradient.limit >= 100


def test_what_it_prints() -> None:
    """That the limit is found, and what bounds it."""
    assert repr(World(1, 1.0).bulkhead) == "Bulkhead(adaptive, 1000 at most, 10000 wait up to 3600 s)"
