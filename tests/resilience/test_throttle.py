"""Client-side throttling: the book's formula, what counts, and that a peer that is well again is seen to be."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handrail.resilience import CircuitBreaker, Pipeline, Resend, ResilienceSettings, Throttled, Tools, standard
from handrail.resilience.events import CallRejected
from handrail.resilience.testing import FakeClock, RecordingListener, Reply, ScriptedWire, run
from handrail.resilience.throttle import Tally, Throttle


class Bench:
    """A throttle with K = 2 that draws what it is told."""

    def __init__(self, multiple: float = 2.0, draw: float = 0.0) -> None:
        self.clock = FakeClock()
        self.told = RecordingListener()
        self.draw = draw
        self.tools = Tools(clock=self.clock, emit=self.told, jitter=lambda: self.draw)
        self.tally = Tally()
        self.throttle = Throttle("http://peer", multiple, tally=self.tally, tools=self.tools)
        self.pipeline = Pipeline(self.throttle)

    def share(self) -> float:
        return self.tally.probability(2.0, self.clock.now())

    def play(self, *steps: str | int | BaseException, on_loop: bool = False) -> Reply:
        return self.send(ScriptedWire(*steps, clock=self.clock), on_loop)

    def send(self, wire: ScriptedWire, on_loop: bool) -> Reply:
        call = wire.call()
        return run(self.pipeline.run(call), self.clock) if on_loop else self.pipeline.run_sync(call)


@given(st.integers(0, 300), st.integers(0, 300), st.floats(1.0, 5.0))
def test_the_formula_is_the_book_s(accepts: int, failures: int, multiple: float) -> None:
    """max(0, (requests - K * accepts) / (requests + 1)), and never more than nine in ten."""
    tally = Tally()
    for _ in range(accepts):
        tally.accepted(1.0)
    for _ in range(failures):
        tally.refused(1.0)
    requests = accepts + failures
    expected = max(0.0, (requests - multiple * accepts) / (requests + 1))
    assert tally.probability(multiple, 1.0) == pytest.approx(min(0.9, expected))


def test_a_peer_that_is_well_is_never_throttled() -> None:
    """Half of the calls may fail with K = 2, whatever the draw."""
    bench = Bench()
    for _ in range(50):
        bench.play("ok")
        bench.play(503)
    assert (bench.share(), bench.told.events) == (0.0, [])


@pytest.mark.parametrize("on_loop", [True, False], ids=["loop", "thread"])
def test_what_is_refused_is_told_and_counts_as_made(on_loop: bool) -> None:
    """Throttled, with nothing sent; the next refusal is a little more likely."""
    bench = Bench(draw=1.0)
    for _ in range(3):
        bench.play(503, on_loop=on_loop)
    bench.draw, before = 0.0, bench.share()
    wire = ScriptedWire(clock=bench.clock)
    with pytest.raises(Throttled, match="http://peer accepts few calls: 75 % are not sent") as caught:
        bench.send(wire, on_loop)
    assert (wire.sent, caught.value.policy, caught.value.retry_after) == ([], "throttle", None)
    assert (before, bench.share()) == (0.75, 0.8)
    assert bench.told.events == [CallRejected("http://peer", "GET", "throttle", "handrail.Throttled", None)]


def test_what_says_nothing_about_the_peer_counts_nowhere() -> None:
    """Foreign errors, refusals by a policy further in, the end of the interpreter; 404 is an answer."""
    bench = Bench(draw=1.0)
    for step in (ValueError(), Throttled("", target=""), KeyboardInterrupt()):
        with pytest.raises(type(step)):
            bench.play(step)
    bench.play(404)
    assert bench.share() == 0.0
    with pytest.raises(ConnectionResetError):
        bench.play("fail")
    bench.play(503)
    assert bench.share() == pytest.approx((3 - 2 * 1) / 4)


def test_two_minutes_are_remembered() -> None:
    """What happened before that is forgotten."""
    bench = Bench(draw=1.0)
    for _ in range(20):
        bench.play(503)
    bench.clock.advance(100.0)
    assert bench.share() == 0.9
    bench.clock.advance(20.0)
    assert bench.share() == 0.0


def test_a_resend_that_is_throttled_is_not_the_outcome() -> None:
    """The call was sent: its own outcome goes up, and no rejection is told."""
    clock, told = FakeClock(), RecordingListener()
    draws = iter([0.5, 0.0])  # the pause, then the throttle's draw at the second attempt
    settings = ResilienceSettings(throttle=1.0)
    pipeline = standard("http://peer", settings, Tools(clock=clock, emit=told, jitter=lambda: next(draws)))
    wire = ScriptedWire(503, clock=clock)
    assert pipeline.run_sync(wire.call()).status == 503
    assert (wire.sent, told.of(CallRejected)) == ([1], [])


def test_the_breaker_takes_no_notice() -> None:
    """A refusal here is no failure of the peer."""
    bench = Bench(draw=1.0)
    breaker = CircuitBreaker("http://peer", tools=bench.tools)
    bench.play(503)
    bench.draw = 0.0
    with pytest.raises(Throttled):
        Pipeline(breaker, bench.throttle).run_sync(ScriptedWire().call())
    assert breaker.counts()[1] == 0


def test_a_peer_that_takes_a_part_gets_about_twice_that_part() -> None:
    """100 calls a second for two minutes to a peer that takes 10: with K = 2 about 20 reach it; healed, all do."""
    clock, dice = FakeClock(), random.Random(7)
    throttle = Throttle("http://peer", 2.0, tools=Tools(clock=clock, jitter=dice.random))
    pipeline = Pipeline(throttle)

    def second(takes: int) -> int:
        wire = ScriptedWire(*["ok"] * takes, 503, clock=clock)
        for _ in range(100):
            clock.advance(0.01)
            try:
                pipeline.run_sync(wire.call(resend=Resend.UNSAFE))
            except Throttled:
                continue
        return len(wire.sent)

    for _ in range(240):
        second(10)
    arrived = sum(second(10) for _ in range(20)) / 20
    assert 17 <= arrived <= 23
    for _ in range(240):
        second(100)
    assert second(100) == 100


def test_what_it_prints() -> None:
    """K, and how far it looks back."""
    assert repr(Throttle("x", 1.5)) == "Throttle(K = 1.5, 120 s)"
