"""Answers in a real Postgres that works: the rules of all stores, and what is its own."""

import itertools
from collections.abc import Iterator

import psycopg
import pytest

from handrail.resilience.replay.postgres_store import PostgresStore
from tests.postgres_server import PostgresServer
from tests.redis_server import until
from tests.replay.backend_rules import BackendRules, BoundRules, Rig

PATIENT = 30.0
"""Seconds: a busy machine is no fault of a store."""
_services = itertools.count()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """One for the file; each test has a service of its own."""
    with PostgresServer(tmp_path_factory.mktemp("postgres")) as running:
        yield running


def clock(server: PostgresServer) -> float:
    with psycopg.connect(server.url) as asked:
        row = asked.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
    assert row is not None
    return float(row[0])


class TestPostgres(BackendRules, BoundRules):
    """Each connection is one of its own."""

    @pytest.fixture
    def rig(self, server: PostgresServer) -> Iterator[Rig]:
        """A service that nobody else has."""
        service, made = f"rules-{next(_services)}", list[PostgresStore]()

        def make(most: int = 1 << 30) -> PostgresStore:
            made.append(PostgresStore(server.url, service, most, patience=PATIENT))
            return made[-1]

        def wait(seconds: float) -> None:
            ends = clock(server) + seconds
            until(lambda: clock(server) > ends, "the server's time")

        yield Rig(make, wait, make, examples=5)
        for one in made:
            one.close()
