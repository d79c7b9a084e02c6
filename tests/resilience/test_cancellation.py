"""Concurrency: cancellation at every await, one probe among many, late results, threads."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from handrail.resilience import Call, CircuitBreaker, CircuitOpen, Pipeline, Resend, ResilienceSettings, Tools, standard
from handrail.resilience.events import CircuitChanged
from handrail.resilience.testing import FakeClock, RecordingListener, Reply, ScriptedWire, run, sleep

SETTINGS = ResilienceSettings(breaker_minimum_calls=1, breaker_open_for=5.0)


def breaker_of(pipeline: Pipeline) -> CircuitBreaker:
    """The breaker in a standard pipeline."""
    return next(policy for policy in pipeline.policies if isinstance(policy, CircuitBreaker))


class SteppedWire(ScriptedWire):
    """Suspends in each send and each discard, so that there are awaits to cancel; counts the attempts that ended."""

    ended = 0

    async def send(self, call: Call[Reply]) -> Reply:
        await sleep()
        try:
            reply = await super().send(call)
        except ConnectionError:
            self.ended += 1
            raise
        await sleep()
        self.ended += 1
        return reply

    async def discard(self, result: Reply) -> None:
        await sleep()
        await super().discard(result)


def cancelled_after(steps: int, half_open: bool) -> tuple[bool, CircuitBreaker, SteppedWire, FakeClock]:
    """Cancel one call (503, pause, broken off, pause, ok) after so many turns of the loop."""
    clock = FakeClock()
    # One probe fails the circuit again, so the retries are for the closed case.
    settings = SETTINGS if half_open else ResilienceSettings(breaker_minimum_calls=100)
    pipeline = standard("http://peer", settings, Tools(clock=clock, jitter=lambda: 0.0))
    breaker = breaker_of(pipeline)
    wire = SteppedWire("ok", clock=clock) if half_open else SteppedWire(503, "fail", "ok", clock=clock)

    async def main() -> bool:
        if half_open:
            await pipeline.run(ScriptedWire(503).call(resend=Resend.ONE_SHOT))
            clock.advance(5.0)
        task = asyncio.create_task(pipeline.run(wire.call()))
        for _ in range(steps):
            await sleep()
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            return True
        return False

    return run(main(), clock), breaker, wire, clock


def test_cancelling_at_any_await_counts_nothing_and_leaves_nothing_behind() -> None:
    """Only attempts that ended count; a failed reply that was held for the caller is thrown away."""
    steps = -1
    while True:
        steps += 1
        cancelled, breaker, wire, _ = cancelled_after(steps, half_open=False)
        if not cancelled:
            break
        assert breaker.state == "closed"
        assert breaker.counts()[1] == wire.ended
        assert [reply.status for reply in wire.discarded] == ([503] if wire.ended else [])
    assert steps == 9


def test_cancelling_a_probe_at_any_await_hands_the_permit_on() -> None:
    """Wherever the probe is cancelled, the circuit stays half-open and the next call is let through."""
    steps = 0
    while True:
        steps += 1
        cancelled, breaker, _, clock = cancelled_after(steps, half_open=True)
        if not cancelled:
            break
        assert breaker.state in {"open", "half_open"}
        assert breaker.retry_after() == 0
        assert run(Pipeline(breaker).run(ScriptedWire("ok").call()), clock).status == 200
        assert breaker.state == "closed"
    assert steps > 2


def test_two_hundred_callers_in_half_open_make_one_probe() -> None:
    """Exactly one is sent; the others are refused at once and told when to come back."""
    clock, told = FakeClock(), RecordingListener()
    pipeline = standard("http://peer", SETTINGS, Tools(clock=clock, jitter=lambda: 0.5, emit=told))
    wire = ScriptedWire("ok", clock=clock, takes=1.0)

    async def main() -> list[Reply | BaseException]:
        await pipeline.run(ScriptedWire(503).call(resend=Resend.ONE_SHOT))
        clock.advance(5.0)
        return await asyncio.gather(*(pipeline.run(wire.call()) for _ in range(200)), return_exceptions=True)

    results = run(main(), clock)
    assert len(wire.sent) == 1
    assert sum(isinstance(result, Reply) for result in results) == 1
    refused = [result for result in results if isinstance(result, CircuitOpen)]
    assert len(refused) == 199
    assert all(error.retry_after == 5.0 and "a probe is under way" in str(error) for error in refused)
    assert [event.after for event in told.of(CircuitChanged)] == ["open", "half_open", "closed"]


def test_a_probe_that_is_never_heard_of_blocks_for_a_while_only() -> None:
    """After `open_for` seconds another call may probe; what the lost one says later changes nothing."""
    clock = FakeClock()
    breaker = CircuitBreaker("http://peer", minimum_calls=1, open_for=5.0, tools=Tools(clock=clock, jitter=lambda: 0.5))
    pipeline = Pipeline(breaker)

    async def main() -> None:
        await pipeline.run(ScriptedWire(503).call())
        clock.advance(5.0)
        lost = asyncio.create_task(pipeline.run(ScriptedWire(503, clock=clock, takes=60.0).call()))
        await sleep(4.9)
        with pytest.raises(CircuitOpen):
            await pipeline.run(ScriptedWire("ok").call())
        await sleep(0.1)
        assert (await pipeline.run(ScriptedWire("ok").call())).status == 200
        assert breaker.state == "closed"
        await lost
        assert breaker.state == "closed"
        assert breaker.counts() == (0.0, 0)

    run(main(), clock)


@pytest.mark.parametrize("late", ["ok", 503])
def test_a_late_result_of_an_earlier_period_changes_nothing(late: str | int) -> None:
    """A call admitted before the circuit opened neither closes it nor counts when it comes back."""
    clock = FakeClock()
    breaker = CircuitBreaker("http://peer", minimum_calls=1, open_for=5.0, tools=Tools(clock=clock, jitter=lambda: 0.5))
    pipeline = Pipeline(breaker)

    async def main() -> None:
        slow = [asyncio.create_task(pipeline.run(ScriptedWire(late, clock=clock, takes=t).call())) for t in (1.0, 20.0)]
        await sleep()
        await pipeline.run(ScriptedWire(503).call())
        await slow[0]
        assert breaker.state == "open"
        assert breaker.retry_after() == 4.0
        clock.advance(5.0)
        await pipeline.run(ScriptedWire("ok").call())
        assert breaker.state == "closed"
        await slow[1]
        assert breaker.counts() == (0.0, 0)

    run(main(), clock)


def test_threads_are_in_the_call_at_the_same_time() -> None:
    """Four threads meet inside one breaker: no lock is held while a call runs."""
    pipeline = standard("http://peer")
    meeting = threading.Barrier(4, timeout=60)

    def answer() -> Reply:
        meeting.wait()
        return Reply(200)

    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(pipeline.run_sync, ScriptedWire(answer).call()) for _ in range(4)]
        assert [call.result().status for call in calls] == [200] * 4


def test_threads_in_half_open_make_one_probe() -> None:
    """Eight threads at the same moment: one is sent, seven are refused while it runs."""
    clock = FakeClock()
    breaker = CircuitBreaker("http://peer", minimum_calls=1, open_for=5.0, tools=Tools(clock=clock, jitter=lambda: 0.5))
    pipeline = Pipeline(breaker)
    pipeline.run_sync(ScriptedWire(503).call())
    clock.advance(5.0)
    together, over = threading.Barrier(8, timeout=60), threading.Semaphore(0)

    def answer() -> Reply:
        for _ in range(7):
            assert over.acquire(timeout=60)
        return Reply(200)

    def caller() -> bool:
        together.wait()
        try:
            pipeline.run_sync(ScriptedWire(answer).call())
        except CircuitOpen:
            over.release()
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        sent = [pool.submit(caller) for _ in range(8)]
        assert sum(future.result() for future in sent) == 1
    assert breaker.state == "closed"


def test_threads_lose_no_failure() -> None:
    """Counts are whole under contention: every failure of eight threads is there."""
    breaker = CircuitBreaker("http://peer", minimum_calls=1_000_000, window=86_400.0)
    pipeline = Pipeline(breaker)

    def caller() -> None:
        for number in range(500):
            pipeline.run_sync(ScriptedWire(503 if number % 2 else "ok").call())

    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(caller) for _ in range(8)]:
            future.result()
    assert breaker.counts() == (0.5, 4000)
