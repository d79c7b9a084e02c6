"""What instances make of each other's votes, without threads and by one clock."""

import logging
from dataclasses import replace
from functools import partial

import pytest

from handrail.resilience import ResilienceSettings
from handrail.resilience.events import CircuitChanged
from handrail.resilience.state import shared as room
from handrail.resilience.state._outage import Outage
from handrail.resilience.state._votes import LONGEST, Vote, Voter
from handrail.resilience.testing import FakeClock
from tests.resilience_state.instances import PEER, SETTINGS, Bench, Instance, Memory


def test_two_that_opened_open_the_third() -> None:
    """With a quorum of two, a third instance opens without a call of its own, and says why."""
    bench = Bench("abc")
    one, two, three = bench.instances
    one.fail()
    two.fail()
    bench.turn()
    assert bench.states == ["open"] * 3
    assert (one.causes, two.causes, three.causes) == (["failures"], ["failures"], ["shared"])
    assert three.call() == []


def test_one_alone_opens_nobody() -> None:
    """One bad node does not take the peer away from all: gobreaker#85."""
    bench = Bench("aaab")
    for instance in bench.instances[:1]:
        instance.fail()
    bench.turn()
    assert bench.states == ["open", "closed", "closed", "closed"]


def test_one_bad_machine_opens_only_itself() -> None:
    """All workers of a machine without DNS vote: their neighbours follow, other machines do not."""
    bench = Bench("aaab")
    for instance in bench.instances[:2]:
        instance.fail()
    bench.turn()
    assert bench.states == ["open", "open", "open", "closed"]


def test_an_opening_by_others_is_no_vote() -> None:
    """What was heard is not told on: two that opened never become three."""
    bench = Bench("abcd", quorum=2)
    for instance in bench.instances[:2]:
        instance.fail()
    bench.turn()
    bench.turn()
    assert len(bench.store.held[PEER]) == 2


def test_a_failed_probe_of_ones_own_is_a_vote() -> None:
    """The third has seen it by itself now."""
    bench = Bench("abc")
    for instance in bench.instances[:2]:
        instance.fail()
    bench.turn()
    bench.clock.advance(10.0)
    assert bench.instances[2].call(503) == [1]
    bench.turn()
    assert bench.instances[2].shared.voter in {vote.voter for vote in bench.store.held[PEER].values()}


def test_a_good_probe_closes_and_old_votes_do_not_open_again() -> None:
    """Each probes by itself; what others said before its success is old, what they say after it is not."""
    bench = Bench("abc")
    one, two, three = bench.instances
    one.fail()
    two.fail()
    three.shared._jitter = lambda: 0.0  # it is the first to probe
    bench.turn()
    bench.clock.advance(5.0)
    assert three.call("ok") == [1]
    three.shared._jitter = lambda: 0.5
    for _ in range(3):
        bench.turn()
        bench.clock.advance(1.0)
    assert bench.states == ["open", "open", "closed"]
    bench.clock.advance(2.0)
    one.call(503)
    two.call(503)
    bench.turn()
    assert bench.states == ["open", "open", "open"]
    assert three.causes == ["shared", "shared"]


def test_a_good_probe_withdraws_the_vote() -> None:
    """Whoever found the peer well again no longer speaks against it."""
    bench = Bench("ab")
    bench.instances[0].fail()
    bench.turn()
    assert len(bench.store.held[PEER]) == 1
    bench.clock.advance(10.0)
    bench.instances[0].call("ok")
    bench.turn()
    assert bench.store.held[PEER] == {}


def test_who_sees_it_work_is_not_talked_out_of_it() -> None:
    """With enough good calls of its own an instance stays closed, whatever others say; with too few it follows."""
    bench = Bench("abcd")
    one, two, busy, quiet = bench.instances
    busy.call("ok", times=4)
    quiet.call("ok", times=3)
    one.fail()
    two.fail()
    bench.turn()
    assert bench.states == ["open", "open", "closed", "open"]


def test_the_probes_of_many_are_spread() -> None:
    """An opening by others lasts from a half to the whole of what is left, by chance, and never longer."""
    clock = FakeClock()
    store = Memory(clock)
    voters = [Instance(lambda: store, name, clock) for name in "ab"]
    for instance in voters:
        instance.fail()
        instance.shared.round(store)
    clock.advance(4.0)
    waits = []  # of the 6 seconds that are left
    for jitter in (0.0, 0.5, 1.0):
        late = Instance(lambda: store, "c", clock)
        late.shared._jitter = partial(float, jitter)
        late.breaker()
        late.shared.round(store)
        waits.append(late.breaker().retry_after())
    assert waits == pytest.approx([3.0, 4.5, 6.0], abs=0.01)


def test_never_longer_than_the_own_setting() -> None:
    """Others may have grown patient; here the time is `breaker_open_for` at most."""
    clock = FakeClock()
    store = Memory(clock)
    patient = ResilienceSettings(attempts=1, breaker_minimum_calls=4, breaker_open_for=500.0, breaker_open_max=500.0)
    for name in "ab":
        instance = Instance(lambda: store, name, clock, settings=patient)
        instance.call(times=4)
        instance.shared.round(store)
    late = Instance(lambda: store, "c", clock)
    late.breaker()
    late.shared.round(store)
    assert late.breaker().retry_after() == pytest.approx(7.5)


def test_votes_end_with_the_open_time() -> None:
    """What a dead instance said holds as long as its breaker would have been open."""
    bench = Bench("abc")
    for instance in bench.instances[:2]:
        instance.fail()
        instance.shared.round(bench.store)
    bench.clock.advance(10.5)
    bench.turn()
    assert bench.instances[2].breaker().state == "closed"


def test_what_a_person_did_is_no_vote() -> None:
    """An isolation by hand stays where it was made."""
    bench = Bench("ab")
    bench.instances[0].shared.heard(CircuitChanged(PEER, "", "closed", "open", 0.0, 0, 60.0, "manual"))
    bench.turn()
    assert bench.store.held == {}


def test_a_store_that_forgot_is_told_again() -> None:
    """Votes are put down again after a while, and at once after an outage."""
    bench = Bench("a")
    bench.instances[0].fail()
    bench.turn()
    bench.store.held = {}
    bench.turn()
    assert bench.store.held == {}
    bench.clock.advance(room.REFRESH)
    bench.turn()
    assert len(bench.store.held[PEER]) == 1


def test_what_could_not_be_told_is_told_later() -> None:
    """A round that fails loses nothing: neither a vote nor its withdrawal."""
    bench = Bench("a")
    (one,) = bench.instances
    bench.store.down = True
    one.fail()
    with pytest.raises(ConnectionError):
        bench.turn()
    bench.store.down = False
    bench.turn()
    assert len(bench.store.held[PEER]) == 1
    bench.clock.advance(10.0)
    one.call("ok")
    bench.store.down = True
    with pytest.raises(ConnectionError):
        bench.turn()
    bench.store.down = False
    bench.turn()
    bench.turn()
    assert bench.store.held[PEER] == {}
    assert bench.store.withdrawn == 1


def test_what_is_over_is_forgotten() -> None:
    """Of origins that failed once nothing stays behind: not the vote when it has ended, not the closing."""
    bench = Bench("a")
    (one,) = bench.instances
    one.fail()
    one.fail("other")
    bench.turn()
    bench.clock.advance(11.0)
    one.call("ok")
    bench.turn()
    assert (set(one.shared._mine), set(one.shared._closed)) == (set(), {PEER})
    bench.clock.advance(LONGEST)
    bench.turn()
    assert one.shared._closed == {}


def test_a_breaker_that_stays_open_for_a_day_votes_for_an_hour() -> None:
    """What is said ends in a time that people can wait for."""
    bench = Bench("a")
    bench.instances[0].shared.heard(CircuitChanged(PEER, "GET", "closed", "open", 1.0, 10, 86_400.0))
    bench.turn()
    (vote,) = bench.store.held[PEER].values()
    assert vote.ends - vote.begins == LONGEST


def test_the_breaker_of_a_path_is_one_of_its_own() -> None:
    """`breaker_routes`: votes on a path open the breaker of that path, and not that of the origin."""
    clock = FakeClock()
    store = Memory(clock)
    settings = replace(SETTINGS, breaker_routes=("/charges/*",))
    made = [Instance(lambda: store, name, clock, settings=settings) for name in "abc"]
    routes = [one.registry.pipeline("http", "peer", 80).route("/charges/7").breaker for one in made]
    for instance, route in zip(made[:2], routes, strict=False):
        instance.shared.heard(CircuitChanged(route.target, "GET", "closed", "open", 1.0, 10, 10.0))
    for instance in made:
        instance.shared.round(store)
    assert routes[2].state == "open"
    assert made[2].breaker().state == "closed"


def test_a_round_is_bounded_however_many_origins_there_are() -> None:
    """1,000 origins that two others gave up: read in portions, and each only until its breaker is open."""
    clock = FakeClock()
    store = Memory(clock)
    voters = [Instance(lambda: store, name, clock) for name in "ab"]
    late = Instance(lambda: store, "c", clock)
    for number in range(1000):
        for voter in voters:
            voter.fail(f"peer{number}")
        late.breaker(f"peer{number}")
    for voter in voters:
        voter.shared.round(store)
    store.asked.clear()
    for _ in range(10):
        late.shared.round(store)
    assert [len(targets) for targets in store.asked] == [room.AT_ONCE] * 10
    late.shared.round(store)
    assert len(store.asked) == 10
    assert {entry.breaker.state for entry in late.registry.entries()} == {"open"}


def test_a_crowd_on_one_machine_hides_no_vote() -> None:
    """64 workers of a bad machine speak loudest, and last; the two votes behind them are read all the same."""
    bench = Bench("c")
    bench.store.held[PEER] = {
        str(vote): vote
        for number in range(66)
        for vote in [
            Vote(
                Voter("bad" if number < 64 else f"machine{number}", str(number)),
                bench.clock.wall(),
                bench.clock.wall() + (500.0 if number < 64 else 9.0),
            )
        ]
    }
    bench.turn()
    assert bench.states == ["open"]
    assert bench.store.asked == [[PEER], [PEER]]


def test_unknown_origins_are_not_asked_for() -> None:
    """What this instance never called does not concern it."""
    bench = Bench("ab")
    bench.instances[0].fail("elsewhere")
    bench.turn()
    bench.turn()
    assert bench.store.asked == []


def test_an_outage_is_one_warning_and_one_line_at_its_end(caplog: pytest.LogCaptureFixture) -> None:
    """A store that comes and goes is one outage, however often a round fails."""
    clock = FakeClock()
    outage = Outage("redis://store", clock.now)
    with caplog.at_level(logging.INFO, "handrail"):
        for trouble in ("refused", "refused", "", "timeout", "", "", ""):
            outage.told(trouble)
            clock.advance(1.0)
        outage.told("")
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "redis://store: refused" in caplog.text
