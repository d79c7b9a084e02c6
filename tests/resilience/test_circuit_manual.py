"""What a hand, and what other instances, may do to a breaker."""

from math import inf

import pytest

from handrail.resilience import CircuitBreaker, CircuitOpen
from handrail.resilience.events import CallRejected, CircuitChanged
from handrail.resilience.testing import Reply, ScriptedWire
from tests.resilience.circuit_bench import Bench


def test_isolated_it_stays_open_whatever_the_time() -> None:
    """No probe, no time to come back at; the text says that it was a hand."""
    bench = Bench()
    assert bench.breaker.isolate()
    bench.clock.advance(1e6)
    with pytest.raises(CircuitOpen, match=r"isolated by hand, until it is closed by hand$") as refused:
        bench.play("ok")
    assert refused.value.retry_after is None
    assert bench.told.of(CallRejected)[-1].retry_after is None
    (changed,) = bench.told.of(CircuitChanged)
    assert (changed.before, changed.after, changed.cause, changed.open_for) == ("closed", "open", "manual", 0.0)


def test_others_neither_shorten_an_isolation_nor_end_it() -> None:
    """What other instances know is nothing against a hand, nor against an open time that runs."""
    bench = Bench()
    bench.breaker.isolate()
    assert not bench.breaker.force_open(1.0)
    bench.clock.advance(2.0)
    assert bench.breaker.isolated
    with pytest.raises(CircuitOpen):
        bench.play("ok")


@pytest.mark.parametrize("late", ["ok", 503])
def test_a_call_under_way_undoes_no_isolation(late: str | int) -> None:
    """Neither an ordinary call nor a probe that was sent before changes anything when it comes back."""
    for bench in (Bench(), Bench().opened()):
        bench.clock.advance(5.0)

        def isolating(breaker: CircuitBreaker = bench.breaker) -> Reply:
            breaker.isolate()
            return Reply(200 if late == "ok" else 503)

        bench.pipeline.run_sync(ScriptedWire(isolating).call())
        assert (bench.breaker.state, bench.breaker.isolated) == ("open", True)
        assert bench.breaker.retry_after() == inf


def test_close_lets_calls_through_by_degrees() -> None:
    """Closed by hand it ramps; what fails then opens it for longer, for it was opened a moment ago."""
    bench = Bench(ramp=8).opened()
    assert bench.breaker.close()
    assert not bench.breaker.close()
    assert bench.breaker.recovering
    for _ in range(2):
        bench.play(503)
    assert bench.breaker.retry_after() == 10.0
    assert bench.causes == ["failures", "manual", "failures"]


def test_reset_forgets_everything() -> None:
    """Closed, with no counts, no ramp and the first open time; on a closed one it says so and forgets as well."""
    bench = Bench(ramp=8).opened()
    assert bench.breaker.reset()
    assert not bench.breaker.recovering
    for _ in range(3):
        bench.play(503)
    assert not bench.breaker.reset()
    assert bench.breaker.counts() == (0.0, 0)
    bench.opened()
    assert bench.breaker.retry_after() == 5.0


def test_what_others_know_opens_a_closed_one() -> None:
    """For the time that they say, with a probe after; the error says where it comes from."""
    bench = Bench()
    assert bench.breaker.force_open(3.0)
    assert not bench.breaker.force_open(9.0)
    with pytest.raises(CircuitOpen, match=r"other instances opened theirs; next probe in 3\.0 s"):
        bench.play("ok")
    (changed,) = bench.told.of(CircuitChanged)
    assert (changed.cause, changed.open_for) == ("shared", 3.0)
    bench.clock.advance(3.0)
    bench.play(503)
    assert bench.breaker.retry_after() == 5.0  # the first failure that was seen here


def test_what_others_know_opens_a_ramping_one() -> None:
    """It is closed too, and its peer is no better known."""
    bench = Bench(ramp=8).closed_again()
    assert bench.breaker.force_open(3.0)
    assert (bench.breaker.state, bench.breaker.recovering) == ("open", False)
