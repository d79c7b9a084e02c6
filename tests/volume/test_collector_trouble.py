"""A collector that is killed, and one that is frozen, under load: a short run of `tests.volume.collector_trial`."""

from pathlib import Path

import pytest

from tests.volume.collector_trial import KINDS, Outcome, trial


@pytest.fixture(scope="module")
def outcomes(jaeger_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    return trial(jaeger_binary, tmp_path_factory.mktemp("collector"), seconds=8, rate=150)


@pytest.mark.jaeger
@pytest.mark.xdist_group("collector")
@pytest.mark.parametrize("kind", KINDS)
def test_requests_and_exit_do_not_depend_on_the_collector(outcomes: dict[str, Outcome], kind: str) -> None:
    """No request fails, the process does not wait for the collector at its end, and there is one line about it."""
    found = outcomes[kind]
    assert (found.requests > 100, found.failures) == (True, 0)
    assert found.exit < 9  # flush_timeout is 1.5 s, an export's own limit 10 s; the rest is a busy machine
    assert len(found.lines) == (kind != "healthy"), found.lines
