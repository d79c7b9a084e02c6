"""Answers in a Postgres that refuses, comes and goes, is shared with others, or does not answer."""

import random
import re
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from handrail import SettingsError
from handrail.resilience.replay._postgres_sql import DDL
from handrail.resilience.replay._store_errors import StoreChanged, StoreRefused
from handrail.resilience.replay.postgres_store import PostgresStore
from handrail.resilience.replay.work import Free, Held, State, Work
from tests.postgres_server import PostgresServer
from tests.redis_server import until
from tests.replay.backend_rules import SHORT, begin, in_threads, keep, key_of, only

Stores = Callable[..., PostgresStore]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """One for the file; each test has a database of its own."""
    with PostgresServer(tmp_path_factory.mktemp("postgres")) as running:
        yield running


@pytest.fixture
def url(server: PostgresServer, request: pytest.FixtureRequest) -> str:
    """A database of this test alone."""
    name = f"db_{abs(hash(request.node.nodeid))}"
    boss(server.url, f"CREATE DATABASE {name}")
    return f"{server.url.rpartition('/')[0]}/{name}"


@pytest.fixture
def stores() -> Iterator[Stores]:
    """Stores that are closed in the end."""
    made: list[PostgresStore] = []

    def make(url: str, patience: float = 30.0) -> PostgresStore:
        made.append(PostgresStore(url, "tests", patience=patience))
        return made[-1]

    yield make
    for store in made:
        store.close()


def boss(url: str, *statements: str) -> list[tuple[object, ...]]:
    """What the superuser does; returns the rows of the last."""
    with psycopg.connect(url, autocommit=True) as link:
        *_, last = [link.execute(statement.encode()) for statement in statements]
        return last.fetchall() if last.description else []


def as_role(url: str, role: str) -> str:
    return url.replace("boss@", f"{role}@")


def test_a_session_that_is_ended_is_made_again(url: str, stores: Stores) -> None:
    """One call fails, the next finds all as it was."""
    store = stores(url)
    identity = store.open()
    store.run([begin(1), keep(1, b"x"), begin(2)])
    ours = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'handrail'"
    boss(url, f"{ours} AND datname = current_database()")
    with pytest.raises(psycopg.OperationalError):
        only(store, begin(3))
    assert store.run([begin(1, "b"), begin(2)]) == [Held(State.KEPT, b"x"), Held(State.NEW)]
    assert store.identity == identity


def test_a_frozen_server_does_nothing_late(server: PostgresServer, url: str, stores: Stores) -> None:
    """What lay in its sockets when nobody waited any more would leave a key begun that nobody works on."""
    store, other = stores(url, patience=2.0), stores(url)
    store.open()
    only(store, begin(2))
    server.freeze()
    try:
        with pytest.raises(TimeoutError, match="no answer within 2 s"):
            only(store, begin(1))
        with pytest.raises(psycopg.errors.ConnectionTimeout):
            store.open()
    finally:
        server.thaw()
    other.open()
    there = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'handrail' AND datname = current_database()"
    until(lambda: boss(url, there) == [(1,)], "the end of the first session")
    assert only(other, begin(1, "b")) == Held(State.NEW)


def test_a_server_whose_clock_jumped_is_asked_again(url: str, stores: Stores) -> None:
    """An old idea of its clock makes every batch look late: one more connection, and no error."""
    store = stores(url)
    store.open()
    store._ahead -= 1000.0
    assert store.run([begin(1), keep(1, b"x")]) == [Held(State.NEW), True]


def test_a_read_only_role_says_so(url: str, stores: Stores) -> None:
    """As a standby would be."""
    boss(url, "CREATE ROLE reader LOGIN", "ALTER ROLE reader SET default_transaction_read_only = on")
    with pytest.raises(StoreRefused, match="it is read-only: name the primary"):
        stores(as_role(url, "reader")).open()


def test_a_standby_is_refused_and_another_store_once_promoted(
    server: PostgresServer, url: str, stores: Stores, tmp_path: Path
) -> None:
    """It may lack what the primary was told last: no caller may rely on it as on the primary."""
    first = stores(url)
    identity = first.open()
    first.run([begin(1), keep(1, b"x")])
    with PostgresServer(tmp_path, of=server) as standby:
        store = stores(url.replace(f":{server.port}/", f":{standby.port}/"))
        with pytest.raises(StoreRefused, match="it is a standby: name the primary, or several hosts"):
            store.open()
        boss(standby.url, "SELECT pg_promote()")
        until(lambda: boss(standby.url, "SELECT pg_is_in_recovery()") == [(False,)], "the promotion")
        assert store.open() != identity
        assert only(store, begin(1, "b")) == Held(State.KEPT, b"x")
        # Whoever held on to the old one hears of it.
        first._url = store._url
        first.close()
        with pytest.raises(StoreChanged):
            only(first, begin(2))


def test_a_role_that_may_not_make_tables_is_told_what_to_run(
    url: str, stores: Stores, caplog: pytest.LogCaptureFixture
) -> None:
    """The reason names role and schema; the log has the statements, and once they were run all is well."""
    boss(url, "CREATE ROLE weak LOGIN")
    store = stores(as_role(url, "weak"))
    for _ in range(2):
        with pytest.raises(StoreRefused, match="role weak may not make tables in schema public: the log"):
            store.open()
    assert [DDL in record.getMessage() for record in caplog.records] == [True]
    assert DDL in (Path(__file__).resolve().parents[2] / "docs" / "idempotency-stores.md").read_text()
    boss(url, DDL, "GRANT SELECT, INSERT, UPDATE, DELETE ON handrail_store, handrail_idempotency TO weak")
    store.open()
    assert store.run([begin(1), keep(1, b"x")]) == [Held(State.NEW), True]
    store.tidy()


def test_another_schema_by_the_url(url: str, stores: Stores) -> None:
    """The first of the search_path, which the URL may name."""
    boss(url, "CREATE SCHEMA elsewhere")
    stores(f"{url}?options=-csearch_path%3Delsewhere").open()
    found = boss(url, "SELECT schemaname, count(*) FROM pg_tables WHERE tablename LIKE 'handrail%' GROUP BY 1")
    assert found == [("elsewhere", 2)]


def test_nothing_is_left_in_the_session(url: str, stores: Stores) -> None:
    """Behind a pgbouncer in transaction mode somebody else has it next."""
    store = stores(url)
    store.open()
    for _ in range(10):
        store.run([begin(1), keep(1, b"x")])
        store.tidy()
    link = store._link
    assert link is not None
    assert link.ask("SELECT name FROM pg_prepared_statements") == []
    assert link.ask("SELECT objid FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()") == []
    changed = "SELECT name FROM pg_settings WHERE source = 'session' AND name <> 'application_name'"
    assert link.ask(changed) == []


@pytest.mark.parametrize("level", ["read committed", "repeatable read", "serializable"])
def test_workers_never_lock_each_other_out(url: str, stores: Stores, level: str) -> None:
    """Batches on the same keys in any order, whatever the role's isolation: no deadlock, each key is NEW to one."""
    boss(url, f"ALTER DATABASE {url.rpartition('/')[2]} SET default_transaction_isolation = '{level}'")
    new: list[tuple[int, str]] = []
    start = threading.Barrier(6)

    def worker(name: str, seed: int) -> None:
        store, chance = stores(url), random.Random(seed)
        store.open()
        start.wait(60)
        for first in range(0, 300, 10):
            numbers = list(range(first, first + 20))
            chance.shuffle(numbers)
            work: list[Work] = [begin(number, name) for number in numbers]
            for number, found in zip(numbers, store.run(work), strict=True):
                if found == Held(State.NEW):
                    new.append((number, name))
            chance.shuffle(numbers)
            store.run([keep(number, b"x", name) for number in numbers] + [Free(key_of(n), name) for n in numbers])
            store.tidy()

    in_threads([lambda n=n: worker(f"w{n}", n) for n in range(6)])  # type: ignore[misc]  # n is an int
    assert sorted(set(new)) == sorted({number: (number, name) for number, name in new}.values())
    assert {number for number, _ in new} == set(range(310))


@pytest.mark.parametrize("level", ["read committed", "serializable"])
def test_a_batch_is_one_transaction(url: str, stores: Stores, level: str) -> None:
    """The locks of its first statement last until the end of its last one, at READ COMMITTED."""
    boss(url, f"ALTER DATABASE {url.rpartition('/')[2]} SET default_transaction_isolation = '{level}'")
    store = stores(url)
    store.open()
    assert store._link is not None
    asked = "SELECT txid_current(), current_setting('transaction_isolation')"
    (first,), (second,) = store._link.transact([(asked, ())] * 2)
    assert first == second
    assert first[1] == b"read committed"
    assert store._link.transact([(asked, ())])[0] != [first]


def test_tidying_waits_for_nobody(url: str, stores: Stores) -> None:
    """A row that somebody has locked is passed over."""
    store = stores(url)
    store.open()
    store.run([begin(number, lease=SHORT, retention=SHORT) for number in range(5)])
    until(lambda: boss(url, "SELECT bool_and(ends < clock_timestamp()) FROM handrail_idempotency") == [(True,)])
    with psycopg.connect(url) as other:
        other.execute("SELECT FROM handrail_idempotency WHERE key = %b FOR UPDATE", (key_of(3),))
        store.tidy()
        assert boss(url, "SELECT key FROM handrail_idempotency") == [(key_of(3),)]
    store.tidy()
    assert boss(url, "SELECT key FROM handrail_idempotency") == []


def test_many_old_rows_go_in_bites(url: str, stores: Stores) -> None:
    """Each bite is a transaction of its own, until the time for it is over: the rest goes the next times."""
    store = stores(url)
    store.open()
    boss(
        url,
        "INSERT INTO handrail_idempotency (service, key, owner, lease_ends, ends) SELECT 'tests', "
        "int4send(n), 'a', now(), now() FROM generate_series(1, 2500) n",
        "INSERT INTO handrail_idempotency (service, key, owner, lease_ends, ends) "
        "VALUES ('others', '', 'a', now(), now())",
    )

    def rest() -> list[tuple[object, ...]]:
        store.tidy()
        return boss(url, "SELECT service FROM handrail_idempotency")

    until(lambda: rest() == [("others",)], "the last bite")


def test_tables_that_were_dropped_are_another_store(url: str, stores: Stores) -> None:
    """What was in them is forgotten: the identity changes."""
    store = stores(url)
    identity = store.open()
    boss(url, "DROP TABLE handrail_idempotency, handrail_store")
    with pytest.raises(psycopg.errors.UndefinedTable):
        only(store, begin(1))
    with pytest.raises(StoreChanged):
        only(store, begin(1))
    assert store.open() != identity
    assert only(store, begin(1)) == Held(State.NEW)


def test_what_is_missing_is_told_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without psycopg, or with a URL that libpq does not understand, a setting is wrong: said with what to do."""
    for url in ("postgresql://u:se/cret@127.0.0.1/db", "postgresql://127.0.0.1/db?secret=1", "postgresql://[x/db"):
        with pytest.raises(SettingsError, match="idempotency_store cannot be used") as caught:
            PostgresStore(url, "tests")
        assert not re.search("se|cret", str(caught.value).partition("used: ")[2])
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.delitem(sys.modules, "handrail.resilience.replay._postgres_link")
    monkeypatch.delattr("handrail.resilience.replay._postgres_link")
    with pytest.raises(SettingsError, match=r"idempotency_store needs psycopg: pip install 'handrail\[postgres\]'"):
        PostgresStore("postgresql://127.0.0.1/db", "tests")


def test_no_password_is_shown(stores: Stores) -> None:
    """Neither in the name of the store nor in what is said when nobody is there."""
    assert stores("postgresql://u:1234/s3cret@127.0.0.1/db").shown == "postgresql://..."
    store = stores("postgresql://u:s3cret@127.0.0.1:1,127.0.0.1:2/db?connect_timeout=5&password=s3cret")
    assert store.shown == "postgresql://127.0.0.1:1,127.0.0.1:2/db"
    with pytest.raises(psycopg.OperationalError, match="refused") as caught:
        store.open()
    assert "s3cret" not in str(caught.value)
