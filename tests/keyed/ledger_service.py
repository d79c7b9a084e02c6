"""A service with one effect: a row in a ledger, written some time after the request came and before its answer.

`LEDGER` is the file, `ONCE=1` writes each effect down under the key of its request, as a service does that wants to be
carried out again after a crash.
"""

import asyncio
import os
import random
import sqlite3

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

import handrail

ONCE = os.environ.get("ONCE") == "1"
TABLE = "CREATE TABLE IF NOT EXISTS ledger (id INTEGER PRIMARY KEY, key TEXT, amount INTEGER)"

db = sqlite3.connect(os.environ["LEDGER"], timeout=30, isolation_level=None)
db.execute("PRAGMA journal_mode = WAL")
db.execute(TABLE)
if ONCE:
    db.execute("CREATE UNIQUE INDEX IF NOT EXISTS once ON ledger (key)")


async def charge(request: Request) -> JSONResponse:
    """Take the money; the pauses are where a worker is killed."""
    wish, key = await request.json(), handrail.idempotency_key()
    await asyncio.sleep(random.uniform(0, 0.1))  # noqa: TID251  (its work)
    db.execute("INSERT INTO ledger (key, amount) VALUES (?, ?) ON CONFLICT DO NOTHING", (key, wish["amount"]))
    (number,) = db.execute("SELECT max(id) FROM ledger WHERE key = ?", (key,)).fetchone()
    await asyncio.sleep(random.uniform(0, 0.1))  # noqa: TID251  (its work)
    return JSONResponse({"charge": number, "nonce": random.getrandbits(64)}, 201)


app = handrail.protect(Starlette(routes=[Route("/charges", charge, methods=["POST"])]))
