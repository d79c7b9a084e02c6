"""A loop that is held for a while, and a watch with a bound that suits a busy machine."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol

from handrail.tracing.blocked import LoopWatch

BOUND = 0.1
TRIES = 3


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Here a test fails when it fails three times: a machine that stands still hides a hold, or is one."""
    if item.path.parent != Path(__file__).parent:
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports, tries = runtestprotocol(item, log=False, nextitem=nextitem), 1
    while any(report.failed for report in reports) and tries < TRIES:
        reports, tries = runtestprotocol(item, log=False, nextitem=nextitem), tries + 1
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


class Holder:
    """Holds the thread that calls `hold` until the watch's thread has had its time to see it."""

    def __init__(self) -> None:
        self._never = threading.Event()

    def hold(self, seconds: float = 4 * BOUND) -> None:
        """As time.sleep does: the GIL is free."""
        self._never.wait(seconds)

    def compute(self, seconds: float = 4 * BOUND) -> int:
        """As a long loop in Python does."""
        ends, count = time.monotonic() + seconds, 0
        while time.monotonic() < ends:
            count += 1
        return count


@pytest.fixture
def holder() -> Holder:
    return Holder()


@pytest.fixture
def told() -> list[float]:
    """The seconds of each hold, as the metric is told."""
    return []


@pytest.fixture
def watch(told: list[float]) -> Iterator[LoopWatch]:
    """A watch that ends with the test."""
    made = LoopWatch(BOUND, told.append)
    yield made
    made.end()
