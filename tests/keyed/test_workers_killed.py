"""Real workers killed with -9 in the middle of keyed requests: what the ledger says, for each store."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.keyed.killed import Outcome, store_for, trial

stores = pytest.mark.parametrize("store", ["sqlite", "redis", "postgres"])


def killed(store: str, folder: Path, interrupted: str) -> Outcome:
    """What came of forty keys and three killed workers."""
    with ExitStack() as stack:
        url = store_for(store, folder, stack)
        outcome = trial(folder, url, keys=40, kills=3, interrupted=interrupted)
    assert outcome.killed == 3
    return outcome


@stores
def test_a_service_that_keys_its_effects_does_each_once(store: str, tmp_path: Path) -> None:
    """`again`: whoever is killed, each key's effect happened exactly once, and all who asked got the same answer."""
    outcome = killed(store, tmp_path, "again")
    assert outcome.effects == {1: 40}
    assert outcome.answers == {"201": 120}
    assert outcome.differing == []


@stores
def test_any_other_service_does_none_twice(store: str, tmp_path: Path) -> None:
    """`refuse`, the default: no effect twice; each answer the same, a refusal where nobody can know."""
    outcome = killed(store, tmp_path, "refuse")
    assert set(outcome.effects) <= {0, 1}
    assert set(outcome.answers) <= {"201", "409 interrupted"}
    assert outcome.differing == outcome.without == []
