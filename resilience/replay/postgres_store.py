"""Answers in Postgres, for many machines: `handrail_idempotency`, and `handrail_store` for the store's identity.

Postgres 12 or later, also behind a pgbouncer in transaction mode. The tables are made at the first use, in the first
schema of the search_path (`?options=-csearch_path%3Dname` names another). What was committed stays; a standby that is
promoted may lack the last moments, and its identity is another one, so that no caller relies on what may be gone.
"""

import hashlib
import logging
import secrets
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import SettingsError
from ..state._redis import shown
from . import _postgres_sql as sql
from ._postgres_batch import questions
from ._postgres_wire import Row, Value, flag, float8, int8, int8s, number, text, whole
from ._store_errors import StoreChanged, StoreRefused
from .work import Held, Work

if TYPE_CHECKING:
    from ._postgres_link import Link, Statement

__all__ = ["PostgresStore"]

MOST = 256
"""Works in one transaction: Postgres has room for 64 locks a connection, by default."""
BITE = 500
"""Rows that are forgotten at once."""
TIDYING = 0.2
"""Seconds after which no further bite is begun."""

_log = logging.getLogger("handrail")


class PostgresStore:
    """The keys of one service. Raises SettingsError where psycopg is missing or does not understand the URL.

    `most`: bytes of all kept answers; above, the oldest answers are given up, and their keys stay. `patience`: seconds
    for a connection, and for each answer; a server that was frozen carries out nothing more after that. A lock is
    waited for half as long. The connection is made at the first use. `identity` is None before `open`.
    """

    def __init__(self, url: str, service: str, most: int = 268_435_456, *, patience: float = 2.0) -> None:
        try:
            from . import _postgres_link
        except ImportError as error:
            raise SettingsError(
                f"idempotency_store needs psycopg: pip install 'handrail[postgres]' ({error})"
            ) from error
        try:
            self._url = _postgres_link.conninfo(url, patience)
            self.shown = shown(url)
        except ValueError as error:
            raise SettingsError(f"idempotency_store cannot be used: {error}") from error
        self.identity: str | None = None
        self._driver = _postgres_link
        self._service = service
        self._most = most
        self._patience = patience
        self._limits = (text(str(round(patience * 500))), text(str(round(patience * 1000))))
        self._turn = _number(hashlib.sha256(b"handrail tidy " + service.encode()).digest())
        self._link: Link | None = None
        self._ahead = 0.0
        self._told = False

    def open(self) -> str:
        """See Backend. StoreRefused where the server is read-only, or the tables are missing and may not be made."""
        self.close()
        self._link, self.identity = self._connect()
        return self.identity

    def run(self, work: Sequence[Work]) -> list[Held | bool]:
        """See Backend: one transaction and one round trip for up to MOST works.

        StoreChanged where the identity is no longer that which `open` told, until it is asked again.
        """
        try:
            results: list[Held | bool] = []
            for first in range(0, len(work), MOST):
                results += self._transact(work[first : first + MOST])
            return results
        except BaseException:
            self.close()
            raise

    def tidy(self) -> None:
        """See Backend. In small bites that pass over what others are at work on."""
        try:
            link, ends, service = self._linked(), time.monotonic() + TIDYING, text(self._service)
            while len(self._tidied(link, sql.EXPIRE, service, int8(BITE))) == BITE and time.monotonic() < ends:
                pass
            ((held,),) = self._tidied(link, sql.COUNT, service, int8(self._turn), int8(self._most))
            excess = whole(held) - self._most
            while excess > 0 and time.monotonic() < ends:
                gone = self._tidied(link, sql.GIVE_UP, service, int8(BITE), int8(excess))
                excess = excess - sum(whole(size) for (size,) in gone) if gone else 0
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """See Backend."""
        link, self._link = self._link, None
        if link is not None:
            link.close()

    def _transact(self, work: Sequence[Work]) -> list[Held | bool]:
        asked = questions(self._service, work)
        statements = [question.statement for question in asked]
        locks = sorted({_number(one.key) for one in work})
        try:
            answers = self._locked(locks, statements)
        except self._driver.Late:
            # Our idea of its clock is old, most likely: the next connection brings a new one.
            self.close()
            answers = self._locked(locks, statements)
        found: dict[int, Held | bool] = {}
        for question, rows in zip(asked, answers, strict=True):
            found.update(question.results(rows))
        return [found[place] for place in range(len(work))]

    def _locked(self, locks: Sequence[int], statements: "Sequence[Statement]") -> list[list[Row]]:
        """The rows of each statement, in one transaction that has these locks."""
        link = self._linked()
        latest = time.monotonic() + self._ahead + self._patience
        (settings, *rows) = link.transact([(sql.LOCK, (*self._limits, int8s(locks), float8(latest))), *statements])
        self._ahead = number(settings[0][5]) - time.monotonic()
        return rows

    def _linked(self) -> "Link":
        """The connection, or a new one to what is still the same store."""
        if self._link is None:
            self._link, identity = self._connect()
            self.identity = self.identity or identity
            if identity != self.identity:
                raise StoreChanged("it was replaced or emptied, and may have forgotten keys")
        return self._link

    def _connect(self) -> "tuple[Link, str]":
        """A new connection to tables that are there, and the identity."""
        link = self._driver.Link(self._url, self._patience)
        try:
            ((standby, read_only, made, plain, user, schema),) = link.ask(sql.ROLE)
            if flag(standby) or flag(read_only):
                raise StoreRefused(
                    f"it is {'a standby' if flag(standby) else 'read-only'}: name the primary, or several hosts and "
                    "target_session_attrs=read-write"
                )
            link.plain = flag(plain)
            if not flag(made):
                where = f"schema {_said(schema)}" if schema else "any schema of its search_path"
                self._make(link, f"role {_said(user)} may not make tables in {where}")
            # In a transaction of our own isolation: under REPEATABLE READ the second of two at once would fail.
            link.transact([(sql.NAME, (text(self._service), text(secrets.token_hex(16))))])
            ((stored,),) = link.ask(sql.IDENTITY, [text(self._service)])
            ((now,),) = link.ask(sql.NOW)
            self._ahead = number(now) - time.monotonic()
            parts = (stored, link.try_to_ask(sql.TIMELINE))
            return link, hashlib.sha256(repr(parts).encode()).hexdigest()[:32]
        except BaseException:
            link.close()
            raise

    def _make(self, link: "Link", refused: str) -> None:
        """Make the tables, one worker at a time: CREATE … IF NOT EXISTS by two at once fails for one of them."""
        try:
            link.transact([(one, ()) for one in (sql.MAKERS, *sql.MAKE)])
        except Exception as error:
            if not self._driver.denied(error):
                raise
            if not self._told:
                self._told = True
                _log.warning("%s: %s; have its owner run:\n%s", self.shown, refused, sql.DDL)
            raise StoreRefused(f"{refused}: the log of handrail says what to run") from error

    def _tidied(self, link: "Link", query: str, *values: Value) -> list[Row]:
        return link.transact([(sql.LIMITS, self._limits), (query, values)])[1]


def _number(digest: bytes) -> int:
    """What an advisory lock is known by, from bytes that nobody else comes upon."""
    return int.from_bytes(digest[:8], "big", signed=True)


def _said(name: bytes | None) -> str:
    return (name or b"").decode("utf-8", "replace")
