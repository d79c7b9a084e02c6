"""What is in stock, and what of it is held for which order."""

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from handrail import protect

from .database import connect, transaction
from .faults import Faults, Line

db = connect(
    "inventory",
    """
    CREATE TABLE IF NOT EXISTS stock (sku TEXT PRIMARY KEY, quantity INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS reservations (
        order_id TEXT PRIMARY KEY, sku TEXT, quantity INTEGER NOT NULL, released INTEGER NOT NULL);
    INSERT OR IGNORE INTO stock VALUES ('bolt', 1000000), ('nut', 1000000), ('unobtainium', 0);
    """,
)


async def reserve(request: Request) -> JSONResponse:
    """Hold stock for an order; once, however often it is asked."""
    order_id, wish = request.path_params["order_id"], await request.json()
    sku, quantity = wish["sku"], wish["quantity"]
    with transaction(db):
        known = db.execute("SELECT released FROM reservations WHERE order_id = ?", (order_id,)).fetchone()
        if known is not None and known[0]:
            return JSONResponse({"error": "this order was cancelled"}, 410)
        if known is None:
            change = "UPDATE stock SET quantity = quantity - ? WHERE sku = ? AND quantity >= ?"
            if db.execute(change, (quantity, sku, quantity)).rowcount == 0:
                return JSONResponse({"error": "out of stock"}, 409)
            db.execute("INSERT INTO reservations VALUES (?, ?, ?, 0)", (order_id, sku, quantity))
    return JSONResponse({"order_id": order_id, "sku": sku, "quantity": quantity})


async def release(request: Request) -> JSONResponse:
    """Put the stock back. A reservation that arrives later than this finds the order cancelled."""
    order_id = request.path_params["order_id"]
    with transaction(db):
        query = "SELECT sku, quantity FROM reservations WHERE order_id = ? AND NOT released"
        sku, quantity = db.execute(query, (order_id,)).fetchone() or (None, 0)
        db.execute("UPDATE stock SET quantity = quantity + ? WHERE sku = ?", (quantity, sku))
        db.execute("INSERT OR REPLACE INTO reservations VALUES (?, ?, ?, 1)", (order_id, sku, quantity))
    return JSONResponse({"order_id": order_id, "released": quantity})


async def level(request: Request) -> JSONResponse:
    """How much of an article is left."""
    sku = request.path_params["sku"]
    row = db.execute("SELECT quantity FROM stock WHERE sku = ?", (sku,)).fetchone()
    if row is None:
        return JSONResponse({"error": "no such article"}, 404)
    return JSONResponse({"sku": sku, "quantity": row[0]})


async def health(request: Request) -> JSONResponse:
    """Whether the service runs."""
    return JSONResponse({"status": "ok"})


app = Starlette(
    routes=[
        Mount(
            "/reservations",
            routes=[
                Route("/{order_id}", reserve, methods=["PUT"]),
                Route("/{order_id}", release, methods=["DELETE"]),
            ],
        ),
        Route("/stock/{sku}", level),
        Route("/healthz", health),
    ],
    middleware=[Middleware(Faults)],
)
app = protect(app)
served = Line(app)
