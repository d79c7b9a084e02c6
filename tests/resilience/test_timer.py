"""The shared loop timer against `asyncio.timeout`, which it stands in for."""

import asyncio
import gc
import weakref
from contextvars import ContextVar
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handrail.resilience.clock import SystemClock
from handrail.resilience.testing import FakeClock, run, sleep
from handrail.resilience.timer import loop_timer

ROUNDED = 1e-9
"""Seconds by which the sum of a time and a limit may miss that of the time and the work."""


@given(st.lists(st.tuples(st.floats(0.01, 20), st.floats(0.01, 20), st.floats(0, 5)), min_size=1, max_size=40))
def test_each_block_ends_with_its_work_or_at_its_own_time(jobs: list[tuple[float, float, float]]) -> None:
    """Any mix of limits, in any order, under way together: each rings when it should, and only then."""
    clock = FakeClock(0.0)

    async def job(limit: float, work: float, start: float) -> None:
        await clock.sleep(start)
        began, timer = clock.now(), loop_timer(limit)
        try:
            with timer:
                await clock.sleep(work)
        except TimeoutError:
            assert timer.expired()
            assert work >= limit - ROUNDED
            assert clock.now() - began == pytest.approx(limit)
        else:
            assert not timer.expired()
            assert work <= limit + ROUNDED
            assert clock.now() - began == pytest.approx(work)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    async def main() -> None:
        await asyncio.gather(*(job(*each) for each in jobs))

    run(main(), clock)


def test_the_nearer_of_two_nested_blocks_rings() -> None:
    """The outer one's end passes through the inner one, whose own time has not come."""

    async def main() -> None:
        with pytest.raises(TimeoutError), loop_timer(1) as outer, loop_timer(2) as inner:
            await sleep(9)
        assert (outer.expired(), inner.expired()) == (True, False)

    run(main())


def test_two_blocks_that_ring_together_are_one_timeout() -> None:
    """Inner and outer at the same moment: the outer one ends it, and no cancellation is left over."""

    async def main() -> None:
        with pytest.raises(TimeoutError), loop_timer(1), loop_timer(1):
            await sleep(9)
        await sleep(1)

    run(main())


def test_a_cancellation_from_elsewhere_wins() -> None:
    """Where the task is cancelled as well as timed out, it stays cancelled."""

    async def timed() -> None:
        with loop_timer(1):
            try:
                await sleep(9)
            finally:
                await sleep(9)

    async def main() -> None:
        task = asyncio.create_task(timed())
        await sleep(0.5)
        task.cancel()
        await sleep(2)
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())


def test_a_block_within_a_cancelled_task_still_times_out() -> None:
    """Cleaning up after a cancellation is bounded too, and the first cancellation stands."""
    seen = list[str]()

    async def timed() -> None:
        try:
            await sleep(9)
        finally:
            try:
                with loop_timer(1):
                    await sleep(9)
            except TimeoutError:
                seen.append("timeout")

    async def main() -> None:
        task = asyncio.create_task(timed())
        await sleep(0.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())
    assert seen == ["timeout"]


def test_an_error_of_the_block_goes_up_as_it_is() -> None:
    """Also where the timer had rung and the block answered with an error of its own."""

    async def answered_with_an_error() -> None:
        try:
            await sleep(9)
        except asyncio.CancelledError:
            raise KeyError from None

    async def main() -> None:
        with pytest.raises(KeyError), loop_timer(1):
            await answered_with_an_error()
        await sleep(1)

    run(main())


def test_within_task_groups_and_anyio_scopes() -> None:
    """Structured cancellation around and inside the block keeps its meaning."""

    async def main() -> None:
        with pytest.raises(TimeoutError), loop_timer(1):
            async with asyncio.TaskGroup() as group:
                group.create_task(sleep(9))
        with anyio.move_on_after(1) as scope, loop_timer(5):
            await anyio.sleep(9)
        assert scope.cancelled_caught
        with pytest.raises(TimeoutError), loop_timer(1), anyio.move_on_after(5):
            await anyio.sleep(9)
        await sleep(1)

    run(main())


def test_it_needs_a_task() -> None:
    """Outside a task there is nothing to cancel."""

    async def main() -> None:
        failed = asyncio.get_running_loop().create_future()

        def callback() -> None:
            try:
                with loop_timer(1):
                    pass
            except RuntimeError as error:
                failed.set_result(str(error))

        asyncio.get_running_loop().call_soon(callback)
        assert await failed == "a timeout needs a running task"

    run(main())


def test_finished_blocks_keep_nothing_alive() -> None:
    """Neither the task nor the context of a request outlives it in the queue."""
    variable: ContextVar[object] = ContextVar("variable")

    class Big:
        pass

    async def request() -> "tuple[weakref.ref[Big], weakref.ref[asyncio.Task[object]]]":
        big = Big()
        variable.set(big)
        with loop_timer(10):
            await sleep()
        task = asyncio.current_task()
        assert task is not None
        return weakref.ref(big), weakref.ref(task)

    async def main() -> None:
        big, task = await asyncio.create_task(request())
        await sleep()
        gc.collect()
        assert big() is None
        assert task() is None

    run(main())


def test_the_queue_does_not_grow_with_the_calls() -> None:
    """After ten thousand blocks one after another, few are left to clear."""

    async def main() -> int:
        for _ in range(10_000):
            with loop_timer(10):
                pass
        return len(loop_timer(10)._queue.heap)

    assert run(main()) <= 100


def test_each_loop_has_its_own_queue() -> None:
    """A second loop on the same thread is not served by the timers of the first."""
    for _ in range(2):

        async def main() -> None:
            with pytest.raises(TimeoutError), loop_timer(1):
                await sleep(9)

        run(main())


def test_what_never_ended_goes_with_its_loop() -> None:
    """A loop that is closed around a call is not kept by its thread, and neither is what the call held."""

    class Held:
        pass

    async def call(held: Held) -> None:
        with loop_timer(60):
            await asyncio.get_running_loop().create_future()

    def closed() -> list["weakref.ref[Any]"]:
        loop, held = asyncio.new_event_loop(), Held()
        task = loop.create_task(call(held))
        task._log_destroy_pending = False  # type: ignore[attr-defined] # that it is pending is what is tried
        loop.run_until_complete(asyncio.wait([task], timeout=0))
        loop.close()
        return [weakref.ref(loop), weakref.ref(held)]

    seen = closed()
    gc.collect()
    assert [one() for one in seen] == [None, None]


def test_timers_go_on_after_a_quiet_time() -> None:
    """When the last one has rung nothing holds the queue any more; the next block begins another."""

    async def main() -> None:
        for _ in range(3):
            with pytest.raises(TimeoutError), loop_timer(1):
                await sleep(9)
            await sleep(100)
            gc.collect()

    run(main())


def test_on_another_loop_a_cancel_scope_takes_its_place() -> None:
    """Under trio the same clock bounds a block, and lets a cancellation from outside through."""

    async def main() -> None:
        clock = SystemClock()
        with pytest.raises(TimeoutError), clock.timeout(0) as timer:
            await anyio.sleep(9)
        assert not isinstance(timer, asyncio.Timeout)
        with anyio.CancelScope() as scope:
            with clock.timeout(60) as timer:
                scope.cancel()
                await anyio.sleep(9)
        assert scope.cancelled_caught

    anyio.run(main, backend="trio")
