"""Redis stopped, frozen, restarted, full, read-only, locked or full of garbage, with calls under way."""

import logging
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import redis
from redis.connection import AbstractConnection, Connection

from handrail.resilience.state import shared as room
from handrail.resilience.state._redis import PREFIX, RedisVotes, reached
from tests.redis_server import RedisServer, until
from tests.resilience_state.instances import PEER, Instance, on_redis

VOTES = f"{PREFIX}:tests:votes:{PEER}"


@pytest.fixture
def own(tmp_path: Path) -> Iterator[RedisServer]:
    """A server of this test's own, to be maltreated."""
    with RedisServer(tmp_path) as running:
        yield running


@pytest.fixture
def users(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The names of all threads that connect, write or read through redis-py."""
    seen: set[str] = set()

    def noted(owner: type, name: str) -> None:
        original = getattr(owner, name)

        def wrapper(*args: object, **kwargs: object) -> object:
            seen.add(threading.current_thread().name)
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, wrapper)

    for name in ("connect", "send_packed_command", "read_response"):
        noted(AbstractConnection, name)
    noted(Connection, "_connect")
    return seen


@contextmanager
def instance(url: str, machine: str = "a") -> Iterator[Instance]:
    made = on_redis(url, machine)
    try:
        yield made
    finally:
        made.shared.end()


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The levels of what was said about sharing."""
    return [record.levelname for record in caplog.records if "shared through" in record.getMessage()]


def votes(server: RedisServer) -> int:
    with closing(RedisVotes(server.url, "tests")) as store:
        return len(store.votes([PEER], store.now())[PEER].votes)


def through_an_outage(
    own: RedisServer, users: set[str], caplog: pytest.LogCaptureFixture, begin: str, end: str
) -> None:
    """Calls go on through all of it; local breakers work; one warning, one line; all is told again after it."""
    caplog.set_level(logging.INFO, "handrail")
    with instance(own.url) as one:
        until(lambda: "handrail-shared" in users)
        assert one.call("ok", "good", times=50) == [1] * 50
        getattr(own, begin)()
        until(lambda: lines(caplog) == ["WARNING"])
        assert one.call("ok", "good", times=50) == [1] * 50
        one.fail("other")
        assert one.call("ok", "other") == []
        one.fail()
        getattr(own, end)()
        until(lambda: lines(caplog) == ["WARNING", "INFO"])
        assert users == {"handrail-shared"}  # before this test itself asks
        until(lambda: votes(own) == 1)


def test_killed_and_started_again(own: RedisServer, users: set[str], caplog: pytest.LogCaptureFixture) -> None:
    """No call touches a socket of Redis, whether it is there or not."""
    through_an_outage(own, users, caplog, "stop", "start")


def test_frozen_and_thawed(own: RedisServer, users: set[str], caplog: pytest.LogCaptureFixture) -> None:
    """The same where connections are made and nothing answers."""
    through_an_outage(own, users, caplog, "freeze", "thaw")


def test_what_was_lost_in_a_restart_is_told_again(own: RedisServer) -> None:
    """Two votes of before the restart open a third instance after it."""
    with instance(own.url, "a") as one, instance(own.url, "b") as two:
        one.fail()
        two.fail()
        until(lambda: votes(own) == 2)
        own.stop()
        own.start()
        with instance(own.url, "c") as late:
            until(lambda: late.breaker().state == "open")


def test_never_there_at_all(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """A service starts without its Redis, and joins the others once it is there."""
    caplog.set_level(logging.INFO, "handrail")
    server = RedisServer(tmp_path)
    with instance(server.url) as one:
        until(lambda: lines(caplog) == ["WARNING"])
        one.fail()
        with server:
            until(lambda: votes(server) == 1)
            until(lambda: lines(caplog) == ["WARNING", "INFO"])


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (("CONFIG", "SET", "maxmemory", "1"), "OutOfMemoryError"),
        (("REPLICAOF", "127.0.0.1", "1"), "ReadOnlyError"),
        (("ACL", "SETUSER", "default", "-zadd"), "NoPermissionError"),
        (("SET", VOTES, "somebody else's"), "WRONGTYPE"),
        (("CONFIG", "SET", "requirepass", "secret"), "AuthenticationError"),
    ],
    ids=["full", "read-only", "forbidden", "garbage", "password"],
)
def test_a_server_that_refuses(
    own: RedisServer, spoil: tuple[str, ...], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Votes cannot be put down: one warning that says why; the breaker and its calls go on."""
    with redis.Redis.from_url(own.url) as client:
        client.execute_command(*spoil)
    with instance(own.url) as one:
        one.fail()
        until(lambda: lines(caplog) == ["WARNING"])
        assert reason in caplog.text
        assert one.call("ok", "other") == [1]


def test_what_can_be_read_of_a_full_server_counts(own: RedisServer) -> None:
    """The others said it while there was room: who comes later hears it all the same."""
    with instance(own.url, "a") as one, instance(own.url, "b") as two:
        one.fail()
        two.fail()
        until(lambda: votes(own) == 2)
        with redis.Redis.from_url(own.url) as client:
            client.execute_command("CONFIG", "SET", "maxmemory", "1")
        with instance(own.url, "c") as late:
            until(lambda: late.breaker().state == "open")


def test_garbage_among_the_votes_is_passed_over(own: RedisServer) -> None:
    """Other versions, other writers, other bytes: what is no vote opens nothing and hides no vote."""
    with redis.Redis.from_url(own.url) as client:
        far = 4e9
        for odd in (b"\xff\xfe", b"", b"2/x/y/z", b"1/a/", b"1/a/b"):
            client.execute_command("ZADD", VOTES, far, odd)
        client.execute_command("ZADD", VOTES, "inf", b"1/c/d")
        client.execute_command("ZADD", f"{PREFIX}:tests:open", far, b"\xff", far, PEER)
    with instance(own.url, "a") as one, instance(own.url, "b") as two, instance(own.url, "c") as late:
        one.fail()
        until(lambda: votes(own) == 1)
        assert late.breaker().state == "closed"
        two.fail()
        until(lambda: late.breaker().state == "open")


def test_the_end_waits_for_nobody(own: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Switched off while the store hangs, the process goes on at once; the thread ends when its timeout does."""
    made = on_redis(own.url, "a")
    made.fail()
    until(lambda: votes(own) == 1)
    own.freeze()
    made.shared.end(0.0)
    thread = made.shared._thread
    assert thread is not None
    assert thread.daemon
    until(lambda: not thread.is_alive())
    own.thaw()


def test_a_mistake_of_ours_ends_no_thread(caplog: pytest.LogCaptureFixture, own: RedisServer) -> None:
    """Whatever a round raises is one warning, and the next round is tried."""
    with instance(own.url) as one:
        one.shared._heard.append((0.0, None))  # type: ignore[arg-type]  # what cannot happen
        until(lambda: lines(caplog) == ["WARNING"])
        one.fail()
        until(lambda: votes(own) == 1)


def test_the_reason_is_short_and_without_the_password(own: RedisServer) -> None:
    """What `doctor` and the log say."""
    assert "AuthenticationError" in reached(f"redis://:wrong-secret@127.0.0.1:{own.port}")
    own.stop()
    said = reached(f"redis://user:wrong-secret@127.0.0.1:{own.port}")
    assert said.startswith("ConnectionError")
    assert "wrong-secret" not in said
    assert room.EVERY < room.SLOWEST
