"""Where a caller's deadline goes with the work, and where it ends: threads, executors, queues, other processes."""

import asyncio
import json
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextvars import Context
from multiprocessing import get_context
from multiprocessing.pool import ThreadPool

import pytest

import handrail
from handrail import _wire
from handrail.resilience.bound import CARRIED, current_deadline, deadline
from handrail.resilience.call import inbound_attempt
from handrail.tracing.testing import Spans, as_global


@pytest.fixture(autouse=True)
def switched_on() -> Iterator[None]:
    with as_global(Spans().provider):
        _wire.switch_on({})
        yield
        _wire.switch_off()


def in_executor() -> float | None:
    async def main() -> float | None:
        return await asyncio.get_running_loop().run_in_executor(None, current_deadline)

    return asyncio.run(main())


def in_pool() -> float | None:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(current_deadline).result()


def in_map() -> float | None:
    with ThreadPoolExecutor(1) as pool:
        return next(pool.map(lambda _: current_deadline(), [0]))


def in_thread_pool() -> float | None:
    with ThreadPool(1) as pool:
        return pool.apply_async(current_deadline).get()


def _threaded(make: Callable[[Callable[[], None]], threading.Thread]) -> float | None:
    seen: list[float | None] = []
    thread = make(lambda: seen.append(current_deadline()))
    thread.start()
    thread.join()
    return seen[0]


def in_thread() -> float | None:
    return _threaded(lambda look: threading.Thread(target=look))


def in_timer() -> float | None:
    return _threaded(lambda look: threading.Timer(0, look))


def in_queue() -> float | None:
    jobs: queue.Queue[Callable[[], float | None]] = queue.Queue()
    jobs.put(handrail.carry(current_deadline))
    seen: list[float | None] = []
    worker = threading.Thread(target=lambda: seen.append(jobs.get()()))
    worker.start()
    worker.join()
    return seen[0]


def in_async_queue() -> float | None:
    async def job() -> float | None:
        return current_deadline()

    carried = handrail.carry(job)

    async def worker() -> float | None:
        return await carried()

    return Context().run(asyncio.run, worker())


@pytest.mark.parametrize(
    "way", [in_executor, in_pool, in_map, in_thread_pool, in_thread, in_timer, in_queue, in_async_queue]
)
def test_the_deadline_goes_with_the_work(way: Callable[[], float | None]) -> None:
    """As the current span does; and without one the other side has none."""
    with deadline(600) as ends:
        assert way() == ends
    assert way() is None


def test_what_was_handed_over_is_free_with_its_caller() -> None:
    """A queue that is worked off after the caller has its answer does not refuse the job's calls."""
    with deadline(60):
        job = handrail.carry(current_deadline)
    assert job() is None


def test_the_caller_s_attempt_goes_into_executors_and_not_into_threads() -> None:
    """A pool works for the request; a thread may serve for ever, and is nobody's retry."""
    token = inbound_attempt.set(3)
    try:
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(inbound_attempt.get).result() == 3
        seen: list[int] = []
        thread = threading.Thread(target=lambda: seen.append(inbound_attempt.get()))
        thread.start()
        thread.join()
    finally:
        inbound_attempt.reset(token)
    assert seen == [1]


def test_a_job_is_bound_where_its_caller_waits_for_it() -> None:
    """`capture(deadline=True)`: through JSON, and the time in the queue counts. Without it: not bound."""
    with deadline(600) as ends:
        row = json.dumps(handrail.capture(deadline=True))
        free = handrail.capture()
    assert CARRIED not in free
    with handrail.resume(json.loads(row), "charge"):
        found = current_deadline()
        assert found is not None
        assert ends - 5 < found <= ends + 0.01
    assert current_deadline() is None
    with handrail.resume(free, "charge"):
        assert current_deadline() is None


def test_a_decorated_job_is_bound_for_each_call() -> None:
    """The carrier comes out of the arguments."""

    @handrail.resume(lambda carrier: carrier, "charge")
    async def job(carrier: object) -> float | None:
        return current_deadline()

    with deadline(600) as ends:
        carrier = handrail.capture(deadline=True)
    found = asyncio.run(job(carrier))
    assert found is not None
    assert abs(found - ends) < 5
    assert asyncio.run(job({})) is None


def test_a_process_pool_is_bound() -> None:
    """Spawned: nothing of this process is there but what was handed over."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        with deadline(600) as ends:
            found = pool.submit(current_deadline).result(200)
        assert found is not None
        assert abs(found - ends) < 5
        assert pool.submit(current_deadline).result(200) is None
