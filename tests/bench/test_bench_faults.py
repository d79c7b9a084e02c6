"""The table of faults, and peers that are optional."""

import pytest

from bench import __main__ as bench_main
from bench import contenders
from bench.fault_scenarios import SCENARIOS
from bench.fault_ways import WAYS
from bench.faults import outcome

OURS = {
    "client-each": "10",
    "neighbour": "100",
    "charges": "100 charges, 20 failed",
    "charges-keyed": "100 charges, 0 failed",
    "half-open": "1",
    "cancelled": "5 of 5",
}


@pytest.mark.parametrize("scenario", OURS)
def test_handrail_in_faults(scenario):
    """What docs/compared.md says of handrail comes out of a run."""
    assert outcome(scenario, "handrail") == OURS[scenario]


def test_a_dead_peer_is_soon_left_alone():
    """Ten failures open the breaker; who was under way then, of twenty, had left already."""
    assert 10 <= int(outcome("dead", "handrail")) <= 40


def test_a_caller_who_is_short_of_time_is_answered_in_time():
    """The deadline ends the call, not before its time, and the peer was told of it."""
    said, tries = outcome("deadline", "handrail"), 1
    while "not" in said and tries < 5:  # a machine that stands still may spend the 0.3 s before the call leaves
        said, tries = outcome("deadline", "handrail"), tries + 1
    took, rest = said.split(" ", 1)
    assert rest == "s (504), told"  # an answer of the peer would be a 200
    assert float(took) > 0.25


def test_the_scenarios_tell_stacks_apart():
    """A scenario in which everybody comes out alike would show nothing."""
    assert outcome("half-open", "by-hand") == "200"
    assert outcome("cancelled", "by-hand") == "0 of 5"
    assert outcome("charges", "by-hand") != OURS["charges"]


def test_every_scenario_and_way_says_what_it_is():
    """The table has no two lines or columns of one name."""
    assert len({(one.title, one.counted) for one in SCENARIOS.values()}) == len(SCENARIOS)
    assert len({way.title for way in WAYS.values()}) == len(WAYS)


def test_a_peer_that_is_not_installed_is_left_out_and_named(monkeypatch, capsys):
    """Nobody needs httpware or interlock-cb to run the bench."""
    monkeypatch.setattr(contenders, "find_spec", lambda _module: None)
    monkeypatch.setattr("sys.argv", ["bench", "peers", "--quick"])
    assert bench_main.main() == 0
    told = capsys.readouterr()
    assert "peers httpware is left out: httpware is not installed" in told.err
    assert "peers interlock-span is left out: interlock is not installed" in told.err
    assert not told.out
