"""One connection to Postgres: the one file that knows psycopg. Every function may wait, and none for ever."""

import contextlib
import logging
import time
from collections.abc import Generator, Mapping, Sequence
from typing import LiteralString, TypeVar

import psycopg
from psycopg.abc import Params
from psycopg.conninfo import conninfo_to_dict, make_conninfo

__all__ = ["Late", "Link", "Row", "Statement", "conninfo", "denied"]

CONNECT = 2
"""Seconds for a connection, to each of the hosts; libpq's least."""
TIMEOUT = 2.0
"""Seconds for a transaction. libpq itself would wait for a frozen server for ever."""

_NO_ANSWER = f"no answer within {TIMEOUT:g} s"

Row = tuple[object, ...]
Statement = tuple[LiteralString, Mapping[str, object]]

_log = logging.getLogger("handrail")

R = TypeVar("R")
Y = TypeVar("Y")
S = TypeVar("S")


class Late(Exception):
    """The server came to it after its time, and did nothing."""


class _Bounded(psycopg.Connection[Row]):
    """Gives up when `ends` has come, by the monotonic clock."""

    ends = float("inf")
    timed_out = False

    def wait(self, gen: Generator[Y, S, R], interval: float = 0.1, *_: object, **__: object) -> R:
        """See psycopg: every wait for the socket is here. Newer ones have a timeout, which is not used."""
        return super().wait(self._until(gen), min(interval, 0.1))  # type: ignore[arg-type]  # its own type is private

    def _until(self, gen: Generator[Y, S, R]) -> Generator[Y, S, R]:
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if not ready and time.monotonic() > self.ends:
                    self.timed_out = True
                    raise TimeoutError(_NO_ANSWER)
                wanted = gen.send(ready)
        except StopIteration as stop:
            result: R = stop.value
            return result


class Link:
    """A connection that is made at once. After any error but Late it is of no use and must be closed."""

    def __init__(self, url: str) -> None:
        # Nothing prepared: behind a pgbouncer the next transaction may meet another session.
        self._connection = _Bounded.connect(url, autocommit=True, prepare_threshold=None)
        self._pipelines = psycopg.Pipeline.is_supported()
        self.plain: object = False
        """Whether the server's default isolation is READ COMMITTED."""

    def ask(self, query: LiteralString, values: Params | None = None) -> list[Row]:
        """One statement, in a transaction of its own."""
        self._connection.ends = time.monotonic() + TIMEOUT
        cursor = self._connection.execute(query, values)
        return cursor.fetchall() if cursor.description else []

    def try_to_ask(self, query: LiteralString) -> object:
        """The one value, or None where the server does not know what that is."""
        try:
            return self.ask(query)[0][0]
        except psycopg.errors.Error as error:
            if self._connection.broken:
                raise
            _log.debug("not known to this server: %s", error)
            return None

    def script(self, *queries: LiteralString) -> None:
        """Several statements, in one transaction."""
        self._connection.ends = time.monotonic() + TIMEOUT
        with self._connection.transaction():
            for query in queries:
                self._connection.execute(query)

    def transact(self, statements: Sequence[Statement]) -> list[list[Row]]:
        """All of them in one transaction and one round trip, so that no lock waits for this process."""
        link = self._connection
        link.ends = time.monotonic() + TIMEOUT
        failed: psycopg.Error | TimeoutError | None = None
        cursors: list[psycopg.Cursor[Row]] = []
        try:
            with link.pipeline() if self._pipelines else contextlib.nullcontext():
                try:
                    # Under REPEATABLE READ all is seen as it was before the locks. Where that is not the default, a
                    # pipeline is a transaction by itself, and two statements are saved.
                    plain = self._pipelines and self.plain is True
                    if not plain:
                        link.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
                    cursors += [link.execute(query, values, binary=True) for query, values in statements]
                    if not plain:
                        link.execute("COMMIT")
                except (psycopg.Error, TimeoutError) as error:
                    failed = error  # not through the pipeline's end, which would log what it cannot end
        except (psycopg.Error, TimeoutError) as error:
            failed = failed or error
        if failed is not None:
            raise self._cause(failed)
        return [cursor.fetchall() if cursor.description else [] for cursor in cursors]

    def _cause(self, error: psycopg.Error | TimeoutError) -> Exception:
        """What it was; the end of a pipeline hides it."""
        if self._connection.timed_out:
            return TimeoutError(_NO_ANSWER)
        if isinstance(error, psycopg.errors.InvalidTextRepresentation) and "handrail: too late" in str(error):
            return Late()
        return error

    def close(self) -> None:
        """Never waits, never raises."""
        with contextlib.suppress(Exception):
            self._connection.close()


def conninfo(url: str) -> str:
    """What libpq is told. Raises ValueError where it does not understand the URL; what it said may hold a password."""
    try:
        given = conninfo_to_dict(url)
    except psycopg.Error:
        raise ValueError("libpq does not understand this URL") from None
    if not str(given.get("port") or "0").replace(",", "").isdecimal():
        raise ValueError("its port is no number: / @ : and % in a password are written %2F %40 %3A %25")
    ours: dict[str, str | int | None] = {
        "connect_timeout": CONNECT,
        "keepalives_idle": 5,
        "keepalives_interval": 1,
        "keepalives_count": 2,
        "tcp_user_timeout": 2000,
        "fallback_application_name": "handrail",
    }
    ours.update((name, str(value)) for name, value in given.items())
    return make_conninfo("", **ours)


def denied(error: BaseException) -> bool:
    """Whether the role may not do that."""
    return isinstance(error, psycopg.errors.InsufficientPrivilege)
