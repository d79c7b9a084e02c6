"""Thousands of requests over four real services, judged in the real Jaeger: a smaller run of `tests.volume.trial`."""

from pathlib import Path

import pytest

from tests.volume.trial import trial
from tests.volume.verdict import judge, ledger

REQUESTS = 600


@pytest.mark.jaeger
@pytest.mark.xdist_group("volume")
def test_every_piece_of_work_is_in_its_trace_once(jaeger_binary: Path, tmp_path: Path) -> None:
    """One root for each trace, no orphan, nothing missing, nothing twice; a worker was recycled meanwhile."""
    verdict, failures = trial(jaeger_binary, tmp_path, REQUESTS, 50)
    assert verdict.clean, verdict
    assert verdict.traces >= REQUESTS
    assert verdict.noted > 4 * REQUESTS
    assert failures == []


def test_the_judge_sees_each_fault() -> None:
    """The counts above can fail: each kind of fault is counted as what it is."""
    noted = ledger(["t1 a order", "t1 b stock", "t2 c order"])
    good = {"t1": [("a", ""), ("b", "a")], "t2": [("c", "")]}
    assert judge(2, noted, good).clean
    assert judge(2, noted, {**good, "t2": []}).missing == 1
    assert judge(2, noted, {**good, "t2": [("c", "x")]}).orphans == 1
    assert judge(2, noted, {**good, "t2": [("c", "x")]}).without_root == 1
    assert judge(2, noted, {**good, "t2": [("c", ""), ("d", "")]}).several_roots == 1
    assert judge(2, noted, {**good, "t2": [("c", ""), ("c", "")]}).doubled == 1
    assert judge(2, noted, {**good, "t3": [("e", "")]}).strange == 1
