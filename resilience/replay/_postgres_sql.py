"""What Postgres is told. The tables stand in the first schema of the connection's search_path.

Every statement is right under READ COMMITTED by itself. The advisory locks, taken in the order of their numbers, are
there so that no two workers ever wait for each other. Who gives $1 and the others: `_postgres_batch`, `postgres_store`.
"""

__all__ = [
    "BEGIN",
    "COUNT",
    "DDL",
    "EXPIRE",
    "FREE",
    "GIVE_UP",
    "IDENTITY",
    "KEEP",
    "LIMITS",
    "LOCK",
    "MAKE",
    "MAKERS",
    "NAME",
    "NOW",
    "RENEW",
    "ROLE",
    "TIMELINE",
]

_TABLES = """\
CREATE TABLE IF NOT EXISTS handrail_store (
    service text PRIMARY KEY,
    identity text NOT NULL
);
CREATE TABLE IF NOT EXISTS handrail_idempotency (
    service text NOT NULL,
    key bytea NOT NULL,
    owner text NOT NULL,
    kept boolean NOT NULL DEFAULT false,
    again boolean NOT NULL DEFAULT false,
    lease_ends timestamptz NOT NULL,
    ends timestamptz NOT NULL,
    answer bytea,
    size integer NOT NULL GENERATED ALWAYS AS (coalesce(octet_length(answer), 0)) STORED,
    PRIMARY KEY (service, key)
);
ALTER TABLE handrail_idempotency ALTER COLUMN answer SET STORAGE EXTERNAL;
CREATE INDEX IF NOT EXISTS handrail_idempotency_ends ON handrail_idempotency (service, ends);
CREATE INDEX IF NOT EXISTS handrail_idempotency_size ON handrail_idempotency (service, ends) INCLUDE (size)
    WHERE size > 0"""
"""Answers are not compressed, so that the bytes on the disk are at least those that are counted."""

DDL = _TABLES + ";"

MAKE = tuple(_TABLES.split(";\n"))

ROLE = """\
SELECT pg_is_in_recovery(), current_setting('transaction_read_only') = 'on',
       to_regclass('handrail_store') IS NOT NULL AND to_regclass('handrail_idempotency') IS NOT NULL,
       current_setting('default_transaction_isolation') = 'read committed',
       current_user, coalesce(current_schema(), '')"""

NAME = "INSERT INTO handrail_store VALUES ($1, $2) ON CONFLICT DO NOTHING"

IDENTITY = "SELECT identity FROM handrail_store WHERE service = $1"
"""After NAME, and a statement of its own: only so it sees what somebody else has just put there."""

NOW = "SELECT extract(epoch FROM clock_timestamp())::float8"

TIMELINE = "SELECT substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)"
"""Another one after each promotion of a standby."""

MAKERS = "SELECT pg_advisory_xact_lock(7308324465702822258)"

LIMITS = """\
SELECT set_config('lock_timeout', $1, true), set_config('statement_timeout', $2, true),
       set_config('idle_in_transaction_session_timeout', $2, true),
       set_config('synchronous_commit', replace(current_setting('synchronous_commit'), 'off', 'local'), true)"""
"""Milliseconds, for this transaction alone, since a session may be shared (pgbouncer)."""

_LOCKS = """,
       (SELECT count(pg_advisory_xact_lock(number)) FROM unnest($3) AS number),
       extract(epoch FROM clock_timestamp())::float8,
       CASE WHEN clock_timestamp() > to_timestamp($4)
            THEN ('handrail: too late at ' || clock_timestamp())::integer END"""

LOCK = LIMITS + _LOCKS
"""An error where nobody waits for it any more: a server that was frozen finds old batches in its sockets."""

BEGIN = """\
WITH begun AS (
    INSERT INTO handrail_idempotency AS h (service, key, owner, lease_ends, ends)
    SELECT $1, asked.key, asked.owner, clock_timestamp() + asked.lease * interval '1 second',
           clock_timestamp() + greatest(asked.lease, asked.retention) * interval '1 second'
    FROM unnest($2, $3, $4, $5) AS asked (key, owner, lease, retention)
    ORDER BY asked.key
    ON CONFLICT (service, key) DO UPDATE SET
        owner = excluded.owner, kept = false, answer = NULL, lease_ends = excluded.lease_ends, ends = excluded.ends,
        again = h.ends > clock_timestamp() AND (h.again OR h.owner <> excluded.owner)
    WHERE h.ends <= clock_timestamp()
       OR NOT h.kept AND (h.owner = excluded.owner
                          OR h.lease_ends <= clock_timestamp() AND h.key = ANY ($6))
    RETURNING key, again
)
SELECT key, true, again, NULL::bytea, 0.0::float8 FROM begun
UNION ALL
SELECT key, false, kept, CASE WHEN kept THEN answer END,
       extract(epoch FROM lease_ends - clock_timestamp())::float8
FROM handrail_idempotency AS h
WHERE service = $1 AND key = ANY ($2)
  AND NOT EXISTS (SELECT FROM begun WHERE begun.key = h.key)"""
"""Whose key it is, is decided by the insert; what is told of the others is as it was when the locks were had."""

KEEP = """\
UPDATE handrail_idempotency AS h SET
    kept = true, answer = CASE WHEN h.kept THEN h.answer ELSE asked.answer END,
    ends = CASE WHEN h.kept THEN h.ends ELSE clock_timestamp() + asked.retention * interval '1 second' END
FROM unnest($2, $3, $4, $5) AS asked (key, owner, answer, retention)
WHERE h.service = $1 AND h.key = asked.key AND h.owner = asked.owner AND h.ends > clock_timestamp()
RETURNING h.key"""

FREE = """\
DELETE FROM handrail_idempotency AS h USING unnest($2, $3) AS asked (key, owner)
WHERE h.service = $1 AND h.key = asked.key AND h.owner = asked.owner AND NOT h.kept
  AND h.ends > clock_timestamp()
RETURNING h.key"""

RENEW = """\
UPDATE handrail_idempotency AS h SET
    lease_ends = clock_timestamp() + asked.lease * interval '1 second',
    ends = greatest(h.ends, clock_timestamp() + asked.lease * interval '1 second')
FROM unnest($2, $3, $4) AS asked (key, owner, lease)
WHERE h.service = $1 AND h.key = asked.key AND h.owner = asked.owner AND NOT h.kept
  AND h.ends > clock_timestamp()
RETURNING h.key"""

EXPIRE = """\
WITH old AS (
    SELECT key FROM handrail_idempotency WHERE service = $1 AND ends <= clock_timestamp()
    ORDER BY ends LIMIT $2 FOR UPDATE SKIP LOCKED
)
DELETE FROM handrail_idempotency AS h USING old WHERE h.service = $1 AND h.key = old.key RETURNING 1"""

COUNT = """\
SELECT CASE WHEN pg_try_advisory_xact_lock($2) AND pg_total_relation_size('handrail_idempotency') > $3
            THEN (SELECT sum(size) FROM handrail_idempotency WHERE service = $1 AND size > 0)::bigint END"""
"""One worker at a time, and only where the table is large enough: the sum reads an index of all answers."""

GIVE_UP = """\
WITH old AS (
    SELECT key, size, ends FROM handrail_idempotency WHERE service = $1 AND size > 0
    ORDER BY ends LIMIT $2 FOR UPDATE SKIP LOCKED
), chosen AS (
    SELECT key, size, sum(size) OVER (ORDER BY ends, key ROWS UNBOUNDED PRECEDING) - size AS before FROM old
)
UPDATE handrail_idempotency AS h SET answer = ''
FROM chosen WHERE h.service = $1 AND h.key = chosen.key AND chosen.before < $3
RETURNING chosen.size::bigint"""
"""The keys stay, so that nothing is carried out twice: only their answers are gone."""
