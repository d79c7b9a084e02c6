"""Order calls payment, both under handrail, no word of keys in either: answers are lost, and nothing is done twice."""

import http.client
import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.keyed.lossy import Lossy
from tests.shadow.processes import Server, free_port, running

ORDER = """
import os
import CLIENT
from fastapi import FastAPI
from handrail import protect

app = protect(FastAPI())

@app.get("/ready")
def ready():
    return {}

@app.post("/orders")
ROUTE
"""
ROUTES = {
    "httpx": """
def order():
    return httpx.post(os.environ["PAYMENT"] + "/charges", json={"amount": 5}).json()
""",
    "requests": """
def order():
    return requests.post(os.environ["PAYMENT"] + "/charges", json={"amount": 5}).json()
""",
    "aiohttp": """
async def order():
    async with aiohttp.ClientSession() as http:
        async with http.post(os.environ["PAYMENT"] + "/charges", json={"amount": 5}) as reply:
            return await reply.json()
""",
}
PAYMENT = """
from fastapi import FastAPI
from handrail import protect

app = protect(FastAPI())
ledger = []

@app.get("/ready")
def ready():
    return {"charges": len(ledger)}

@app.post("/charges")
def charge(wish: dict):
    ledger.append(wish["amount"])
    return {"charge": len(ledger)}
"""


def start(stack: ExitStack, folder: Path, program: str, store: Path, **environ: str) -> Server:
    """A service as a process, with its store of answers."""
    folder.mkdir()
    (folder / "app.py").write_text(program)
    port = free_port()
    environ |= {
        "PATH": os.environ["PATH"],
        "HANDRAIL_TRACES_DIR": str(folder / "traces"),
        "HANDRAIL_IDEMPOTENCY_STORE": f"sqlite:///{store}",
        "HANDRAIL_ATTEMPT_TIMEOUT": "60",
        "HANDRAIL_TOTAL_TIMEOUT": "120",
    }
    command = [sys.executable, "-m", "uvicorn", "app:app", "--port", str(port), "--log-level", "warning"]
    server = stack.enter_context(running(command, cwd=folder, port=port, environ=environ))
    server.ask("/ready", {})
    return server


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as found:
        yield found


def order(server: Server) -> tuple[int, dict[str, object]]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=180)
    connection.request("POST", "/orders")
    reply = connection.getresponse()
    found = reply.status, json.loads(reply.read())
    connection.close()
    return found


def charges(*servers: Server) -> int:
    return sum(server.ask("/ready", {})["charges"] for server in servers)


def taught(server: Server, *payments: Server) -> None:
    """Orders, until payment has said that it honours keys: its store is opened by the first POST, off its loop."""
    for _ in range(50):
        order(server)
        connection = http.client.HTTPConnection("127.0.0.1", payments[0].port, timeout=60)
        connection.request("POST", "/charges", body="{}", headers={"content-type": "text/plain"})
        reply = connection.getresponse()
        reply.read()
        connection.close()
        if reply.headers["idempotency-key-honoured"] is not None:
            order(server)
            return
    raise AssertionError("payment never said that it honours keys")


@pytest.mark.parametrize("client", list(ROUTES))
def test_a_lost_answer_is_asked_for_again_and_replayed(stack: ExitStack, tmp_path: Path, client: str) -> None:
    """Two answers in a row are lost after the charge: the order is placed all the same, with one charge."""
    payment = start(stack, tmp_path / "payment", PAYMENT, tmp_path / "a.sqlite")
    way = Lossy(payment.port)
    stack.callback(way.close)
    program = ORDER.replace("CLIENT", client).replace("ROUTE", ROUTES[client])
    orders = start(stack, tmp_path / "order", program, tmp_path / "o.sqlite", PAYMENT=way.url)
    taught(orders, payment)
    before, requests = charges(payment), way.passed
    way.lose = 2
    assert order(orders) == (200, {"charge": before + 1})
    assert way.passed == requests + 3
    assert charges(payment) == before + 1


def test_without_that_word_a_lost_answer_is_an_error(stack: ExitStack, tmp_path: Path) -> None:
    """A peer that has not said that it honours keys is not asked twice: a clear 503, and one charge at most."""
    payment = start(stack, tmp_path / "payment", PAYMENT, tmp_path / "a.sqlite")
    way = Lossy(payment.port)
    stack.callback(way.close)
    program = ORDER.replace("CLIENT", "httpx").replace("ROUTE", ROUTES["httpx"])
    orders = start(stack, tmp_path / "order", program, tmp_path / "o.sqlite", PAYMENT=way.url)
    way.lose = 1
    status, problem = order(orders)
    assert (status, problem["type"]) == (503, "urn:handrail:problem:dependency-unreachable")
    assert (way.passed, charges(payment)) == (1, 1)


def test_replicas_that_remember_apart_never_act_twice(stack: ExitStack, tmp_path: Path) -> None:
    """Behind one address, each with a store of its own: whatever is lost, no order makes two charges."""
    payments = [start(stack, tmp_path / f"p{n}", PAYMENT, tmp_path / f"{n}.sqlite") for n in range(2)]
    way = Lossy(*(payment.port for payment in payments))
    stack.callback(way.close)
    program = ORDER.replace("CLIENT", "httpx").replace("ROUTE", ROUTES["httpx"])
    orders = start(stack, tmp_path / "order", program, tmp_path / "o.sqlite", PAYMENT=way.url)
    made = 0
    for number in range(12):
        way.lose = number % 2
        before = charges(*payments)
        status, _ = order(orders)
        made += charges(*payments) - before
        assert charges(*payments) - before <= 1, f"order {number}, answered {status}"
    assert made == 12
