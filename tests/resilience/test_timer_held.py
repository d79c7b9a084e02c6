"""Time that the event loop itself has taken is not held against the peer."""

import asyncio

import pytest

from handrail.resilience import AttemptTimedOut, DeadlineExceeded, ResilienceSettings, Tools, standard
from handrail.resilience.defaults import Plan
from handrail.resilience.pipeline import _around, _wire
from handrail.resilience.testing import FakeClock, ScriptedWire, run, sleep
from handrail.resilience.timer import loop_timer

TARGET = "http://peer"
LOOK = 0.0625
"""Seconds between two looks at the loop: by so much less than the truth may be seen."""
SETTINGS = ResilienceSettings(
    total_timeout=20.0,
    attempts=1,
    attempt_timeout=1.0,
    breaker_minimum_calls=3,
    breaker_window=1000.0,
)


async def held(clock: FakeClock, after: float, seconds: float, times: int = 1) -> None:
    """Code that holds the loop: the clock goes on, and nothing else does."""
    for _ in range(times):
        await sleep(after)
        clock.advance(seconds)


def lasted(limit: float, spare: float, *, after: float, seconds: float, times: int = 1) -> float:
    """How long a block that never ends by itself lasts beside such code."""
    clock = FakeClock(0.0)

    async def main() -> None:
        beside = asyncio.create_task(held(clock, after, seconds, times))
        timer = loop_timer(limit)
        timer.spare = spare
        with pytest.raises(TimeoutError), timer:
            await sleep(1000)
        beside.cancel()

    run(main(), clock)
    return clock.now()


def test_what_the_loop_was_held_is_given_back_once() -> None:
    """A block of 1 s, 3 of which the loop was held, lasts for 3 s more than its end; what comes then is its loss."""
    assert lasted(1, 99, after=0.5, seconds=3) == pytest.approx(6.5, abs=LOOK)
    assert lasted(1, 99, after=0.5, seconds=3, times=2) == pytest.approx(7.0, abs=LOOK)


@pytest.mark.parametrize(("spare", "ends"), [(0.0, 3.5), (2.0, 3.5), (4.0, 5.0)])
def test_no_more_than_there_is_to_spare(spare: float, ends: float) -> None:
    """It ends with what bounds it further out, though more was lost; and as soon as it can where that has passed."""
    assert lasted(1, spare, after=0.5, seconds=3) == pytest.approx(ends, abs=LOOK)


def test_a_loop_that_is_never_held_gives_nothing_back() -> None:
    """What there is to spare changes nothing."""
    assert lasted(1, 99, after=2000, seconds=1) == pytest.approx(1)


@pytest.mark.parametrize(("before", "starved"), [(0.0, False), (4.0, True), (1.5, False)])
def test_starved_is_who_lost_half(before: float, starved: bool) -> None:
    """Of 2 s and so many in which the loop was held, these are half or more. What was held before does not count."""
    clock = FakeClock(0.0)

    async def main() -> None:
        with loop_timer(100):
            await sleep(1)
            clock.advance(50)
            with loop_timer(100) as timer:
                await sleep(1)
                clock.advance(before)
                await sleep(1)
                assert timer.starved() is starved

    run(main(), clock)


def test_an_answer_that_came_while_the_loop_was_held_is_taken() -> None:
    """It came after half a second of one, and nobody was there to read it for three."""
    clock = FakeClock()

    async def main() -> int:
        beside = asyncio.create_task(held(clock, 0.25, 3))
        reply = await standard(TARGET, SETTINGS, Tools(clock=clock)).run(
            ScriptedWire(200, clock=clock, takes=0.5).call()
        )
        await beside
        return reply.status

    assert run(main(), clock) == 200


@pytest.mark.parametrize("layered", [False, True])
@pytest.mark.parametrize(("seconds", "state"), [(0.5, "closed"), (0.0, "open")])
@pytest.mark.parametrize("total", [20.0, 1.0])
def test_timeouts_of_a_starved_loop_open_no_circuit(layered: bool, seconds: float, state: str, total: float) -> None:
    """A healthy peer is not cut off because its caller has no time to listen; one that is silent is."""
    clock = FakeClock()
    tools = Tools(clock=clock)
    kept = Plan(SETTINGS, tools).state(TARGET)
    pipeline = standard(TARGET, SETTINGS, tools, kept)
    if layered:
        pipeline._run = _around(reversed(pipeline.policies), _wire)  # type: ignore[assignment] # each is a coroutine function

    async def main() -> None:
        beside = asyncio.create_task(held(clock, 0.1, seconds, 1000))
        for _ in range(3):
            with pytest.raises((AttemptTimedOut, DeadlineExceeded)):
                await pipeline.run(ScriptedWire(200, clock=clock, takes=50.0).call(total_timeout=total))
        beside.cancel()

    run(main(), clock)
    assert kept.breaker.state == state
