"""A loop that is held for a while, and a watch with a bound that suits a busy machine."""

import threading
import time
from collections.abc import Iterator

import pytest

from handrail.tracing.blocked import LoopWatch

BOUND = 0.1


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
