"""Answers in a Redis that forgets, refuses, is another one, or does not answer."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from handrail import SettingsError
from handrail.resilience.replay._store_errors import StoreChanged, StoreRefused
from handrail.resilience.replay.redis_store import PREFIX, RedisStore
from handrail.resilience.replay.work import Held, State
from tests.redis_server import RedisServer, until
from tests.replay.backend_rules import LONG, begin, keep, key_of, only

Start = Callable[..., RedisServer]
Stores = Callable[..., RedisStore]
KEY = f"{PREFIX}tests:{key_of(1).hex()}"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """A server of this test alone, with these options."""
    with ExitStack() as stack:

        def started(*options: str) -> RedisServer:
            folder = tmp_path / str(len(list(tmp_path.iterdir())))
            folder.mkdir()
            return stack.enter_context(RedisServer(folder, *options))

        yield started


@pytest.fixture
def stores() -> Iterator[Stores]:
    """Stores that are closed in the end."""
    made: list[RedisStore] = []

    def make(url: str, patience: float = 30.0) -> RedisStore:
        made.append(RedisStore(url, "tests", patience=patience))
        return made[-1]

    yield make
    for store in made:
        store.close()


def test_a_server_that_was_emptied_is_another_store(start: Start, stores: Stores) -> None:
    """FLUSHALL forgets keys: no result of then counts, and the identity changes."""
    server = start()
    store = stores(server.url)
    first = store.open()
    assert only(store, begin(1)) == Held(State.NEW)
    with redis.Redis.from_url(server.url) as client:
        client.flushall()
    for _ in range(2):
        with pytest.raises(StoreChanged):
            only(store, begin(1, "b"))
    assert store.open() != first
    assert only(store, begin(1, "b")) == Held(State.NEW)


def test_a_server_that_was_restarted_is_another_store(start: Start, stores: Stores) -> None:
    """Also where it has its keys again: what it was told last may be gone."""
    server = start("--appendonly", "yes", "--appendfsync", "always")
    store = stores(server.url)
    first = store.open()
    store.run([begin(1), keep(1, b"x")])
    server.stop()
    server.start()
    for _ in range(2):
        with pytest.raises((StoreChanged, redis.RedisError)):
            only(store, begin(1, "b"))
    assert store.open() != first
    assert only(store, begin(1, "b")) == Held(State.KEPT, b"x")


def test_a_script_that_the_server_forgot_is_loaded_again(start: Start, stores: Stores) -> None:
    """SCRIPT FLUSH costs a round trip, and no work is done twice or lost."""
    server = start()
    store = stores(server.url)
    store.open()
    with redis.Redis.from_url(server.url) as client:
        client.script_flush()
        assert store.run([begin(1), keep(1, b"x"), begin(1)]) == [Held(State.NEW), True, Held(State.KEPT, b"x")]


def test_a_connection_that_was_closed_is_made_again(start: Start, stores: Stores) -> None:
    """By the next call or the one after it, with all as it was."""
    server = start()
    store = stores(server.url)
    identity = store.open()
    only(store, begin(1))
    with redis.Redis.from_url(server.url) as client:
        client.client_kill_filter(_type="normal", skipme=True)
    try:
        found = only(store, begin(1))
    except redis.RedisError:
        found = only(store, begin(1))
    assert found == Held(State.NEW)
    assert store.identity == identity


def test_a_frozen_server_does_nothing_late(start: Start, stores: Stores) -> None:
    """What lay in its sockets when nobody waited any more would leave a key begun that nobody works on."""
    server = start()
    store = stores(server.url, patience=1.0)
    store.open()
    only(store, begin(2))
    server.freeze()
    with pytest.raises(redis.TimeoutError):  # after 1 s; its time is over after 2
        only(store, begin(1))
    with pytest.raises(redis.TimeoutError):
        store.open()
    with pytest.raises(redis.TimeoutError):
        store.open()
    server.thaw()
    other = stores(server.url)
    other.open()
    with redis.Redis.from_url(server.url) as client:
        until(lambda: len(client.client_list(_type="normal")) == 2, "the end of the first connection")
    assert only(other, begin(1, "b")) == Held(State.NEW)


def test_a_server_whose_clock_jumped_is_asked_again(start: Start, stores: Stores) -> None:
    """An old idea of its clock makes every batch look late: one more look at it, and no error."""
    store = stores(start().url)
    store.open()
    store._ahead -= 1000.0
    assert store.run([begin(1), keep(1, b"x")]) == [Held(State.NEW), True]


def test_something_else_at_the_key_breaks_that_key_alone(
    start: Start, stores: Stores, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody knows what it stands for: refused like a request that was broken off, and told once."""
    server = start()
    store = stores(server.url)
    store.open()
    with redis.Redis.from_url(server.url) as client:
        for put in (lambda: client.set(KEY, "x"), lambda: client.hset(KEY, "of", "others")):
            client.delete(KEY)
            put()
            found = store.run([begin(1, take_over=True), keep(1, b"x"), begin(2, "b")])
            assert found[:2] == [Held(State.BROKEN), False]
            assert isinstance(found[2], Held)
        assert client.hgetall(KEY) == {b"of": b"others"}
    assert [KEY in record.getMessage() for record in caplog.records if "something else" in record.getMessage()] == [
        True
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--appendonly", "yes"), []),
        (("--appendonly", "yes", "--maxmemory", "100mb"), []),
        (("--appendonly", "yes", "--maxmemory-policy", "allkeys-lru"), []),
        (("--appendonly", "yes", "--maxmemory", "100mb", "--maxmemory-policy", "volatile-ttl"), ["noeviction"]),
        (("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"), ["noeviction", "appendonly"]),
        ((), ["appendonly"]),
    ],
)
def test_a_server_that_may_forget_is_told_of_once(
    start: Start,
    stores: Stores,
    caplog: pytest.LogCaptureFixture,
    options: tuple[str, ...],
    said: list[str],
) -> None:
    """All our keys end some day, and so every policy but noeviction may take them."""
    store = stores(start(*options).url)
    store.open()
    store.open()
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warned) == len(said)
    assert all(word in text for word, text in zip(said, warned, strict=True))


def test_a_full_server_refuses_and_keeps_what_it_has(start: Start, stores: Stores) -> None:
    """With noeviction no key is forgotten: new ones are not begun, old answers are given."""
    server = start("--maxmemory-policy", "noeviction")
    store = stores(server.url)
    store.open()
    store.run([begin(1), keep(1, b"x")])
    with redis.Redis.from_url(server.url) as client:
        client.config_set("maxmemory", 1)
    with pytest.raises(redis.RedisError, match="maxmemory"):
        only(store, begin(2))
    with redis.Redis.from_url(server.url) as client:
        client.config_set("maxmemory", 0)
    store.open()
    assert store.run([begin(1, "b"), begin(2, "b")]) == [Held(State.KEPT, b"x"), Held(State.NEW)]


def test_a_replica_and_a_cluster_say_what_they_are(start: Start, stores: Stores) -> None:
    """Neither can be a store; the reason tells why."""
    primary = start("--repl-diskless-sync-delay", "0")
    replica = start("--replicaof", "127.0.0.1", str(primary.port))
    with redis.Redis.from_url(replica.url) as client:
        until(lambda: client.info("replication")["master_link_status"] == "up", "the replica")
    with pytest.raises(redis.RedisError, match="read only replica"):
        stores(replica.url).open()
    with pytest.raises(StoreRefused, match="Redis Cluster"):
        stores(start("--cluster-enabled", "yes").url).open()


def test_a_wrong_password_is_named_and_not_shown(start: Start, stores: Stores) -> None:
    """Neither in the reason nor in the name of the store."""
    server = start("--requirepass", "right")
    store = stores(f"redis://:wr0ng@127.0.0.1:{server.port}/0?socket_timeout=1")
    with pytest.raises(redis.AuthenticationError, match="password") as caught:
        store.open()
    assert "wr0ng" not in str(caught.value) + store.shown
    assert store.shown == f"redis://127.0.0.1:{server.port}/0"
    stores(f"redis://:right@127.0.0.1:{server.port}/0").open()


def test_a_unix_socket_and_the_number_of_a_database(start: Start, stores: Stores) -> None:
    """Two databases of one server are two stores."""
    server = start()
    zero, three = stores(f"unix://{server.socket}"), stores(f"unix://{server.socket}?db=3")
    assert zero.open() != three.open()
    assert zero.open() == stores(server.url).open()
    assert [only(zero, begin(1)), only(three, begin(1))] == [Held(State.NEW)] * 2


def test_a_key_outlives_its_lease(start: Start, stores: Stores) -> None:
    """A key at work ends with the retention, so that a broken one is seen as broken; a kept one with its own."""
    server = start()
    store = stores(server.url)
    store.open()
    store.run([begin(1, lease=1.0, retention=LONG), begin(2, lease=LONG, retention=1.0)])
    with redis.Redis.from_url(server.url) as client:
        assert client.ttl(KEY) > LONG / 2
        assert client.ttl(f"{PREFIX}tests:{key_of(2).hex()}") > LONG / 2
        assert client.ttl(f"{PREFIX}tests:store") == -1
        store.run([keep(1, b"x", retention=LONG * 10)])
        assert client.ttl(KEY) > LONG * 5


def test_what_is_missing_is_told_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without redis-py, or with a URL that it does not understand, a setting is wrong: said with what to do."""
    with pytest.raises(SettingsError, match="idempotency_store cannot be used"):
        RedisStore("redis://127.0.0.1:many/0", "tests")
    with pytest.raises(SettingsError, match="in a password / @ : and % are written") as caught:
        RedisStore("redis://u:se/cret@127.0.0.1/0", "tests")
    assert "se/" not in str(caught.value)
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(SettingsError, match=r"idempotency_store needs redis-py: pip install 'handrail\[redis\]'"):
        RedisStore("redis://127.0.0.1/0", "tests")
