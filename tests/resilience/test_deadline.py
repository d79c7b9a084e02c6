"""The deadline of the work at hand: the nearest binds, it is lifted with what it was set for, it can be written."""

import asyncio
import threading
from itertools import pairwise

import anyio.to_thread
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handrail.resilience import AttemptTimeout, DeadlineExceeded, HandrailError, Pipeline, Retry, Tools, TotalTimeout
from handrail.resilience.bound import CARRIED, Bound, bind, current_deadline, deadline, resumed, variable
from handrail.resilience.testing import FakeClock, ScriptedWire, run, sleep

SECONDS = st.floats(0.001, 1000)
FEW = st.lists(SECONDS, min_size=1, max_size=5)


@given(FEW)
def test_the_nearest_of_nested_deadlines_binds(chosen: list[float]) -> None:
    """Whatever the order: an inner one never moves the end later."""
    clock = FakeClock()
    held = [deadline(seconds, clock) for seconds in chosen]
    ends = [one.__enter__() for one in held]
    assert ends == [1000 + min(chosen[: index + 1]) for index in range(len(chosen))]
    assert current_deadline() == ends[-1]
    for one in reversed(held):
        one.__exit__(None, None, None)
    assert current_deadline() is None


def test_a_task_is_bound_while_the_block_lasts() -> None:
    """A task begun in the block is bound until it is left, and by the outer one alone from then on."""
    clock = FakeClock()
    seen: list[float | None] = []

    async def left_behind() -> None:
        seen.append(current_deadline())
        await sleep(3)
        seen.append(current_deadline())

    async def main() -> None:
        with deadline(60, clock):
            with deadline(5, clock):
                task = asyncio.create_task(left_behind())
                await sleep(1)
            await task

    run(main(), clock)
    assert seen == [1005.0, 1060.0]


def test_lifted_deadlines_are_not_held() -> None:
    """A chain of requests, each begun in the context of the one before, does not grow."""
    bound = bind(1.0)
    for _ in range(1000):
        bound = bind(1.0)
        variable.set(bound)
        bound.lift()
    assert bound._outer is None or bound._outer._outer is None
    variable.set(None)


def test_threads_that_copy_the_context_are_bound() -> None:
    """to_thread of asyncio and of anyio, as every framework's sync endpoints use it."""

    async def main() -> None:
        with deadline(60) as ends:
            assert await asyncio.to_thread(current_deadline) == ends
            assert await anyio.to_thread.run_sync(current_deadline) == ends
            async with asyncio.TaskGroup() as group:
                inner = group.create_task(asyncio.to_thread(current_deadline))
        assert inner.result() == ends

    asyncio.run(main())


def test_a_plain_thread_begins_unbound() -> None:
    """Without handrail switched on nothing of Python's threads is touched."""
    seen: list[float | None] = []
    with deadline(60):
        thread = threading.Thread(target=lambda: seen.append(current_deadline()))
        thread.start()
        thread.join()
    assert seen == [None]


@given(SECONDS, st.floats(0, 2000))
def test_waiting_in_a_queue_counts(left: float, waited: float) -> None:
    """What is left on arrival is what was left at the start, less the time between by the wall clocks."""
    here, there = FakeClock(), FakeClock(now=77.0)
    there.advance(waited)
    ends = resumed(Bound(here.now() + left).carrier(here), there)
    assert ends is not None
    assert ends - there.now() == pytest.approx(left - waited, abs=0.002)


def test_a_clock_that_is_behind_gives_no_time() -> None:
    """A carrier from the future has not waited: nothing is added to what was left."""
    behind = FakeClock(wall=1_600_000_000.0)
    assert resumed(Bound(1002.0).carrier(FakeClock()), behind) == 1002.0


@pytest.mark.parametrize(
    "text", ["", "5", "5;6;7", "nan;5", "5;nan", "5;-inf", "inf;5", "1e9;5", "x;y", "5;" + "9" * 70, 5, None, b"5;6"]
)
def test_a_carrier_that_makes_no_sense_binds_nothing(text: object) -> None:
    """Garbage in a job's arguments never breaks the job."""
    assert resumed({CARRIED: text}) is None
    assert resumed(text) is None


def test_nothing_is_written_where_nothing_binds() -> None:
    """A deadline that was lifted is not handed over."""
    bound = Bound(5.0)
    bound.lift()
    assert bound.carrier(FakeClock()) == {}


STEPS = st.lists(st.sampled_from(["hang", "refused", "timeout", 503, "ok"]), min_size=1, max_size=6)


@given(
    steps=STEPS,
    takes=st.floats(0, 3),
    total=st.floats(0.01, 50),
    attempt=st.floats(0.01, 20),
    nested=st.lists(st.floats(-1, 30), max_size=3),
    base=st.floats(0, 5),
    on_loop=st.booleans(),
)
def test_no_deadline_is_overrun(
    steps: list[object], takes: float, total: float, attempt: float, nested: list[float], base: float, on_loop: bool
) -> None:
    """Whatever fails, hangs or is repeated: the call is over when it must be, and what has expired is not begun."""
    clock = FakeClock()
    tools = Tools(clock=clock, jitter=lambda: 0.99)
    pipeline = Pipeline(
        TotalTimeout(total, tools=tools),
        Retry(attempts=4, backoff_base=base, backoff_cap=10.0, tools=tools),
        AttemptTimeout(attempt, tools=tools),
    )
    wire = ScriptedWire(*steps, clock=clock, takes=takes if on_loop else 0.0)  # type: ignore[arg-type]  # sampled
    call = wire.call()
    blocks = [deadline(seconds, clock) for seconds in nested]
    for block in blocks:
        block.__enter__()
    try:
        if on_loop:
            run(pipeline.run(call), clock)
        else:
            pipeline.run_sync(call)
    except (HandrailError, OSError):
        pass
    finally:
        for block in reversed(blocks):
            block.__exit__(None, None, None)
    allowed = max(0.0, min([total, *nested]))
    assert clock.now() - 1000 <= allowed + 1e-6
    if allowed == 0:
        assert wire.sent == []


@pytest.mark.parametrize("on_loop", [True, False])
def test_an_expired_call_sends_nothing(on_loop: bool) -> None:
    """With the caller's time already up: DeadlineExceeded, and the peer hears nothing."""
    clock = FakeClock()
    wire = ScriptedWire("ok", clock=clock)
    pipeline = Pipeline(TotalTimeout(30, tools=Tools(clock=clock)))
    with deadline(0, clock), pytest.raises(DeadlineExceeded, match="no time left to call"):
        _ = run(pipeline.run(wire.call()), clock) if on_loop else pipeline.run_sync(wire.call())
    assert wire.sent == []


def test_pairs_of_bounds_read_from_many_threads() -> None:
    """Lifting on one thread while others ask never gives an end later than the outer one."""
    outer = Bound(50.0)
    seen: list[float | None] = []

    def ask(inner: Bound) -> None:
        seen.extend(inner.ends() for _ in range(200))

    inners = [Bound(float(ends), outer) for ends in range(40, 60)]
    threads = [threading.Thread(target=ask, args=(inner,)) for inner in inners]
    for thread in threads:
        thread.start()
    for inner in inners:
        inner.lift()
    for thread in threads:
        thread.join()
    assert max(ends for ends in seen if ends is not None) <= 50.0
    assert all(earlier is not None and later is not None for earlier, later in pairwise(seen))
