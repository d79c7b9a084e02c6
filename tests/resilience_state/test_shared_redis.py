"""Instances with their threads around a real Redis that works."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import redis

from handrail.resilience.state._redis import PREFIX, RedisVotes, reached
from handrail.resilience.state._votes import LONGEST
from tests.redis_server import RedisServer, until
from tests.resilience_state.instances import PEER, Instance, on_redis

ROOT = Path(__file__).resolve().parents[2]
VOTES = f"{PREFIX}:tests:votes:{PEER}"


@pytest.fixture
def client(server: RedisServer) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(server.url, decode_responses=True) as made:
        yield made


@contextmanager
def instances(server: RedisServer, machines: str) -> Iterator[list[Instance]]:
    made = [on_redis(server.url, name) for name in machines]
    try:
        yield made
    finally:
        for instance in made:
            instance.shared.end()


@contextmanager
def voter(server: RedisServer, machine: str, open_for: float) -> Iterator["subprocess.Popen[str]"]:
    """A process that has voted."""
    command = [sys.executable, "-m", "tests.resilience_state.voter", server.url, machine, str(open_for)]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))}
    process = subprocess.Popen(command, cwd=ROOT, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "voted\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_two_processes_open_the_breaker_of_a_third(server: RedisServer) -> None:
    """Over a real store, from three processes: a quorum opens, one vote does not."""
    with instances(server, "c") as (late,), voter(server, "a", 30.0):
        until(lambda: votes_read(late, server) == 1)
        assert late.breaker().state == "closed"
        with voter(server, "b", 30.0):
            until(lambda: late.breaker().state == "open")
            assert late.causes == ["shared"]
            assert late.call("ok") == []


def votes_read(instance: Instance, server: RedisServer) -> int:
    with closing(RedisVotes(server.url, "tests")) as store:
        found = store.votes([PEER], store.now())[PEER].votes
    return len([vote for vote in found if vote.voter.instance != instance.shared.voter.instance])


def test_what_a_killed_process_said_ends_with_its_open_time(server: RedisServer, client: "redis.Redis") -> None:
    """After kill -9 nobody withdraws the votes; they end by themselves, and a late instance stays closed."""
    with voter(server, "a", 10.0) as one, voter(server, "b", 10.0) as two:
        one.kill()
        two.kill()
    assert client.zcard(VOTES) == 2
    until(lambda: votes_of(server) == 0)
    with instances(server, "c") as (late,):
        with closing(RedisVotes(server.url, "tests")) as store:
            late.shared.round(store)
        assert late.breaker().state == "closed"


def votes_of(server: RedisServer) -> int:
    with closing(RedisVotes(server.url, "tests")) as store:
        return len(store.votes([PEER], store.now())[PEER].votes)


def test_a_process_that_ends_in_peace_takes_its_vote_back(server: RedisServer, client: "redis.Redis") -> None:
    """Its successor does not find the vote of somebody who is gone."""
    with voter(server, "a", 30.0) as process:
        assert client.zcard(VOTES) == 1
        process.communicate("\n")
        assert client.zcard(VOTES) == 0


def test_keys_end_by_themselves_and_name_no_secret(server: RedisServer, client: "redis.Redis") -> None:
    """Only origins with something to say have keys, all below one prefix, all with an end."""
    with instances(server, "a") as (one,):
        one.breaker("quiet")
        one.fail()
        until(lambda: client.exists(VOTES))
        keys = set(client.keys())
        assert keys == {VOTES, f"{PREFIX}:tests:open"}
        assert all(0 < client.ttl(key) <= LONGEST for key in keys)


def test_ended_votes_are_swept(server: RedisServer, client: "redis.Redis") -> None:
    """Whoever writes a vote takes those away that have ended: keys do not grow for ever."""
    client.zadd(VOTES, {f"{number}/a/{number}": 5.0 for number in range(100)})
    client.zadd(f"{PREFIX}:tests:open", {"http://old": 5.0})
    with instances(server, "a") as (one,):
        one.fail()
        until(lambda: client.zcard(VOTES) == 1)
        until(lambda: client.zrange(f"{PREFIX}:tests:open", 0, -1) == [PEER])


def test_services_do_not_hear_each_other(server: RedisServer) -> None:
    """What one service calls in vain may be its own fault: votes are of one service."""
    with closing(RedisVotes(server.url, "another")) as store, instances(server, "ab") as made:
        for instance in made:
            instance.fail()
        until(lambda: votes_of(server) == 2)
        assert store.exchange({}, (), store.now()) == []


def test_a_unix_socket_serves(server: RedisServer) -> None:
    """redis-py's own URLs are understood: unix:// as well."""
    assert reached(f"unix://{server.socket}") == ""
    with closing(RedisVotes(f"unix://{server.socket}", "tests")) as store:
        assert store.exchange({}, (), store.now()) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_votes_for_itself(server: RedisServer) -> None:
    """The child has an identity, a thread and a connection of its own, and says nothing in its parent's name."""
    script = (
        "import os, sys\n"
        "from tests.redis_server import until\n"
        "from tests.resilience_state.instances import on_redis, PEER\n"
        "from handrail.resilience.state._redis import RedisVotes\n"
        f"one = on_redis({server.url!r}, 'a')\n"
        "one.fail()\n"
        f"store = lambda: RedisVotes({server.url!r}, 'tests')\n"
        "votes = lambda: {vote.voter.instance for vote in store().votes([PEER], store().now())[PEER].votes}\n"
        "until(lambda: len(votes()) == 1)\n"
        "parent = one.shared.voter.instance\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    one.breaker('second')\n"
        "    one.fail('second')\n"
        "    mine = one.shared.voter.instance\n"
        "    told = lambda: {v.voter.instance for v in store().votes(['http://second'], 0)['http://second'].votes}\n"
        "    until(lambda: mine in told())\n"
        "    os._exit(0 if mine != parent and told() == {mine} and votes() == {parent} else 3)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
