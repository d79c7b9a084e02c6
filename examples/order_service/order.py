"""Takes an order: reserves stock, charges the card, creates the shipment; undoes it all when a step fails."""

import os

import httpx
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from handrail import protect

from .database import connect
from .faults import Faults, Line

INVENTORY = os.environ.get("INVENTORY_URL", "http://127.0.0.1:8001")
PAYMENT = os.environ.get("PAYMENT_URL", "http://127.0.0.1:8002")
SHIPPING = os.environ.get("SHIPPING_URL", "http://127.0.0.1:8003")
FIELDS = ("order_id", "sku", "quantity", "amount", "card")

db = connect("order", "CREATE TABLE IF NOT EXISTS orders (order_id TEXT PRIMARY KEY, status TEXT NOT NULL)")
http = httpx.AsyncClient()


def settle(order_id: str, status: str) -> None:
    """Write down what became of an order."""
    db.execute("UPDATE orders SET status = ? WHERE order_id = ?", (status, order_id))


async def place(request: Request) -> JSONResponse:
    """`POST /orders`: 201 placed, 402 card declined, 409 out of stock or known, 422 not an order."""
    order = await request.json()
    if not isinstance(order, dict) or any(field not in order for field in FIELDS):
        return JSONResponse({"error": f"an order has the fields {', '.join(FIELDS)}"}, 422)
    order_id = order["order_id"]
    if db.execute("INSERT OR IGNORE INTO orders VALUES (?, 'pending')", (order_id,)).rowcount == 0:
        return JSONResponse({"error": "this order is known already"}, 409)
    try:
        refusal = await book(order)
    except httpx.HTTPError:
        settle(order_id, "failed")
        await undo(order_id)
        raise
    if refusal is not None:
        settle(order_id, "refused")
        return refusal
    settle(order_id, "placed")
    return JSONResponse({"order_id": order_id, "status": "placed"}, 201)


async def book(order: dict[str, str]) -> JSONResponse | None:
    """The three steps. None when all went well, else the answer that refuses the order."""
    order_id = order["order_id"]

    wish = {"sku": order["sku"], "quantity": order["quantity"]}
    reserved = await http.put(f"{INVENTORY}/reservations/{order_id}", json=wish)
    if reserved.status_code == 409:
        return JSONResponse({"order_id": order_id, "error": "out of stock"}, 409)
    reserved.raise_for_status()

    payment = {"order_id": order_id, "amount": order["amount"], "card": order["card"]}
    charged = await http.post(f"{PAYMENT}/charges", json=payment, headers={"Idempotency-Key": order_id})
    if charged.status_code == 402:
        (await http.delete(f"{INVENTORY}/reservations/{order_id}")).raise_for_status()
        return JSONResponse({"order_id": order_id, "error": "card declined"}, 402)
    charged.raise_for_status()

    shipped = await http.post(f"{SHIPPING}/shipments", json={"order_id": order_id, **wish})
    shipped.raise_for_status()
    return None


async def undo(order_id: str) -> None:
    """Refund and release; both are asked for, whatever becomes of the first."""
    async with httpx.AsyncClient() as client:
        try:
            (await client.delete(f"{PAYMENT}/charges/{order_id}")).raise_for_status()
        finally:
            (await client.delete(f"{INVENTORY}/reservations/{order_id}")).raise_for_status()


async def status(request: Request) -> JSONResponse:
    """`GET /orders/{order_id}`."""
    order_id = request.path_params["order_id"]
    row = db.execute("SELECT status FROM orders WHERE order_id = ?", (order_id,)).fetchone()
    if row is None:
        return JSONResponse({"error": "no such order"}, 404)
    return JSONResponse({"order_id": order_id, "status": row[0]})


async def health(request: Request) -> JSONResponse:
    """Whether the service runs."""
    return JSONResponse({"status": "ok"})


app = Starlette(
    routes=[
        Route("/orders", place, methods=["POST"]),
        Route("/orders/{order_id}", status),
        Route("/healthz", health),
    ],
    middleware=[Middleware(Faults)],
)
app = protect(app)
served = Line(app)
