"""Answers in a real Redis that works: the rules of all stores, and what is its own."""

import itertools
from collections.abc import Iterator

import pytest
import redis

from handrail.resilience.replay.redis_store import RedisStore
from tests.redis_server import RedisServer, until
from tests.replay.backend_rules import BackendRules, Rig

PATIENT = 30.0
"""Seconds: a busy machine is no fault of a store."""
_services = itertools.count()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One for the file; each test has a service of its own."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
def client(server: RedisServer) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(server.url) as made:
        yield made


class TestRedis(BackendRules):
    """Each connection is one of its own."""

    @pytest.fixture
    def rig(self, server: RedisServer, client: "redis.Redis") -> Iterator[Rig]:
        """A service that nobody else has."""
        service, made = f"rules-{next(_services)}", list[RedisStore]()

        def make() -> RedisStore:
            made.append(RedisStore(server.url, service, patience=PATIENT))
            return made[-1]

        def now() -> float:
            seconds, micros = client.time()
            return seconds + micros / 1e6

        def wait(seconds: float) -> None:
            ends = now() + seconds
            until(lambda: now() > ends, "the server's time")

        yield Rig(make, wait, examples=5)
        for one in made:
            one.close()
