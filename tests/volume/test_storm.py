"""The storm in small: few requests, short times; `python -m tests.volume.storm` is the whole of it."""

from pathlib import Path

import pytest

from tests.volume.storm_run import storm

OPEN_FOR = 2


@pytest.mark.parametrize("mode", ["refused", "silent", "sick"])
def test_a_chain_of_four_adds_no_load_and_heals(tmp_path: Path, mode: str) -> None:
    """What reaches the failing last hop is at most 1.25 x what came in; healed, all is well again."""
    settings = {"HANDRAIL_BREAKER_OPEN_FOR": str(OPEN_FOR), "HANDRAIL_BREAKER_OPEN_MAX": str(OPEN_FOR)}
    # A window shorter than the storm, and less of a share: what went well before pays for some retries in it.
    settings |= {"HANDRAIL_RETRY_BUDGET_WINDOW": "2", "HANDRAIL_RETRY_BUDGET_FLOOR": "1"}
    settings |= {"HANDRAIL_RETRY_BUDGET": "0.15", "STORM_TIMEOUT": "3"}
    found = storm("handrail", mode, tmp_path, rate=60, seconds=5, after=16, settings=settings)
    assert found.good_before >= 0.9  # a busy machine may be late for some
    assert found.inbound == 300
    assert 0 < found.amplification <= 1.25
    assert found.recovery is not None
    assert found.recovery <= OPEN_FOR + 10  # most of it for a busy machine: alone it takes OPEN_FOR + 1 at most
