"""One connection to Postgres: the one file that knows psycopg. Every function may wait, and none for ever.

psycopg makes the connection; from then on it is libpq itself (`psycopg.pq`), since psycopg waits without end for a
server that is frozen, and writes a pipeline in many pieces: a process that was stopped between two of them would hold
locks until it goes on. Here a batch is one piece, unless it has large answers.
"""

import contextlib
import logging
import select
import time
from collections.abc import Sequence

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ._postgres_wire import Row, Values

__all__ = ["Late", "Link", "Statement", "conninfo", "denied"]

Statement = tuple[str, Values]

_BEGIN: Statement = ("BEGIN ISOLATION LEVEL READ COMMITTED", ())
_COMMIT: Statement = ("COMMIT", ())
_BINARY = 1
_GOOD = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK)

_log = logging.getLogger("handrail")

if pq.version() < 140000:
    raise ImportError("its libpq is older than 14")


class Late(Exception):
    """The server came to it after its time, and did nothing."""


class Link:
    """A connection that is made at once. After any error but that of `try_to_ask` it must be closed.

    `patience`: seconds for a transaction. `plain`: whether the server's default isolation is READ COMMITTED.
    """

    def __init__(self, url: str, patience: float) -> None:
        self._connection = psycopg.connect(url, autocommit=True)
        self._libpq = self._connection.pgconn
        self._libpq.enter_pipeline_mode()
        self._poll = select.poll()
        self._patience = patience
        self._ends = 0.0
        self.plain = False

    def ask(self, query: str, values: Values = ()) -> list[Row]:
        """One statement, in a transaction of its own."""
        return self._exchange([(query, values)])[0]

    def try_to_ask(self, query: str) -> bytes | None:
        """The one value, or None where the server does not know what that is."""
        try:
            return self.ask(query)[0][0]
        except psycopg.Error as error:
            if self._libpq.status != pq.ConnStatus.OK:
                raise
            _log.debug("not known to this server: %s", error)
            return None

    def transact(self, statements: Sequence[Statement]) -> list[list[Row]]:
        """All of them in one transaction and one round trip; the rows of each."""
        if self.plain:  # a pipeline is a transaction by itself
            return self._exchange(statements)
        # Under REPEATABLE READ all would be seen as it was before the locks.
        return self._exchange([_BEGIN, *statements, _COMMIT])[1:-1]

    def close(self) -> None:
        """Never waits, never raises."""
        with contextlib.suppress(Exception):
            self._connection.close()

    def _exchange(self, statements: Sequence[Statement]) -> list[list[Row]]:
        self._ends = time.monotonic() + self._patience
        libpq = self._libpq
        for query, values in statements:
            # Nothing is prepared: behind a pgbouncer the next transaction may meet another session.
            libpq.send_query_params(
                query.encode(),
                [value for _, value in values],
                param_types=[kind for kind, _ in values],
                param_formats=[_BINARY] * len(values),
                result_format=_BINARY,
            )
        libpq.pipeline_sync()
        while libpq.flush():
            if self._wait(select.POLLIN | select.POLLOUT) & ~select.POLLOUT:
                libpq.consume_input()
        results = [self._result() for _ in statements]
        self._end_of_pipeline()
        return [self._rows(result) for result in results]

    def _result(self) -> pq.abc.PGresult:
        """Of the next statement."""
        found = self._next()
        if found is None:
            raise psycopg.OperationalError("nothing was said of a statement")
        while self._next() is not None:
            pass
        return found

    def _end_of_pipeline(self) -> None:
        while (found := self._next()) is None or found.status != pq.ExecStatus.PIPELINE_SYNC:
            pass

    def _next(self) -> pq.abc.PGresult | None:
        while self._libpq.is_busy():
            self._wait(select.POLLIN)
            self._libpq.consume_input()
        found = self._libpq.get_result()
        if found is None and self._libpq.status != pq.ConnStatus.OK:
            raise psycopg.OperationalError("the connection is lost")
        return found

    def _wait(self, events: int) -> int:
        """What came of the events; TimeoutError where nothing does in time."""
        self._poll.register(self._libpq.socket, events)
        found = self._poll.poll(max(0.0, self._ends - time.monotonic()) * 1000)
        if not found:
            raise TimeoutError(f"no answer within {self._patience:g} s")
        return found[0][1]

    def _rows(self, result: pq.abc.PGresult) -> list[Row]:
        if result.status not in _GOOD:
            raise _error(result)
        columns = range(result.nfields)
        return [tuple(result.get_value(row, column) for column in columns) for row in range(result.ntuples)]


def conninfo(url: str, patience: float) -> str:
    """What libpq is told. `patience`: seconds for a connection to each of the hosts, 2 at least.

    Raises ValueError where it does not understand the URL; what libpq said may hold a password.
    """
    try:
        given = conninfo_to_dict(url)
    except psycopg.Error:
        raise ValueError("libpq does not understand this URL") from None
    if not str(given.get("port") or "0").replace(",", "").isdecimal():
        raise ValueError("its port is no number: / @ : and % in a password are written %2F %40 %3A %25")
    ours: dict[str, str | int | None] = {
        "connect_timeout": max(2, round(patience)),
        "keepalives_idle": 5,
        "keepalives_interval": 1,
        "keepalives_count": 2,
        "tcp_user_timeout": round(patience * 1000),
        "fallback_application_name": "handrail",
    }
    ours.update((name, str(value)) for name, value in given.items())
    return make_conninfo("", **ours)


def denied(error: BaseException) -> bool:
    """Whether the role may not do that."""
    return isinstance(error, psycopg.errors.InsufficientPrivilege)


def _error(result: pq.abc.PGresult) -> Exception:
    """Psycopg's own, by the server's code for it."""
    said = (result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or b"").decode("utf-8", "replace")
    code = (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
    if "handrail: too late" in said:
        return Late()
    try:
        return psycopg.errors.lookup(code)(said)
    except KeyError:
        return psycopg.OperationalError(f"{said or 'the connection is lost'} {code}".strip())
