"""What load shedding must not do: refuse what the service could have served. Simulated on the virtual clock."""

import asyncio
import random
from typing import Any

import pytest

from handrail.resilience.inbound._shedding_routes import Routes
from handrail.resilience.testing import run, sleep
from tests.resilience_inbound.shedding_bench import Pool, Service, answer, quiet


class Dependency:
    """An app that waits for something which takes as many as come."""

    def __init__(self, seconds: float, spread: float = 0.3) -> None:
        self.seconds = seconds
        self._spread = spread
        self._random = random.Random(3)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await sleep(self.seconds * self._random.lognormvariate(0, self._spread))
        await answer(send)


def test_a_dependency_that_becomes_slower_is_no_overload() -> None:
    """Three times, then thirty times as slow for good, and back: every request is served, and is as slow as that."""
    app = Dependency(0.03)
    service = Service(app)

    async def main() -> None:
        tasks = await service.pour(500, 5)
        for app.seconds in (0.1, 1.0, 0.03):
            tasks |= await service.pour(500, 5)
        await quiet(service, tasks)

    run(main(), service.clock)
    assert service.between(0, 1e9).served == 1


def test_latencies_that_differ_by_chance_are_no_overload() -> None:
    """A cache that is hit or missed, a report that takes from 1 ms to 10 s: no evidence, however long it goes on."""
    chance = random.Random(5)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        miss = chance.lognormvariate(0, 0.5) * 0.2
        await sleep(0.001 if chance.random() < 0.8 else miss if scope["path"] == "/" else 8 * miss)
        await answer(send)

    service = Service(app)

    async def main() -> None:
        tasks = await service.pour(50, 20)
        await quiet(service, tasks | await service.pour(800, 20, lambda: chance.choice(["/", "/report"])))

    run(main(), service.clock)
    assert service.between(0, 1e9).served == 1


def test_a_hundred_times_the_traffic_is_no_overload() -> None:
    """As long as nothing waits for anything."""
    service = Service(Dependency(0.1))

    async def main() -> None:
        tasks = await service.pour(10, 10)
        await quiet(service, tasks | await service.pour(1000, 5))

    run(main(), service.clock)
    assert service.between(0, 1e9).served == 1


def test_a_database_that_stops_for_a_moment_is_no_overload() -> None:
    """What waits when it goes on is worked off: it becomes less by itself."""
    app = Pool(20, 0.05)
    service = Service(app)

    async def main() -> None:
        tasks = await service.pour(240, 5)
        for _ in range(20):
            await app.free.acquire()
            asyncio.get_running_loop().call_later(0.4, app.free.release)
        await quiet(service, tasks | await service.pour(240, 5))

    run(main(), service.clock)
    assert service.between(0, 1e9).served == 1


def test_a_pause_of_the_process_is_no_overload() -> None:
    """The collector, or one handler that blocks the event loop for a second: what came meanwhile is worked off."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        service.clock.advance(1.0 if scope["path"] == "/blocks" else 0.005)
        await answer(send)

    service = Service(app)

    async def main() -> None:
        tasks = await service.pour(100, 3)
        for _ in range(3):
            await service.ask("/blocks")
            tasks |= await service.pour(100, 5)
        await quiet(service, tasks)

    run(main(), service.clock)
    assert service.between(0, 1e9).served == 1


def test_many_who_ask_a_cheap_service_at_once_are_served() -> None:
    """To refuse a request of 0.3 ms costs as much as to serve it: 500 connections that ask as fast as they can."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        service.clock.advance(0.0003)
        await answer(send)

    service = Service(app)

    async def client() -> None:
        for _ in range(40):
            await service.ask()
            await sleep(0)

    async def main() -> None:
        await asyncio.gather(*(client() for _ in range(500)))

    run(main(), service.clock)
    assert service.between(0, 1e9).served == 1


def test_a_burst_is_served() -> None:
    """2,000 requests in one moment, and nothing more: they are all taken in before anything can be known of them."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        service.clock.advance(0.002)
        await sleep(0.01)
        service.clock.advance(0.002)
        await answer(send)

    service = Service(app)

    async def main() -> None:
        await asyncio.gather(*(service.ask() for _ in range(2000)))

    run(main(), service.clock)
    assert service.between(0, 1e9).served == 1


def test_a_service_whose_requests_all_fail_is_left_alone() -> None:
    """There is no latency to learn from; its callers have breakers."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await sleep(0.5)
        await answer(send, 503)

    service = Service(app)

    async def main() -> None:
        await quiet(service, await service.pour(200, 10))

    run(main(), service.clock)
    assert {got.headers.get(b"retry-after") for got in service.got} == {None}


def test_a_burst_beyond_the_queue_is_served() -> None:
    """While it is not known whether there is a queue, who comes waits, be it thousands, and nobody is refused."""
    service = Service(Dependency(0.1))

    async def main() -> None:
        tasks = await service.pour(20, 10)
        for _ in range(3):
            tasks |= await service.pour(3000, 1)
            tasks |= await service.pour(20, 5)
        await quiet(service, tasks)

    run(main(), service.clock)
    assert service.between(0, 1e9).served == 1


def test_of_quick_and_slow_answers_of_one_route_the_mean_is_usual() -> None:
    """For Little's law: one of twenty takes 1.5 s, so eight times as many are under way as of those of 10 ms alone."""
    routes = Routes()
    for number in range(20):
        routes.took("mixed", 1.5 if number == 7 else 0.01, 1)
    seen = routes.seen(0.7, 4.0)
    assert seen is not None
    assert seen.usual == pytest.approx(19 * 0.01 + 1.5)


def test_others_who_have_the_processor_are_no_overload() -> None:
    """For a second it does not run for most of the time: what is late then is not refused."""
    service = Service(Dependency(0.03))
    one_by_one: list[bool] = []

    async def busy() -> None:
        await sleep(2)
        for _ in range(16):
            service.stop(0.06)
            await sleep(0.001)
            one_by_one.append(service.load.gated)

    async def main() -> None:
        tasks = await service.pour(200, 5)
        for _ in range(3):
            others = asyncio.create_task(busy())
            tasks |= await service.pour(200, 5)
            await others
        await quiet(service, tasks)

    run(main(), service.clock)
    assert not any(one_by_one)
    assert service.between(0, 1e9).served == 1
