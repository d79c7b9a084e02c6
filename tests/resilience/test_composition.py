"""Pairs of policies, and the one list: what each does to the other."""

import anyio
import pytest

from handrail.resilience import (
    AttemptTimedOut,
    AttemptTimeout,
    CircuitBreaker,
    CircuitOpen,
    DeadlineExceeded,
    Pipeline,
    Resend,
    ResilienceSettings,
    Retry,
    Tools,
    TotalTimeout,
    standard,
)
from handrail.resilience.events import (
    CallRejected,
    CallTimedOut,
    CircuitChanged,
    NotRetried,
    RetriesExhausted,
    RetryScheduled,
)
from handrail.resilience.testing import FakeClock, RecordingListener, Reply, ScriptedWire, run

both = pytest.mark.parametrize("on_loop", [True, False], ids=["loop", "thread"])


class Bench:
    """A clock, a recorder, tools with half of each draw."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.told = RecordingListener()
        self.tools = Tools(clock=self.clock, emit=self.told, jitter=lambda: 0.5)

    def wire(self, *steps: str | int | Reply | BaseException, takes: float = 0.0) -> ScriptedWire:
        return ScriptedWire(*steps, clock=self.clock, takes=takes)

    def play(self, pipeline: Pipeline, wire: ScriptedWire, on_loop: bool, resend: Resend = Resend.SAFE) -> Reply:
        call = wire.call(resend=resend)
        return run(pipeline.run(call), self.clock) if on_loop else pipeline.run_sync(call)

    def breaker(self, minimum_calls: int) -> CircuitBreaker:
        return CircuitBreaker("http://peer", minimum_calls=minimum_calls, open_for=5.0, tools=self.tools)


def test_the_order_is_stated() -> None:
    """`print(pipeline)` shows the nesting and the numbers of the standard list, outermost first."""
    assert str(standard("http://peer")) == (
        "TotalTimeout(30 s)"
        " > Retry(3 attempts, full jitter 0.1 s to 5 s, budget 20 % of calls, at least 100, in 10 s)"
        " > CircuitBreaker(50 % of >= 10 calls in 30 s, open 15 s to 120 s, 1 probe)"
        " > Bulkhead(1000 at a time, 100 wait up to 1 s)"
        " > AttemptTimeout(10 s)"
        " > call"
    )


def test_the_list_takes_every_number_from_the_settings() -> None:
    """No policy has a number of its own."""
    settings = ResilienceSettings(
        total_timeout=20,
        attempt_timeout=4,
        attempts=5,
        backoff_base=0.2,
        backoff_cap=2,
        retry_budget=0.1,
        retry_budget_floor=5,
        retry_budget_window=20,
        breaker_failure_rate=0.25,
        breaker_minimum_calls=8,
        breaker_window=12,
        breaker_open_for=6,
        bulkhead_limit=9,
        bulkhead_queue=7,
        bulkhead_wait=0.5,
    )
    assert str(standard("http://peer", settings)) == (
        "TotalTimeout(20 s) > Retry(5 attempts, full jitter 0.2 s to 2 s, budget 10 % of calls, at least 5, in 20 s)"
        " > CircuitBreaker(25 % of >= 8 calls in 12 s, open 6 s to 120 s, 1 probe)"
        " > Bulkhead(9 at a time, 7 wait up to 0.5 s) > AttemptTimeout(4 s) > call"
    )


@both
def test_retry_breaker_each_attempt_passes_the_breaker(on_loop: bool) -> None:
    """Three attempts of one call are three calls to the breaker."""
    bench = Bench()
    breaker = bench.breaker(minimum_calls=10)
    assert bench.play(Pipeline(Retry(tools=bench.tools), breaker), bench.wire("fail", 503, "ok"), on_loop).status == 200
    assert breaker.counts() == (2 / 3, 3)


@both
@pytest.mark.parametrize("step", [503, "fail"])
def test_retry_breaker_a_circuit_that_opens_ends_the_retries_at_once(on_loop: bool, step: str | int) -> None:
    """No pause for an attempt that would be refused; the real outcome goes up, never CircuitOpen."""
    bench = Bench()
    pipeline = Pipeline(Retry(tools=bench.tools), bench.breaker(minimum_calls=2))
    wire = bench.wire(step)
    if step == "fail":
        with pytest.raises(ConnectionResetError) as caught:
            bench.play(pipeline, wire, on_loop)
        assert caught.value.__notes__ == ["handrail: 2 attempts in 0.05 s to http://peer"]
    else:
        assert bench.play(pipeline, wire, on_loop).status == 503
        assert len(wire.discarded) == 1
    assert (wire.sent, bench.clock.slept) == ([1, 2], [0.05])
    assert [type(event) for event in bench.told.events] == [RetryScheduled, CircuitChanged, NotRetried]
    assert bench.told.of(NotRetried)[0].reason == "circuit_breaker"


@both
@pytest.mark.parametrize("step", [503, "fail"])
def test_retry_breaker_a_circuit_opened_by_others_during_the_pause(on_loop: bool, step: str | int) -> None:
    """The further attempt is refused: the last real outcome goes up, its reply still open, its number right."""
    bench = Bench()
    breaker = bench.breaker(minimum_calls=4)
    alone = Pipeline(breaker)

    def others_fail() -> float:
        for _ in range(3):
            alone.run_sync(ScriptedWire(503).call())
        return 0.5

    pipeline = Pipeline(Retry(tools=Tools(clock=bench.clock, emit=bench.told, jitter=others_fail)), breaker)
    wire = bench.wire(step)
    call = wire.call()
    # The draw happens after the first failure: by then the breaker has not held this call.
    outcome: Reply | BaseException
    try:
        outcome = run(pipeline.run(call), bench.clock) if on_loop else pipeline.run_sync(call)
    except ConnectionResetError as error:
        outcome = error
    assert isinstance(outcome, Reply) == (step == 503)
    assert (wire.sent, wire.discarded, call.attempt) == ([1], [], 1)
    assert [event.reason for event in bench.told.of(NotRetried)] == ["circuit_breaker"]
    assert bench.told.of(CallRejected) == []


@both
def test_retry_breaker_retry_after_that_outlasts_the_open_circuit_is_worth_waiting_for(on_loop: bool) -> None:
    """The pause ends after the circuit may be probed, so the attempt is made, as the probe."""
    bench = Bench()
    breaker = bench.breaker(minimum_calls=1)
    pipeline = Pipeline(Retry(tools=bench.tools), breaker)
    assert bench.play(pipeline, bench.wire(Reply(503, "6"), "ok"), on_loop).status == 200
    assert breaker.state == "closed"


def test_retry_breaker_the_very_moment_of_the_probe_counts_as_after() -> None:
    """A pause that ends when the circuit may be probed ends in an attempt."""
    bench = Bench()
    retry = Retry(tools=Tools(clock=bench.clock, jitter=lambda: 0.0))
    pipeline = Pipeline(retry, bench.breaker(minimum_calls=1))
    assert bench.play(pipeline, bench.wire(Reply(503, "5"), "ok"), on_loop=False).status == 200


@both
def test_retry_breaker_an_open_circuit_is_not_tried_again(on_loop: bool) -> None:
    """CircuitOpen on the first attempt goes up at once: nothing was sent, nothing is waited for."""
    bench = Bench()
    pipeline = Pipeline(Retry(tools=bench.tools), bench.breaker(minimum_calls=1))
    bench.play(pipeline, bench.wire(503), on_loop, Resend.ONE_SHOT)
    wire = bench.wire("ok")
    with pytest.raises(CircuitOpen) as caught:
        bench.play(pipeline, wire, on_loop)
    assert not hasattr(caught.value, "__notes__")
    assert (wire.sent, bench.clock.slept) == ([], [])
    assert len(bench.told.of(CallRejected)) == 1


def test_retry_attempt_a_hanging_attempt_is_repeated_where_that_is_safe() -> None:
    """AttemptTimedOut is a failure like others: repeated for GET, not for a POST without key."""
    bench = Bench()
    pipeline = Pipeline(Retry(tools=bench.tools), AttemptTimeout(2.0, tools=bench.tools))
    assert bench.play(pipeline, bench.wire("hang", "ok"), on_loop=True).status == 200
    assert bench.clock.now() == 1002.05
    with pytest.raises(AttemptTimedOut):
        bench.play(pipeline, bench.wire("hang", "ok"), on_loop=True, resend=Resend.UNSAFE)


def test_total_retry_attempt_the_total_cuts_the_last_attempt() -> None:
    """Two whole attempts and a part of the third: DeadlineExceeded with its note, and not a second longer."""
    bench = Bench()
    tools = bench.tools
    pipeline = Pipeline(TotalTimeout(5.0, tools=tools), Retry(tools=tools), AttemptTimeout(2.0, tools=tools))
    with pytest.raises(DeadlineExceeded) as caught:
        bench.play(pipeline, bench.wire("hang"), on_loop=True)
    assert bench.clock.now() == 1005.0
    assert caught.value.__notes__ == ["handrail: 3 attempts in 5.00 s to http://peer"]
    assert [event.policy for event in bench.told.of(CallTimedOut)] == [
        "attempt_timeout",
        "attempt_timeout",
        "total_timeout",
    ]


def test_breaker_attempt_attempts_that_hang_open_the_circuit() -> None:
    """A timeout of ours counts against the peer; the deadline of an impatient caller does not."""
    bench = Bench()
    for total, state in ((30.0, "open"), (0.5, "closed")):
        breaker = bench.breaker(minimum_calls=3)
        attempt = AttemptTimeout(2.0, tools=bench.tools)
        pipeline = Pipeline(TotalTimeout(total, tools=bench.tools), breaker, attempt)
        for _ in range(3):
            with pytest.raises(TimeoutError):
                bench.play(pipeline, bench.wire("hang"), on_loop=True)
        assert breaker.state == state


@both
def test_total_breaker_a_spent_deadline_takes_no_probe(on_loop: bool) -> None:
    """With no time left the half-open circuit is not even asked."""
    bench = Bench()
    breaker = bench.breaker(minimum_calls=1)
    bench.play(Pipeline(breaker), bench.wire(503), on_loop)
    bench.clock.advance(5.0)
    with pytest.raises(DeadlineExceeded):
        bench.play(Pipeline(TotalTimeout(0.0, tools=bench.tools), breaker), bench.wire("ok"), on_loop)
    assert breaker.state == "open"


@both
def test_the_whole_list_tells_its_story_in_order(on_loop: bool) -> None:
    """Broken off, 503 with Retry-After, 503: every decision is an event, and the reply is the caller's."""
    bench = Bench()
    wire = bench.wire("fail", Reply(503, "1"), 503)
    reply = bench.play(standard("http://peer", None, bench.tools), wire, on_loop)
    assert reply.status == 503
    *scheduled, exhausted = bench.told.events
    assert scheduled == [
        RetryScheduled("http://peer", "GET", attempt=1, delay=0.05, cause="network"),
        RetryScheduled("http://peer", "GET", attempt=2, delay=1.1, cause="503", retry_after=True),
    ]
    assert isinstance(exhausted, RetriesExhausted)
    assert (exhausted.attempts, exhausted.cause) == (3, "503")
    assert exhausted.elapsed == pytest.approx(1.15)


@both
def test_the_whole_list_is_silent_when_all_goes_well(on_loop: bool) -> None:
    """No event, no pause, nothing thrown away."""
    bench = Bench()
    wire = bench.wire("ok")
    assert bench.play(standard("http://peer", None, bench.tools), wire, on_loop).status == 200
    assert (bench.told.events, bench.clock.slept, wire.discarded) == ([], [], [])


def test_the_whole_list_runs_on_another_loop() -> None:
    """Under trio the same pipeline repeats and answers."""
    tools = Tools(jitter=lambda: 0.0)
    wire = ScriptedWire(503, "fail", "ok")

    async def main() -> Reply:
        return await standard("http://peer", None, tools).run(wire.call())

    assert anyio.run(main, backend="trio").status == 200
    assert wire.sent == [1, 2, 3]
