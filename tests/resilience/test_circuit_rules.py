"""What opens a breaker besides failures, and for how long."""

from math import ceil

import pytest

from handrail.resilience import CircuitBreaker, CircuitOpen, Pipeline, Tools
from handrail.resilience._circuit_rules import Rules
from handrail.resilience.events import CircuitChanged
from handrail.resilience.testing import FakeClock, Reply, ScriptedWire
from tests.resilience.circuit_bench import Bench

both = pytest.mark.parametrize("on_loop", [True, False], ids=["loop", "thread"])


@both
def test_slow_calls_open_it(on_loop: bool) -> None:
    """Three slow ones of four are enough, failed or not; the error and the event say that it was slowness."""
    bench = Bench(slow_call=2.0, slow_rate=0.75)
    for step, takes in (("ok", 2.0), ("ok", 1.9), ("ok", 2.0)):
        bench.play(step, on_loop, takes=takes)
    assert bench.breaker.state == "closed"
    bench.play(503, on_loop, takes=2.0)
    assert bench.breaker.state == "open"
    (changed,) = bench.told.of(CircuitChanged)
    assert (changed.cause, changed.failure_rate, changed.calls) == ("slow_calls", 0.25, 4)
    with pytest.raises(CircuitOpen, match="75 % of 4 calls in the last 10 s took 2 s or longer; next probe in 5"):
        bench.play("ok", on_loop)


def test_slowness_is_not_asked_for_unless_it_is_set() -> None:
    """Off, the clock is read once for each call that goes well; on, twice."""

    class Counting(FakeClock):
        reads = 0

        def now(self) -> float:
            self.reads += 1
            return super().now()

    for slow_call, expected in ((0.0, 1), (1.0, 2)):
        clock = Counting()
        breaker = CircuitBreaker("http://peer", Rules(slow_call=slow_call), tools=Tools(clock=clock))
        pipeline = Pipeline(breaker)
        pipeline.run_sync(ScriptedWire("ok").call())
        clock.reads = 0
        pipeline.run_sync(ScriptedWire("ok").call())
        assert clock.reads == expected


def test_a_slow_probe_closes_nothing() -> None:
    """A peer that is still slow is not well: what opened the circuit would open it again."""
    bench = Bench(slow_call=2.0).opened()
    bench.clock.advance(5.0)
    bench.play("ok", takes=2.0)
    assert bench.breaker.state == "open"
    with pytest.raises(CircuitOpen, match="the probe took 2 s or longer"):
        bench.play("ok")


def test_a_cancelled_or_foreign_slow_call_says_nothing() -> None:
    """What is neutral is neutral, however long it took."""
    bench = Bench(slow_call=2.0)
    for _ in range(8):
        with pytest.raises(ValueError, match="ours"):
            bench.play(ValueError("ours"), takes=9.0)
    assert bench.breaker.counts() == (0.0, 0)


def test_the_open_time_doubles_with_each_failed_probe() -> None:
    """5, 10, 20 and no more; the events and the error tell the real one."""
    bench = Bench(open_max=20.0).opened()
    for seconds in (5.0, 10.0, 20.0, 20.0):
        assert bench.breaker.retry_after() == seconds
        assert bench.told.of(CircuitChanged)[-1].open_for == seconds
        bench.clock.advance(seconds)
        bench.play(503)
    assert bench.causes == ["failures"] + ["probe", "probe"] * 4


@pytest.mark.parametrize(("told", "seconds"), [("2", 2.0), ("19", 19.0), ("3600", 20.0), ("0", 10.0), ("soon", 10.0)])
def test_a_probe_that_is_told_when_to_come_back_does(told: str, seconds: float) -> None:
    """`Retry-After` sets the next time, shorter or longer, up to the longest; what says nothing does not."""
    bench = Bench(open_max=20.0).opened()
    bench.clock.advance(5.0)
    bench.pipeline.run_sync(ScriptedWire(Reply(503, told)).call())
    assert bench.breaker.retry_after() == seconds
    bench.clock.advance(seconds)
    bench.play(503)
    assert bench.breaker.retry_after() == (10.0 if seconds != 10.0 else 20.0)


def test_a_chain_of_breakers_heals_at_once() -> None:
    """Each waits for the one behind it, not for a time of its own: all are back when the last one probes."""
    clock = FakeClock()
    draws = iter([0.9, 0.1, 0.5] * 100)
    tools = Tools(clock=clock, jitter=lambda: next(draws))
    chain = [CircuitBreaker(f"http://hop{n}", Rules(ramp=0), tools=tools) for n in range(3)]
    last = [503]

    def ask(hop: int) -> Reply:
        if hop == len(chain):
            return Reply(last[0])
        try:
            found = Pipeline(chain[hop]).run_sync(ScriptedWire(lambda: ask(hop + 1)).call())
        except CircuitOpen as error:
            return Reply(503, str(ceil(error.retry_after or 0)))
        return found

    for _ in range(50):  # as long as it takes to grow
        for _ in range(20):
            ask(0)
        clock.advance(5.0)
    last[0], healed = 200, clock.now()
    due = healed + chain[-1].retry_after()
    while ask(0).status != 200:
        clock.advance(0.1)
    assert clock.now() - max(due, healed) < 2.0


def test_the_open_time_starts_again_after_a_window_that_went_well() -> None:
    """One that opens again at once has not healed: it goes on where it was. After a window it is forgotten."""
    bench = Bench().opened()
    for seconds in (5.0, 10.0):
        bench.clock.advance(seconds)
        bench.play(503)
    bench.clock.advance(20.0)
    bench.play("ok")
    bench.opened()
    assert bench.breaker.retry_after() == 20.0
    bench.clock.advance(20.0)
    bench.play("ok")
    bench.clock.advance(10.0)
    bench.opened()
    assert bench.breaker.retry_after() == 5.0


@pytest.mark.parametrize(("draw", "seconds"), [(0.0, 4.5), (0.5, 5.0), (0.999_999, 5.5)])
def test_chance_sways_the_open_time_by_a_tenth(draw: float, seconds: float) -> None:
    """Many workers that opened together do not probe in step."""
    bench = Bench()
    bench.draw = draw
    assert bench.opened().breaker.retry_after() == pytest.approx(seconds, abs=1e-4)


def test_a_quiet_service_notices_a_dead_peer() -> None:
    """One call a minute never fills a window: as many failures in a row as calls are needed in one open it too."""
    bench = Bench()
    for _ in range(3):
        bench.play(503)
        bench.clock.advance(60.0)
    assert bench.breaker.state == "closed"
    bench.play(503)
    assert bench.breaker.state == "open"
    with pytest.raises(CircuitOpen, match="the last 4 calls failed; next probe"):
        bench.play("ok")


def test_a_busy_service_notices_a_dead_peer_at_once() -> None:
    """A window full of successes outweighs seconds of failures: twice as many failures in a row as calls are needed."""
    bench = Bench()
    for _ in range(1000):
        bench.play("ok")
    for _ in range(7):
        bench.play(503)
    assert bench.breaker.state == "closed"
    bench.play(503)
    with pytest.raises(CircuitOpen, match="the last 8 calls failed; next probe"):
        bench.play("ok")


def test_a_success_in_between_breaks_the_row() -> None:
    """A quiet peer that answers now and then is not dead."""
    bench = Bench()
    for step in (503, 503, 503, "ok", 503, 503, 503):
        bench.play(step)
        bench.clock.advance(60.0)
    assert bench.breaker.state == "closed"


def test_a_slow_success_ends_a_row_of_failures() -> None:
    """What makes the breaker look again at old failures is a success all the same."""
    bench = Bench(slow_call=2.0)
    for step in ("ok",) * 5 + (503,) * 4:
        bench.play(step)
    bench.clock.advance(10.0)
    bench.play("ok", takes=2.0)
    assert bench.breaker.state == "closed"


def test_a_busy_service_is_judged_by_the_rate_alone() -> None:
    """Chance makes rows of failures where there are many calls: beside enough successes they open nothing."""
    bench = Bench()
    for step in ("ok",) * 9 + (503,) * 7:
        bench.play(step)
    assert bench.breaker.state == "closed"


def test_other_numbers_keep_the_state() -> None:
    """New settings neither let an open circuit go nor undo a hand; they hold from the next call on."""
    bench = Bench().opened()
    bench.breaker.retune(Rules(minimum_calls=2, window=20.0, open_for=1.0, ramp=0))
    assert bench.breaker.retry_after() == 5.0
    bench.clock.advance(5.0)
    bench.play("ok")
    bench.play(503)
    assert bench.breaker.state == "closed"
    bench.play(503)
    assert bench.breaker.state == "open"
    bench.breaker.isolate()
    bench.breaker.retune(Rules())
    assert bench.breaker.isolated


def test_repr_names_what_is_on() -> None:
    """Slow calls are in it where they count; a time that does not grow is one number."""
    rules = Rules(slow_call=2.0, slow_rate=0.8, open_max=15.0)
    assert str(rules) == "50 % of >= 10 calls in 30 s, 80 % slow from 2 s, open 15 s, 1 probe"
