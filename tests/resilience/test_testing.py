"""The tools that the other tests stand on."""

import asyncio

import pytest

from handrail.resilience.testing import FakeClock, ScriptedWire, run, sleep


def test_time_passes_without_waiting() -> None:
    """A day of sleep on the virtual loop moves the clock by a day, in the order of the timers."""
    clock, order = FakeClock(), list[str]()

    async def late(name: str, seconds: float) -> None:
        await sleep(seconds)
        order.append(name)

    async def main() -> None:
        await asyncio.gather(late("b", 86_400), late("a", 60))

    run(main(), clock)
    assert order == ["a", "b"]
    assert clock.now() == 1000.0 + 86_400
    assert clock.wall() == 1_700_000_000.0 + 86_400


def test_a_loop_with_nothing_to_do_raises() -> None:
    """A coroutine that waits for what never comes fails the test instead of hanging it."""

    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(RuntimeError, match="nothing is scheduled"):
        run(main())


def test_a_sleep_on_another_loop_moves_the_clock_at_once() -> None:
    """Under `asyncio.run` nothing is waited for either."""
    clock = FakeClock()
    asyncio.run(clock.sleep(30.0))
    assert (clock.now(), clock.slept) == (1030.0, [30.0])


def test_a_script_repeats_its_last_step() -> None:
    """Fail, then good for ever."""
    wire = ScriptedWire("fail", "ok")
    call = wire.call()
    with pytest.raises(ConnectionResetError):
        wire.send_sync(call)
    assert [wire.send_sync(call).status for _ in range(3)] == [200, 200, 200]
