"""The total, the attempt's own bound, and the caller's deadline."""

import asyncio
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handrail.resilience import AttemptTimedOut, AttemptTimeout, Call, DeadlineExceeded, Pipeline, Tools, TotalTimeout
from handrail.resilience.call import current_deadline, deadline
from handrail.resilience.classify import CUT_SHORT, TIMEOUT
from handrail.resilience.events import CallTimedOut
from handrail.resilience.testing import FakeClock, RecordingListener, Reply, ScriptedWire, run


class Bench:
    """A total of 30 s around attempts of 10 s."""

    def __init__(self, total: float = 30.0, attempt: float = 10.0) -> None:
        self.clock = FakeClock()
        self.told = RecordingListener()
        tools = Tools(clock=self.clock, emit=self.told)
        self.pipeline = Pipeline(TotalTimeout(total, tools=tools), AttemptTimeout(attempt, tools=tools))
        self.wire = ScriptedWire("hang", clock=self.clock)

    def play(self, call: Call[Reply], on_loop: bool = True) -> Reply:
        return run(self.pipeline.run(call), self.clock) if on_loop else self.pipeline.run_sync(call)

    @property
    def elapsed(self) -> float:
        return self.clock.now() - 1000.0


def test_an_attempt_that_hangs_ends_at_its_limit() -> None:
    """AttemptTimedOut after ten seconds: also a TimeoutError, a failure to the breaker, told once."""
    bench = Bench()
    call = bench.wire.call()
    with pytest.raises(AttemptTimedOut, match=r"attempt 1 to http://peer was not over within 10 s") as caught:
        bench.play(call)
    assert isinstance(caught.value, TimeoutError)
    assert (caught.value.limit, caught.value.elapsed, bench.elapsed) == (10.0, 10.0, 10.0)
    assert (call.verdict, call.timed_out) == (TIMEOUT, True)
    assert bench.told.events == [CallTimedOut("http://peer", "GET", "attempt_timeout", 1, 10.0, 10.0)]


def test_the_total_ends_an_attempt_that_would_go_on() -> None:
    """The bound that comes first names the error."""
    bench = Bench(total=7.0)
    with pytest.raises(DeadlineExceeded, match=r"call to http://peer was not over within 7 s$") as caught:
        bench.play(bench.wire.call())
    assert (caught.value.limit, caught.value.elapsed, bench.elapsed) == (7.0, 7.0, 7.0)
    assert [event.policy for event in bench.told.of(CallTimedOut)] == ["total_timeout"]


def test_the_callers_deadline_binds_where_it_is_nearer() -> None:
    """A deadline around the call is kept, and one that is later changes nothing."""
    bench = Bench()
    said = r"was not over within 2 s, all that its caller's deadline left$"
    with deadline(2.0, bench.clock), deadline(9.0, bench.clock), pytest.raises(DeadlineExceeded, match=said):
        bench.play(bench.wire.call())
    assert bench.elapsed == 2.0
    with deadline(60.0, bench.clock), pytest.raises(AttemptTimedOut):
        bench.play(bench.wire.call())
    assert bench.elapsed == 12.0
    assert current_deadline() is None


def test_a_peer_that_got_less_than_half_its_time_is_not_to_blame() -> None:
    """A deadline of 4 s in attempts of 10 s says nothing about the peer; one of 6 s does."""
    for seconds, verdict in ((4.0, CUT_SHORT), (6.0, TIMEOUT)):
        bench = Bench()
        call = bench.wire.call()
        with deadline(seconds, bench.clock), pytest.raises(DeadlineExceeded):
            bench.play(call)
        assert call.verdict is verdict


@pytest.mark.parametrize("on_loop", [True, False], ids=["loop", "thread"])
@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_with_the_deadline_gone_nothing_is_sent(seconds: float, on_loop: bool) -> None:
    """DeadlineExceeded at once, told, and the wire is never asked."""
    bench = Bench()
    call = bench.wire.call()
    with deadline(seconds, bench.clock), pytest.raises(DeadlineExceeded, match="no time left to call http://peer"):
        bench.play(call, on_loop)
    assert bench.wire.sent == []
    assert len(bench.told.of(CallTimedOut)) == 1


@pytest.mark.parametrize("on_loop", [True, False], ids=["loop", "thread"])
def test_an_attempt_is_not_sent_where_the_deadline_went_by_further_out(on_loop: bool) -> None:
    """AttemptTimeout checks again: a pause in a policy outside it may have used up the time; neutral."""
    bench = Bench()
    bench.pipeline = Pipeline(AttemptTimeout(10.0, tools=Tools(clock=bench.clock)))
    call = bench.wire.call()
    call.started, call.ends = 990.0, 1000.0
    with pytest.raises(DeadlineExceeded):
        bench.play(call, on_loop)
    assert (bench.wire.sent, call.verdict) == ([], CUT_SHORT)


def test_the_calls_own_times_replace_the_settings() -> None:
    """What the code wrote is its wish: longer, shorter, or no bound at all."""
    bench = Bench()
    with pytest.raises(AttemptTimedOut):
        bench.play(bench.wire.call(attempt_timeout=60.0, total_timeout=90.0))
    assert bench.elapsed == 60.0
    with pytest.raises(DeadlineExceeded):
        bench.play(bench.wire.call(attempt_timeout=inf, total_timeout=5.0))
    assert bench.elapsed == 65.0


def test_infinity_means_no_timer() -> None:
    """Without any bound the loop has nothing to wait for, and says so."""
    bench = Bench()
    call = bench.wire.call(attempt_timeout=inf, total_timeout=inf)
    with pytest.raises(RuntimeError, match="nothing is scheduled"):
        bench.play(call)
    assert call.timer is None


def test_the_wires_own_timeout_stays_its_own() -> None:
    """A TimeoutError of the wire is not dressed up as one of ours."""
    bench, error = Bench(), TimeoutError("the wire's")
    with pytest.raises(TimeoutError, match="the wire's") as caught:
        bench.play(ScriptedWire(error, clock=bench.clock).call())
    assert caught.value is error
    assert bench.told.events == []


def test_a_wire_that_answers_the_cancellation_with_its_own_error_keeps_it() -> None:
    """What the wire raises while our timer ends it goes up as it is."""
    bench = Bench()

    class Stubborn(ScriptedWire):
        async def send(self, call: Call[Reply]) -> Reply:
            try:
                return await super().send(call)
            except asyncio.CancelledError:
                raise TimeoutError("the wire's") from None

    with pytest.raises(TimeoutError, match="the wire's"):
        bench.play(Stubborn("hang", clock=bench.clock).call())


def test_a_cancellation_by_the_caller_is_not_a_timeout() -> None:
    """CancelledError goes through; `timed_out` stays false and nothing is told."""
    bench = Bench()
    call = bench.wire.call()

    async def main() -> None:
        task = asyncio.create_task(bench.pipeline.run(call))
        await bench.clock.sleep(1.0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main(), bench.clock)
    assert not call.timed_out
    assert bench.told.events == []


def test_on_a_thread_the_wire_is_told_and_its_error_stays() -> None:
    """`attempt_ends` is the nearer bound; the wire's own error goes up, and the timeout is told."""
    bench = Bench(total=7.0)
    call = bench.wire.call()
    with pytest.raises(TimeoutError, match="cut off by the script"):
        bench.pipeline.run_sync(call)
    assert call.attempt_ends == 1007.0
    assert bench.told.events == [CallTimedOut("http://peer", "GET", "total_timeout", 1, 7.0, 7.0)]


@given(
    total=st.floats(0.01, 100) | st.just(inf),
    attempt=st.floats(0.01, 100),
    left=st.floats(0.01, 100) | st.none(),
    answer=st.floats(0, 100),
)
def test_no_bound_is_ever_overrun(total: float, attempt: float, left: float | None, answer: float) -> None:
    """The call ends with the answer or at the nearest bound, never later."""
    bench = Bench(total, attempt)
    wire = ScriptedWire("ok", clock=bench.clock, takes=answer)
    bound = min(total, attempt, inf if left is None else left)
    try:
        with deadline(inf if left is None else left, bench.clock):
            bench.play(wire.call())
    except TimeoutError:
        assert answer >= bound * 0.999
        assert bench.elapsed == pytest.approx(bound)
    else:
        assert bench.elapsed == pytest.approx(answer)
        assert answer <= bound * 1.001
