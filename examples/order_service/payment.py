"""Charges and refunds in a ledger that is only ever added to: a double charge would stand there twice."""

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from handrail import protect

from .database import connect, transaction
from .faults import Faults, Line

DECLINED = "4000000000000002"

db = connect(
    "payment",
    """
    CREATE TABLE IF NOT EXISTS ledger (
        id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, order_id TEXT NOT NULL,
        idempotency_key TEXT, amount INTEGER NOT NULL, at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP);
    CREATE INDEX IF NOT EXISTS by_key ON ledger (idempotency_key);
    CREATE INDEX IF NOT EXISTS by_order ON ledger (order_id);
    """,
)


CHARGE_BY_KEY = "SELECT id, order_id, amount FROM ledger WHERE kind = 'charge' AND idempotency_key = ?"
REFUND_OF = "SELECT id, order_id, amount FROM ledger WHERE kind = 'refund' AND order_id = ?"
CHARGED = "SELECT coalesce(sum(amount), 0) FROM ledger WHERE kind = 'charge' AND order_id = ?"
WRITE = """INSERT INTO ledger (kind, order_id, idempotency_key, amount) VALUES (?, ?, ?, ?)
    RETURNING id, order_id, amount"""


async def charge(request: Request) -> JSONResponse:
    """Charge a card; a key that was seen before gets the charge that was made then."""
    wish, key = await request.json(), request.headers.get("idempotency-key")
    if wish["card"] == DECLINED:
        return JSONResponse({"error": "card declined"}, 402)
    with transaction(db):
        line = db.execute(CHARGE_BY_KEY, (key,)).fetchone()
        if line is None:
            if db.execute(REFUND_OF, (wish["order_id"],)).fetchone():
                return JSONResponse({"error": "this order was cancelled"}, 410)
            line = db.execute(WRITE, ("charge", wish["order_id"], key, wish["amount"])).fetchone()
    return JSONResponse({"charge": line[0], "order_id": line[1], "amount": line[2]}, 201)


async def refund(request: Request) -> JSONResponse:
    """Give back what was charged, once. A charge that arrives later finds the order cancelled."""
    order_id = request.path_params["order_id"]
    with transaction(db):
        line = db.execute(REFUND_OF, (order_id,)).fetchone()
        if line is None:
            amount = db.execute(CHARGED, (order_id,)).fetchone()[0]
            line = db.execute(WRITE, ("refund", order_id, None, amount)).fetchone()
    return JSONResponse({"refund": line[0], "order_id": line[1], "amount": line[2]})


async def health(request: Request) -> JSONResponse:
    """Whether the service runs."""
    return JSONResponse({"status": "ok"})


app = Starlette(
    routes=[
        Route("/charges", charge, methods=["POST"]),
        Route("/charges/{order_id}", refund, methods=["DELETE"]),
        Route("/healthz", health),
    ],
    middleware=[Middleware(Faults)],
)
app = protect(app)
served = Line(app)
