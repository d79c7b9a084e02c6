"""The circuit breaker: when it opens, whom it lets through, what it says."""

from contextlib import suppress

import pytest

from handrail.resilience import BulkheadFull, Call, CircuitOpen
from handrail.resilience.classify import NETWORK
from handrail.resilience.events import CallRejected, CircuitChanged
from handrail.resilience.testing import Reply, ScriptedWire
from tests.resilience.circuit_bench import Bench

both = pytest.mark.parametrize("on_loop", [True, False], ids=["loop", "thread"])


@both
def test_it_opens_at_the_rate_and_not_below(on_loop: bool) -> None:
    """Two of five is below one half; three of six is not."""
    bench = Bench()
    for step in ("ok", "ok", "ok", 503, 503):
        bench.play(step, on_loop)
    assert bench.breaker.state == "closed"
    assert bench.breaker.counts() == (0.4, 5)
    bench.play(503, on_loop)
    assert bench.breaker.state == "open"
    assert bench.breaker.counts() == (0.5, 6)
    assert bench.told.events == [
        CircuitChanged("http://peer", "GET", "closed", "open", failure_rate=0.5, calls=6, open_for=5.0)
    ]


def test_it_never_opens_below_the_minimum_of_calls() -> None:
    """Three failures of three calls are too few to tell."""
    bench = Bench()
    for _ in range(3):
        bench.play(503)
    assert (bench.breaker.state, bench.breaker.failure_rate()) == ("closed", 1.0)


def test_failures_leave_the_window() -> None:
    """What is older than the window opens nothing."""
    bench = Bench()
    for _ in range(3):
        bench.play(503)
    bench.clock.advance(10.0)
    bench.play("ok")
    bench.play(503)
    assert bench.breaker.state == "closed"
    assert bench.breaker.counts() == (0.5, 2)


@pytest.mark.parametrize("step", [404, 200, ValueError(), KeyboardInterrupt()])
def test_what_says_nothing_against_the_peer_opens_nothing(step: int | BaseException) -> None:
    """Client errors are successes; foreign exceptions and interrupts do not count at all."""
    bench = Bench()
    for _ in range(20):
        with suppress(ValueError, KeyboardInterrupt):
            bench.play(step)
    assert bench.breaker.counts() == (0.0, 20 if isinstance(step, int) else 0)


@both
def test_an_open_circuit_sends_nothing_and_says_when(on_loop: bool) -> None:
    """CircuitOpen carries the remaining seconds and reads as a sentence; the refusal is told."""
    bench = Bench().opened()
    bench.clock.advance(2.7)
    wire = ScriptedWire("ok", clock=bench.clock)
    with pytest.raises(CircuitOpen) as caught:
        bench.play("ok", on_loop)
    assert caught.value.retry_after == pytest.approx(2.3)
    assert (caught.value.target, caught.value.policy) == ("http://peer", "circuit_breaker")
    assert str(caught.value) == (
        "circuit open for http://peer: 100 % of 4 calls failed in the last 10 s; next probe in 2.3 s"
    )
    assert wire.sent == []
    assert bench.breaker.retry_after() == pytest.approx(2.3)
    (rejected,) = bench.told.of(CallRejected)
    assert (rejected.policy, rejected.error) == ("circuit_breaker", "handrail.CircuitOpen")
    assert rejected.retry_after == pytest.approx(2.3)


@both
def test_a_good_probe_closes(on_loop: bool) -> None:
    """After `open_for` one call goes through; its success closes, with a window that knows nothing."""
    bench = Bench().opened()
    bench.clock.advance(5.0)
    assert bench.play("ok", on_loop).status == 200
    assert bench.breaker.state == "closed"
    assert bench.changes == [("closed", "open"), ("open", "half_open"), ("half_open", "closed")]
    assert bench.breaker.counts() == (0.0, 0)


@both
def test_a_bad_probe_opens_again_for_twice_the_time(on_loop: bool) -> None:
    """The time begins anew, grown; the text says that it was a probe."""
    bench = Bench().opened()
    bench.clock.advance(5.0)
    assert bench.play(503, on_loop).status == 503
    assert bench.changes == [("closed", "open"), ("open", "half_open"), ("half_open", "open")]
    with pytest.raises(CircuitOpen, match=r"the probe failed; next probe in 10\.0 s"):
        bench.play("ok", on_loop)


@both
def test_a_neutral_probe_hands_the_permit_on(on_loop: bool) -> None:
    """A probe that said nothing about the peer leaves the circuit half-open for the very next call."""
    bench = Bench().opened()
    bench.clock.advance(5.0)
    with pytest.raises(ValueError, match="ours"):
        bench.play(ValueError("ours"), on_loop)
    assert bench.breaker.state == "half_open"
    assert bench.breaker.retry_after() == 0
    assert bench.play("ok", on_loop).status == 200
    assert bench.breaker.state == "closed"


def test_a_refusal_further_in_is_neutral() -> None:
    """What a policy inside the breaker refused never reached the peer, whatever the attempt before came to."""
    bench = Bench()

    def full(call: Call[Reply]) -> Reply:
        raise BulkheadFull("full", target=call.target)

    step, call = bench.breaker.wrap_sync(full), ScriptedWire().call()
    call.verdict = NETWORK
    with pytest.raises(BulkheadFull):
        step(call)
    assert bench.breaker.counts() == (0.0, 0)


def test_a_closed_circuit_opens_by_force_and_probes_after() -> None:
    """What others know opens it for the given time; one that is open keeps its own."""
    bench = Bench()
    assert bench.breaker.force_open(3.0)
    assert not bench.breaker.force_open(9.0)
    assert (bench.breaker.state, bench.breaker.retry_after()) == ("open", 3.0)
    (changed,) = bench.told.of(CircuitChanged)
    assert (changed.cause, changed.open_for) == ("shared", 3.0)
    bench.clock.advance(3.0)
    bench.play("ok")
    assert bench.breaker.state == "closed"


def test_repr_states_the_rule() -> None:
    """What `print(pipeline)` shows of it."""
    assert repr(Bench().breaker) == "CircuitBreaker(50 % of >= 4 calls in 10 s, open 5 s to 20 s, 1 probe)"


def test_a_circuit_that_closed_in_between_admits() -> None:
    """A thread that saw it open and asked a moment later gets the permit of the new period."""
    bench = Bench().opened()
    bench.clock.advance(5.0)
    bench.play("ok")
    assert bench.breaker._admit(ScriptedWire().call()) is bench.breaker._window
