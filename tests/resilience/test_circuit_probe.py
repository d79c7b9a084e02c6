"""Half-open under many callers: one probe leaves, and a cancelled one changes nothing."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from handrail.resilience import CircuitOpen
from handrail.resilience.testing import Reply, ScriptedWire, run, sleep
from tests.resilience.circuit_bench import Bench

CALLERS = 200


@pytest.mark.parametrize("cancelled", [0, 1, 3])
def test_of_two_hundred_tasks_one_probes(cancelled: int) -> None:
    """Exactly one is under way at a time; a cancelled one hands on to the next caller, and opens nothing anew."""
    bench = Bench(ramp=8).opened()
    bench.clock.advance(5.0)
    wire = ScriptedWire("ok", clock=bench.clock, takes=1.0)

    async def main() -> None:
        for number in range(1, cancelled + 1):
            before = (bench.breaker.counts(), bench.breaker._nominal)
            tasks = [asyncio.create_task(bench.pipeline.run(wire.call())) for _ in range(CALLERS)]
            await sleep(0.5)
            assert len(wire.sent) == number
            for task in tasks:
                task.cancel()
            done = await asyncio.gather(*tasks, return_exceptions=True)
            assert sum(isinstance(one, asyncio.CancelledError) for one in done) == 1
            assert (bench.breaker.counts(), bench.breaker._nominal) == before
            assert (bench.breaker.state, bench.breaker.retry_after()) == ("half_open", 0.0)
        done = await asyncio.gather(*(bench.pipeline.run(wire.call()) for _ in range(CALLERS)), return_exceptions=True)
        assert len(wire.sent) == cancelled + 1
        assert sum(isinstance(one, CircuitOpen) for one in done) == CALLERS - 1
        assert bench.breaker.state == "closed"

    run(main(), bench.clock)
    assert bench.changes == [("closed", "open"), ("open", "half_open"), ("half_open", "closed")]


@pytest.mark.parametrize("step", ["ok", 503])
def test_of_two_hundred_threads_one_probes(step: str | int) -> None:
    """All ask at the same moment, and the probe does not end before the others were refused."""
    bench = Bench(ramp=8).opened()
    bench.clock.advance(5.0)
    together, refused = threading.Barrier(CALLERS, timeout=60), threading.Semaphore(0)
    sent: list[int] = []

    def answer() -> Reply:
        sent.append(1)
        for _ in range(CALLERS - 1):
            assert refused.acquire(timeout=60)
        return Reply(200 if step == "ok" else 503)

    def caller(_: int) -> bool:
        together.wait()
        try:
            bench.pipeline.run_sync(ScriptedWire(answer).call())
        except CircuitOpen:
            refused.release()
            return False
        return True

    with ThreadPoolExecutor(CALLERS) as pool:
        through = list(pool.map(caller, range(CALLERS)))
    assert sum(through) == len(sent) == 1
    assert bench.breaker.state == ("closed" if step == "ok" else "open")
