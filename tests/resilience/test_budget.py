"""Retries are a bounded share of calls, whatever happens when."""

import threading
from contextlib import suppress
from decimal import Decimal
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handrail.resilience import Budget, Pipeline, Resend, ResilienceSettings, Retry, Tools, TotalTimeout, standard
from handrail.resilience.call import inbound_attempt
from handrail.resilience.events import NotRetried
from handrail.resilience.testing import FakeClock, RecordingListener, Reply, ScriptedWire, run

both = pytest.mark.parametrize("on_loop", [True, False], ids=["loop", "thread"])

moves = st.lists(
    st.tuples(st.floats(0, 30) | st.just(0.0), st.sampled_from(["call", "fresh", "take", "take"])), max_size=300
)


@given(
    ratio=st.decimals(0, 1, places=3), floor=st.integers(0, 20), seconds=st.floats(0.1, 60), start=st.floats(0, 1e6),
    steps=moves,
)  # fmt: skip
def test_the_budget_is_never_exceeded(
    ratio: Decimal, floor: int, seconds: float, start: float, steps: list[tuple[float, str]]
) -> None:
    """At every grant: the retries of 9/10 of the window are within floor + share * the calls of the whole of it."""
    budget, now = Budget(ratio=float(ratio), window=seconds, floor=floor), start
    calls, retries = list[float](), list[float]()
    for pause, kind in steps:
        now += pause
        if kind == "take":
            if not budget.take(now):
                continue
            retries.append(now)
            recent = sum(at > now - 0.899 * seconds for at in retries)
            assert recent <= floor + ratio * sum(at >= now - 1.001 * seconds for at in calls)
            continue
        calls.append(now)
        if kind == "fresh" and now < budget.window.ends:
            budget.window.fresh += 1
        else:
            budget.called(now)


@given(ratio=st.integers(0, 1000), calls=st.integers(0, 2000), floor=st.integers(0, 20))
def test_the_share_is_exact(ratio: int, calls: int, floor: int) -> None:
    """In one moment exactly floor + share * calls are granted, rounded down in decimals: no float adds or takes one."""
    budget = Budget(ratio=ratio / 1000, floor=floor)
    budget.called(0.0)
    budget.window.fresh += calls - 1
    granted = 0
    while budget.take(0.5):
        granted += 1
    assert granted == floor + ratio * calls // 1000
    assert budget.spent(0.5) == (granted, calls)


def test_under_threads_it_is_not_exceeded_either() -> None:
    """Eight threads at once, calls counted without the lock: no grant too many."""
    budget, start = Budget(ratio=0.2, floor=3), threading.Barrier(8)
    calls, granted = [0] * 8, [0] * 8

    def work(number: int) -> None:
        start.wait()
        for turn in range(3000):
            calls[number] += 1
            if turn % 3:
                budget.window.fresh += 1
            else:
                budget.called(1.0)
            granted[number] += budget.take(1.0)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(granted) <= 3 + sum(calls) // 5
    assert sum(granted) > sum(calls) // 6


def test_a_quiet_service_may_still_retry() -> None:
    """Without any other call in the window the floor is there, and comes back when the window has passed."""
    budget = Budget(ratio=0.2, window=10.0, floor=2)
    assert [budget.take(100.0) for _ in range(3)] == [True, True, False]
    assert not budget.take(108.9)
    assert budget.take(110.0)


def test_what_is_done_for_a_retry_has_half_and_no_floor() -> None:
    """Amplification across hops: a request that is a second attempt itself spends from half of the share."""
    budget = Budget(ratio=0.2, floor=10)
    for _ in range(40):
        budget.called(0.0)
    token = inbound_attempt.set(2)
    try:
        granted = sum(budget.take(0.5) for _ in range(50))
    finally:
        inbound_attempt.reset(token)
    assert granted == 4
    assert sum(budget.take(0.5) for _ in range(50)) == 14  # the others' eighteen are still theirs


class Bench:
    """Total, retry and budget on a clock that stands still."""

    def __init__(self, budget: Budget, attempts: int = 3) -> None:
        self.clock = FakeClock()
        self.told = RecordingListener()
        tools = Tools(clock=self.clock, emit=self.told, jitter=lambda: 0.0)
        self.pipeline = Pipeline(TotalTimeout(30.0, tools=tools), Retry(attempts=attempts, budget=budget, tools=tools))

    def play(self, wire: ScriptedWire, on_loop: bool, resend: Resend = Resend.SAFE) -> Reply:
        call = wire.call(resend=resend)
        return run(self.pipeline.run(call), self.clock) if on_loop else self.pipeline.run_sync(call)


@both
def test_a_retry_beyond_the_budget_is_not_made(on_loop: bool) -> None:
    """The last real outcome goes up, its note says why, and the event names the budget."""
    bench, last = Bench(Budget(ratio=0.0, floor=1)), ConnectionResetError("the second")
    wire = ScriptedWire("fail", last, "ok", clock=bench.clock)
    with pytest.raises(ConnectionResetError) as caught:
        bench.play(wire, on_loop)
    assert caught.value is last
    assert wire.sent == [1, 2]
    assert last.__notes__ == [
        "handrail: 2 attempts in 0.00 s to http://peer",
        "handrail: not sent again: http://peer has had its retries: budget 0 % of calls, at least 1, in 10 s",
    ]
    assert bench.told.of(NotRetried) == [NotRetried("http://peer", "GET", 2, "network", "retry_budget")]


@both
def test_the_first_failure_is_noted_too(on_loop: bool) -> None:
    """With nothing left for a first retry the error says so, and a reply goes up as it is."""
    bench = Bench(Budget(ratio=0.0, floor=0))
    with pytest.raises(ConnectionResetError) as caught:
        bench.play(ScriptedWire("fail", clock=bench.clock), on_loop)
    assert len(caught.value.__notes__) == 1
    reply = Reply(503)
    wire = ScriptedWire(reply, clock=bench.clock)
    assert bench.play(wire, on_loop) is reply
    assert wire.discarded == []


@both
def test_what_something_else_forbids_costs_nothing(on_loop: bool) -> None:
    """Exhausted attempts, a deadline and an unsafe method do not spend from the budget."""
    budget = Budget(ratio=0.0, floor=10)
    bench = Bench(budget)
    for step, resend in ((Reply(503, "60"), Resend.SAFE), (503, Resend.UNSAFE), (404, Resend.SAFE)):
        bench.play(ScriptedWire(step, clock=bench.clock), on_loop, resend)
    assert budget.spent(bench.clock.now()) == (0, 3)
    patient = ScriptedWire(Reply(503, "60"), clock=bench.clock).call(total_timeout=inf)
    bench.pipeline.run_sync(patient)
    assert bench.told.of(NotRetried)[-1].reason == "retry_after"
    assert budget.spent(bench.clock.now()) == (0, 4)
    bench.play(ScriptedWire(503, clock=bench.clock), on_loop)
    assert budget.spent(bench.clock.now()) == (2, 5)


@both
@pytest.mark.parametrize("raw", ["true", "True", " true "])
def test_an_overloaded_peer_is_left_alone(on_loop: bool, raw: str) -> None:
    """`x-envoy-overloaded: true` (Envoy, and handrail on the other side): the answer goes up at once."""
    budget = Budget()
    bench, reply = Bench(budget), Reply(503, headers={"x-envoy-overloaded": raw})
    wire = ScriptedWire(reply, "ok", clock=bench.clock)
    assert bench.play(wire, on_loop) is reply
    assert bench.told.events == [NotRetried("http://peer", "GET", 1, "503", "overloaded")]
    assert budget.spent(bench.clock.now())[0] == 0


@both
def test_a_peer_that_becomes_overloaded_ends_the_retries(on_loop: bool) -> None:
    """The second attempt's answer says it: there is no third. Any other value says nothing."""
    bench = Bench(Budget())
    replies = [Reply(503, headers={"x-envoy-overloaded": "false"}), Reply(503, headers={"x-envoy-overloaded": "true"})]
    wire = ScriptedWire(*replies, "ok", clock=bench.clock)
    assert bench.play(wire, on_loop) is replies[1]
    assert wire.discarded == replies[:1]
    assert [event.reason for event in bench.told.of(NotRetried)] == ["overloaded"]


@given(
    rate=st.integers(1, 200), attempts=st.integers(2, 6), share=st.sampled_from([0.0, 0.1, 0.2, 0.5]),
    floor=st.integers(0, 20), on_loop=st.booleans(),
)  # fmt: skip
def test_a_dead_peer_gets_its_share_more_and_no_more(
    rate: int, attempts: int, share: float, floor: int, on_loop: bool
) -> None:
    """Ten seconds of calls that all fail: at most calls * (1 + share) + floor attempts, through the whole pipeline."""
    clock = FakeClock()
    settings = ResilienceSettings(
        attempts=attempts, retry_budget=share, retry_budget_floor=floor, backoff_base=0.0, breaker_minimum_calls=10**6
    )
    pipeline = standard("http://peer", settings, Tools(clock=clock))
    wire = ScriptedWire("fail", clock=clock)
    for _ in range(rate):
        with suppress(ConnectionError):
            run(pipeline.run(wire.call()), clock) if on_loop else pipeline.run_sync(wire.call())
        clock.advance(9.0 / rate)
    assert len(wire.sent) <= rate * (1 + share) + floor


@given(
    total=st.floats(0.01, 5), takes=st.floats(0, 2), asked=st.sampled_from([None, "0", "1", "9"]),
    draw=st.floats(0, 0.999), on_loop=st.booleans(),
)  # fmt: skip
def test_no_further_attempt_begins_that_could_not_end(
    total: float, takes: float, asked: str | None, draw: float, on_loop: bool
) -> None:
    """Every attempt after the first begins 5 ms or more before the deadline, whatever pause was drawn or asked for."""
    clock, begun = FakeClock(), list[float]()
    tools = Tools(clock=clock, jitter=lambda: draw)
    pipeline = Pipeline(TotalTimeout(total, tools=tools), Retry(attempts=8, budget=Budget(), tools=tools))
    ends = clock.now() + total

    def answer() -> Reply:
        begun.append(clock.now())
        clock.advance(takes)
        return Reply(503, asked)

    call = ScriptedWire(answer, clock=clock).call()
    run(pipeline.run(call), clock) if on_loop else pipeline.run_sync(call)
    assert all(at <= ends - 0.005 + 1e-9 for at in begun[1:])
