"""Order calls payment, payment calls a bank, each a uvicorn of its own: the caller's time travels, and shrinks."""

import http.client
import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.shadow.processes import Server, free_port, running
from tests.sockets.peer import recorder, silent

MS = "x-envoy-expected-rq-timeout-ms"

APP = """
import httpx
from fastapi import FastAPI, Request
from handrail import protect

app = FastAPI()

@app.get("/on-loop")
async def on_loop(next: str, request: Request):
    async with httpx.AsyncClient() as client:
        reply = await client.get(next)
    got = request.headers.get("x-envoy-expected-rq-timeout-ms")
    return {"got": got, "status": reply.status_code, "next": reply.text}

@app.get("/in-thread")
def in_thread(next: str, request: Request):
    reply = httpx.get(next)
    got = request.headers.get("x-envoy-expected-rq-timeout-ms")
    return {"got": got, "status": reply.status_code, "next": reply.text}

@app.get("/checked")
async def checked(next: str):
    async with httpx.AsyncClient() as client:
        (await client.get(next)).raise_for_status()

@app.get("/ready")
async def ready():
    return {}

app = protect(app)
"""


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    """Order and payment, as two processes."""
    with ExitStack() as stack:
        found = []
        for name in ("order", "payment"):
            folder: Path = tmp_path_factory.mktemp(name)
            (folder / "app.py").write_text(APP)
            port = free_port()
            environ = {"PATH": os.environ["PATH"], "HANDRAIL_TRACES_DIR": str(folder / "traces")}
            command = [sys.executable, "-m", "uvicorn", "app:app", "--port", str(port), "--log-level", "warning"]
            server = stack.enter_context(running(command, cwd=folder, port=port, environ=environ))
            server.ask("/ready", {})
            found.append(server)
        order, payment = found
        yield order, payment


def ask(server: Server, path: str, **headers: str) -> tuple[int, dict[str, str], Any]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    reply = connection.getresponse()
    found = reply.status, {name.lower(): value for name, value in reply.getheaders()}, json.loads(reply.read())
    connection.close()
    return found


def told(fields: list[tuple[str, str]]) -> int:
    (value,) = [value for name, value in fields if name == MS]
    return int(value)


@pytest.mark.parametrize("way", ["/on-loop", "/in-thread"])
def test_the_time_shrinks_at_each_hop(services: tuple[Server, Server], way: str) -> None:
    """9 s from outside: payment hears less, the bank less again; on a loop and in the thread of a sync endpoint."""
    order, payment = services
    with recorder() as bank:
        inner = f"http://127.0.0.1:{payment.port}{way}?next={bank.url}"
        status, _, answer = ask(order, f"{way}?next={inner}", **{MS.replace("-", "_"): "9000"})
    assert status == 200
    at_payment, at_bank = int(json.loads(answer["next"])["got"]), told(bank.seen[0])
    assert 9000 > at_payment > at_bank > 0


def test_without_a_deadline_the_attempt_s_own_is_told(services: tuple[Server, Server]) -> None:
    """None is invented for the request; the call out has its ten seconds."""
    with recorder() as bank:
        assert ask(services[0], f"/on-loop?next={bank.url}")[0] == 200
    assert 5000 < told(bank.seen[0]) <= 10_000


def test_an_expired_request_goes_no_further(services: tuple[Server, Server]) -> None:
    """504 with a trace id, and the bank hears nothing."""
    with recorder() as bank:
        status, headers, problem = ask(
            services[0], f"/on-loop?next={bank.url}", X_Request_Deadline="2020-01-01T00:00:00Z"
        )
    assert (status, headers["content-type"]) == (504, "application/problem+json")
    assert problem["type"] == "urn:handrail:problem:deadline"
    assert len(problem["trace_id"]) == 32
    assert bank.seen == []


def test_a_deadline_ends_a_call_of_a_sync_endpoint_as_clearly(services: tuple[Server, Server]) -> None:
    """There the library's own timeout goes up, cut to the time that is left: 504 too, and no bare 500."""
    with silent() as url:
        status, headers, problem = ask(services[0], f"/in-thread?next={url}", grpc_timeout="1500m")
    assert (status, problem["type"]) == (504, "urn:handrail:problem:dependency-timeout")
    assert "x-envoy-overloaded" not in headers


def test_a_deadline_ends_a_call_to_a_peer_that_is_silent(services: tuple[Server, Server]) -> None:
    """A second and a half from outside: 504 well before the attempt's own ten."""
    with silent() as url:
        status, headers, problem = ask(services[0], f"/on-loop?next={url}", grpc_timeout="1500m")
    assert (status, problem["type"]) == (504, "urn:handrail:problem:total-timeout")
    assert "x-envoy-overloaded" not in headers


def test_retries_are_not_repeated_further_out(services: tuple[Server, Server]) -> None:
    """Payment asks a failing bank three times and says so; order, which would retry a 503, asks payment once."""
    order, payment = services
    with recorder(*[503] * 20) as bank:
        inner = f"http://127.0.0.1:{payment.port}/checked?next={bank.url}"
        status, headers, problem = ask(order, f"/checked?next={inner}")
    assert len(bank.seen) == 3
    assert [dict(seen).get("x-envoy-attempt-count") for seen in bank.seen] == [None, "2", "3"]
    assert (status, problem["type"]) == (503, "urn:handrail:problem:dependency-503")
    assert headers["x-envoy-overloaded"] == "true"
