"""Load shedding in overload and without: simulated services on the virtual clock, requests that come at random."""

import asyncio
from typing import Any

import pytest

from handrail.resilience.events import LoadSheddingChanged, RequestRefused
from handrail.resilience.testing import run, sleep
from tests.resilience_inbound.shedding_bench import Pool, Service, answer, quiet


@pytest.mark.parametrize(("size", "seconds"), [(20, 0.05), (5, 0.02), (40, 0.5)])
def test_a_pool_holds_its_goodput_at_three_times_its_capacity(size: int, seconds: float) -> None:
    """At least 0.9 of what it can serve is served, and in time: without load shedding it is nothing at all."""
    service = Service(Pool(size, seconds))
    capacity = size / seconds

    async def main() -> None:
        tasks = await service.pour(0.5 * capacity, 100 * seconds)
        began = service.clock.now()
        tasks |= await service.pour(3 * capacity, 200 * seconds)
        after = service.clock.now()
        tasks |= await service.pour(0.5 * capacity, 100 * seconds)
        await quiet(service, tasks)
        usual = service.between(0, began)
        assert usual.served == 1
        settled = service.between(began + 20 * seconds, after)
        assert settled.goodput(6 * seconds) >= 0.9 * capacity / 1.05
        assert settled.quantile(0.99) <= 3 * usual.quantile(0.99)
        assert service.between(after + 50 * seconds, after + 100 * seconds).served == 1

    run(main(), service.clock)


def test_a_service_that_computes_holds_its_goodput() -> None:
    """Never two of its requests are under way at a time: what is late is the event loop."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        service.clock.advance(0.005)
        await answer(send)

    service = Service(app)

    async def main() -> None:
        tasks = await service.pour(100, 3)
        began = service.clock.now()
        tasks |= await service.pour(600, 10)
        after = service.clock.now()
        tasks |= await service.pour(100, 4)
        await quiet(service, tasks)
        assert service.between(0, began).served == 1
        settled = service.between(began + 1, after)
        assert settled.goodput(0.025) >= 0.9 * 200
        assert settled.quantile(0.9) <= 0.025
        assert {event.reason for event in service.told.of(RequestRefused)} == {"delay", "queue"}
        assert service.between(after + 2, after + 4).served == 1

    run(main(), service.clock)


def test_it_says_when_it_begins_and_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    """One line each, with the numbers, and not one for each of the thousands that are refused."""
    service = Service(Pool(20, 0.05))

    async def main() -> None:
        await service.pour(300, 2)
        tasks = await service.pour(1200, 4)
        await quiet(service, tasks | await service.pour(100, 12))

    run(main(), service.clock)
    refused = len(service.told.of(RequestRefused))
    assert refused > 1000
    began, ended = service.told.of(LoadSheddingChanged)
    assert (began.began, began.reason, ended.began, ended.refused) == (True, "limit", False, refused)
    assert [line.partition(":")[0] for line in caplog.messages] == [
        "load shedding began (limit)",
        "load shedding ended",
    ]


def test_long_polls_are_not_work() -> None:
    """2,000 that wait for something pass, and the short requests beside them are served."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await sleep(30 if scope["path"] == "/poll" else 0.01)
        await answer(send)

    service = Service(app)

    async def main() -> None:
        polls = await service.pour(2000, 1, "/poll")
        polls |= await service.pour(66, 60, lambda: "/poll")
        await quiet(service, polls | await service.pour(200, 30))
        assert service.between(0, 1e9).served == 1

    run(main(), service.clock)


def test_the_first_moments_of_an_overload_count() -> None:
    """Of all that a service served in 30 s of three times its capacity, 99 of 100 were in time: from the first on."""
    service = Service(Pool(8, 0.04, 0.02))
    capacity = 0.93 * 8 / 0.04

    async def main() -> None:
        tasks = await service.pour(0.3 * capacity, 10)
        idle = service.between(0, service.clock.now())
        tasks |= await service.pour(capacity, 10)
        await quiet(service, tasks)
        began = service.clock.now()
        assert service.between(0, began).served == 1
        await quiet(service, await service.pour(3 * capacity, 30))
        found = service.between(began, service.clock.now())
        assert found.quantile(0.99) <= 3 * idle.quantile(0.99)
        assert found.goodput(1.0) >= 0.9 * capacity

    run(main(), service.clock)


def test_a_pause_in_an_overload_changes_nothing() -> None:
    """Two seconds in which the process is stopped, and all of their requests at once: then it goes on as before."""
    service = Service(Pool(8, 0.04, 0.02))
    capacity = 0.93 * 8 / 0.04

    async def main() -> None:
        tasks = await service.pour(0.5 * capacity, 10)
        usual = service.between(0, service.clock.now()).quantile(0.99)
        tasks |= await service.pour(3 * capacity, 5)
        service.stop(2.0)
        came = service.clock.now()
        tasks |= {asyncio.create_task(service.ask("/", came)) for _ in range(int(6 * capacity))}
        for _ in range(4):
            came = service.clock.now()
            tasks |= await service.pour(3 * capacity, 1)
            assert service.between(came + 0.5, came + 1).goodput(6 * usual) >= 0.8 * capacity
        await quiet(service, tasks)

    run(main(), service.clock)
