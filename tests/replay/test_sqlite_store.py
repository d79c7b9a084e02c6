"""The SQLite store: the rules of all stores, its file, and what may befall it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from handrail.resilience.replay.sqlite import SqliteStore
from handrail.resilience.testing import FakeClock
from tests.replay.backend_rules import BackendRules, BoundRules, Rig


class TestSqlite(BackendRules, BoundRules):
    """A file, by a wall clock of the test."""

    @pytest.fixture
    def rig(self, tmp_path: Path) -> Iterator[Rig]:
        """All connections are to one file; they are closed at the end."""
        clock, made = FakeClock(), list[SqliteStore]()

        def make(most: int = 1 << 30) -> SqliteStore:
            made.append(SqliteStore(tmp_path / "state" / "answers.db", most=most, wall=clock.wall))
            return made[-1]

        yield Rig(make, clock.advance, make)
        for store in made:
            store.close()
