"""The real Redis, one for the tests of a file, emptied for each."""

from collections.abc import Iterator

import pytest
import redis

from tests.redis_server import RedisServer


@pytest.fixture(scope="module")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
def server(_server: RedisServer) -> RedisServer:
    """A running Redis without a key."""
    with redis.Redis.from_url(_server.url) as client:
        client.flushall()
    return _server
