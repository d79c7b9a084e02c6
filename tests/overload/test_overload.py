"""The overload in small: a few seconds, a pool of few slots; `python -m tests.overload.trial` is the whole of it."""

import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.overload.customers import BROKEN, IMPATIENT, Phase, Seen
from tests.overload.figures import figures, late, recovery
from tests.overload.run import STACKS, Kind, Outcome, Plan, overload
from tests.overload.trial import misses

SMALL = Kind("pool", 4, 0.1, 5)
"""Forty a second: what a slow machine bears three times over, with its customers."""
PLAN = Plan(capacity=0, unloaded=2, peak=0, overload=8, settled=4, after=0)
CAPACITY = 40.0


def test_a_service_that_sheds_goes_on_serving(tmp_path: Path) -> None:
    """Asked for three times its capacity, it serves more within the patience of its customers than without, once its
    queue is full, and nearly all of what matters most.
    """
    with ThreadPoolExecutor() as both:  # one machine, the same noise for both
        runs = {stack: both.submit(overload, SMALL, stack, PLAN, tmp_path / stack, CAPACITY) for stack in STACKS[:2]}
        with_it, without = (run.result() for run in runs.values())
    assert with_it.overload.offered > 2 * CAPACITY
    assert with_it.overload.broken == with_it.overload.failed == 0
    assert with_it.overload.refused > 0
    assert without.overload.refused == 0
    assert with_it.settled.goodput > 1.5 * without.settled.goodput
    assert with_it.settled.priority >= 0.7  # all of it where nothing else runs
    assert with_it.settled.priority > with_it.settled.sheddable
    assert with_it.settled.priority > without.settled.priority


def seen(due: float, status: int = 200, took: float = 0.1, kind: str = "plain") -> Seen:
    return Seen(kind, due, 0.002, took, status)


def test_figures_are_of_what_was_asked() -> None:
    """Goodput and shares count requests that were asked, times those that were answered 200."""
    phase = Phase(0, seconds=2.0, rate=4)
    asked = [
        seen(0.1),
        seen(0.5, 503, 0.01),
        seen(1.0, IMPATIENT),
        seen(1.1, BROKEN),
        seen(1.5, 500),
        seen(1.9, took=0.3),
    ]
    found = figures(phase, [*asked, seen(1.2, kind="priority"), seen(1.3, 503, kind="priority")])
    assert (found.offered, found.goodput) == (4.0, 1.5)
    assert (found.refused, found.impatient, found.broken, found.failed) == (2, 1, 1, 1)
    assert [found.p50, found.p99] == pytest.approx([100, 300])
    assert [found.priority, found.plain] == pytest.approx([0.5, 1 / 3])
    assert math.isnan(found.sheddable)
    assert figures(phase, asked, since=1.0).goodput == 1.0
    assert late(asked) == pytest.approx(2)


def test_recovered_is_who_answers_as_before() -> None:
    """It is the first second in which nearly all is answered within the bound, and None where there is none."""
    phase = Phase(0, seconds=6.0, rate=10)
    ill = [seen(number / 10, took=0.9) for number in range(20)]
    well = [seen(2 + number / 10) for number in range(40)]
    assert recovery(phase, ill + well, 150) == pytest.approx(2.0, abs=0.11)
    assert recovery(phase, well, 150) == 0.0 or recovery(phase, [seen(0.0), *well], 150) == 0.0
    assert recovery(phase, ill, 150) is None


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_the_trial_sees_a_service_that_does_not_serve(share: float) -> None:
    """It can fail: refused priority traffic, and less goodput, are told."""
    phase = Phase(0, seconds=1.0, rate=100)
    well = figures(phase, [seen(number / 100, kind="priority") for number in range(100)])
    asked = [seen(number / 100, 200 if number < 100 * share else 503, kind="priority") for number in range(100)]
    loaded = figures(phase, asked)
    said = misses(Outcome(100.0, well, well, loaded, loaded, 1.0, 0.0))
    assert bool(said) is (share < 1)
