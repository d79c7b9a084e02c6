"""Parcels on their way."""

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from handrail import protect

from .database import connect
from .faults import Faults, Line

db = connect(
    "shipping",
    """
    CREATE TABLE IF NOT EXISTS shipments (
        id INTEGER PRIMARY KEY AUTOINCREMENT, order_id TEXT NOT NULL, sku TEXT, quantity INTEGER);
    CREATE INDEX IF NOT EXISTS by_order ON shipments (order_id);
    """,
)


async def ship(request: Request) -> JSONResponse:
    """Send a parcel. Nothing here knows a parcel that was sent before: ask twice, and two are sent."""
    wish = await request.json()
    line = "INSERT INTO shipments (order_id, sku, quantity) VALUES (?, ?, ?) RETURNING id"
    number = db.execute(line, (wish["order_id"], wish["sku"], wish["quantity"])).fetchone()[0]
    return JSONResponse({"shipment": number, "order_id": wish["order_id"]}, 201)


async def shipments(request: Request) -> JSONResponse:
    """The parcels of an order."""
    order_id = request.path_params["order_id"]
    rows = db.execute("SELECT id FROM shipments WHERE order_id = ?", (order_id,)).fetchall()
    return JSONResponse({"order_id": order_id, "shipments": [row[0] for row in rows]})


async def health(request: Request) -> JSONResponse:
    """Whether the service runs."""
    return JSONResponse({"status": "ok"})


app = Starlette(
    routes=[
        Route("/shipments", ship, methods=["POST"]),
        Route("/shipments/{order_id}", shipments),
        Route("/healthz", health),
    ],
    middleware=[Middleware(Faults)],
)
app = protect(app)
served = Line(app)
