"""Work that must finish goes on when whoever waits for it is cancelled, unbound and held, and the end waits for it."""

import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import ContextVar
from typing import Any

import pytest
import trio

import handrail
from handrail.resilience.bound import current_deadline, deadline
from handrail.resilience.inbound.deadline import Deadlines
from handrail.resilience.inbound.shield import _under_way, finish, shield
from handrail.resilience.testing import FakeClock, RecordingListener, run, sleep

here: ContextVar[str] = ContextVar("here", default="nowhere")


def test_its_result_and_its_error_reach_the_caller() -> None:
    """The same objects, as if it had been awaited."""
    error = ValueError("no refund")

    async def fails() -> None:
        raise error

    async def main() -> None:
        assert await shield(sleep_and(3)) == 3
        with pytest.raises(ValueError, match="no refund") as caught:
            await shield(fails())
        assert caught.value is error
        assert await shield(asyncio.create_task(sleep_and(4))) == 4

    run(main())
    assert _under_way == set()


async def sleep_and(result: int) -> int:
    await sleep(1)
    return result


def test_it_goes_on_when_its_caller_is_cancelled() -> None:
    """The caller at once, the work at its end, although nobody holds it."""
    done: list[str] = []

    async def refund() -> None:
        await sleep(10)
        done.append("refunded")

    async def main() -> None:
        caller = asyncio.create_task(shield(refund()))
        await sleep(1)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        del caller
        gc.collect()
        assert done == []
        await sleep(10)
        assert done == ["refunded"]

    run(main())


def test_a_deadline_does_not_reach_it() -> None:
    """Neither the end of the request nor the bound on its calls; what the context holds else is there."""
    seen: list[tuple[float | None, str]] = []

    async def refund() -> None:
        seen.append((current_deadline(), here.get()))
        await sleep(10)
        seen.append((current_deadline(), here.get()))

    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        here.set("in the request")
        await shield(refund())

    sent: list[MutableMapping[str, Any]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    async def main() -> None:
        headers = [(b"x-envoy-expected-rq-timeout-ms", b"1000")]
        receive: Any = None
        await layer({"type": "http", "method": "POST", "path": "/", "headers": headers}, receive, send)
        assert sent[0]["status"] == 504
        assert len(seen) == 1
        await finish(60, clock)

    clock = FakeClock()
    layer = Deadlines(app, emit=RecordingListener(), trace_id=lambda: None, clock=clock)
    run(main(), clock)
    assert seen == [(None, "in the request")] * 2


def test_the_callers_own_bound_stands() -> None:
    """It is lifted for the work alone."""

    async def main() -> None:
        with deadline(5, clock):
            await shield(sleep_and(1))
            assert current_deadline() == 1005.0

    clock = FakeClock()
    run(main(), clock)


def test_in_the_clean_up_of_a_cancelled_task() -> None:
    """Where it is needed most: `finally: await shield(...)`."""
    done: list[str] = []

    async def work() -> None:
        try:
            await sleep(60)
        finally:
            await shield(note())

    async def note() -> None:
        await sleep(1)
        done.append("noted")

    async def main() -> None:
        task = asyncio.create_task(work())
        await sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())
    assert done == ["noted"]


def test_an_error_that_nobody_waits_for_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """With its traceback, once; one that somebody got is not."""

    async def fails() -> None:
        await sleep(1)
        raise ValueError("no refund")

    async def main() -> None:
        with pytest.raises(ValueError, match="no refund"):
            await shield(fails())
        caller = asyncio.create_task(shield(fails()))
        await sleep(0)
        caller.cancel()
        await asyncio.wait([caller])
        await finish(60)

    with caplog.at_level(logging.WARNING, "handrail"):
        run(main())
    (record,) = caplog.records
    assert "fails was shielded" in record.getMessage()
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ValueError)


def test_the_end_waits_within_its_bound(caplog: pytest.LogCaptureFixture) -> None:
    """For all of it, also what is begun meanwhile; what takes longer is named."""
    clock = FakeClock()

    async def first() -> None:
        await sleep(2)
        left.append(asyncio.create_task(shield(second())))

    async def second() -> None:
        await sleep(3)

    async def endless() -> None:
        await asyncio.get_running_loop().create_future()

    async def main() -> None:
        left.append(asyncio.create_task(shield(first())))
        await sleep(0)
        await finish(20, clock)
        assert clock.now() == 1005.0
        left.append(asyncio.create_task(shield(endless())))
        await sleep(0)
        await finish(20, clock)
        assert clock.now() == 1025.0
        left[-1].cancel()

    left: list[asyncio.Task[None]] = []
    with caplog.at_level(logging.WARNING, "handrail"):
        run(main(), clock)
    assert len(caplog.messages) == 1
    assert "shielded work is cut off at the end: " in caplog.messages[0]
    assert "endless" in caplog.messages[0]
    assert _under_way == set()


def test_a_loop_that_ends_at_once() -> None:
    """Work that never ran leaves nothing, and no complaint about a coroutine that was never awaited."""

    async def main() -> None:
        task = asyncio.create_task(shield(sleep_and(1)))
        await sleep(0)
        for one in asyncio.all_tasks() - {asyncio.current_task()}:
            one.cancel()
        await asyncio.wait([task])

    run(main())
    gc.collect()
    assert _under_way == set()


def test_on_trio() -> None:
    """The same: a system task, that a cancel scope does not reach."""
    done: list[str] = []

    async def refund(going: trio.Event) -> int:
        assert here.get() == "in the request"
        assert current_deadline() is None
        await going.wait()
        done.append("refunded")
        return 7

    async def main() -> None:
        here.set("in the request")
        going = trio.Event()
        with deadline(60), trio.CancelScope() as scope:
            scope.cancel()
            await shield(refund(going))
        assert (scope.cancelled_caught, done) == (True, [])
        going.set()
        await finish(60)
        assert done == ["refunded"]
        assert await shield(refund(going)) == 7

    trio.run(main)


def test_it_is_public() -> None:
    """`handrail.shield`."""
    wanted: Callable[[Awaitable[int]], Awaitable[int]] = handrail.shield
    assert wanted is shield
