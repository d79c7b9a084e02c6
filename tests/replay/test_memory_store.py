"""The store of the tests obeys the rules of all stores: others are compared with it."""

import pytest

from handrail.resilience.replay.testing import MemoryBackend
from handrail.resilience.testing import FakeClock
from tests.replay.backend_rules import BackendRules, BoundRules, Rig


class TestMemory(BackendRules, BoundRules):
    """In memory, by a clock of the test."""

    @pytest.fixture
    def rig(self) -> Rig:
        """One store; all connections are the same."""
        clock = FakeClock()
        store = MemoryBackend(clock)

        def bounded(most: int) -> MemoryBackend:
            store.store_max = most
            return store

        return Rig(lambda: store, clock.advance, bounded, examples=20)
