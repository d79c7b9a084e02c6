"""Single flight under real servers: clients that leave, and what the app hears of it."""

import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.shadow.processes import Server, free_port, running

PATIENCE = 60.0
"""Seconds for an answer on a busy machine; nothing waits for them to pass."""

APP = """
import asyncio, json
from handrail import protect

seen = {"runs": 0, "left": 0, "under_way": 0}
go = asyncio.Event()

async def watch(receive):
    while (await receive())["type"] != "http.disconnect":
        pass
    seen["left"] += 1

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    if scope["path"] == "/shared":
        seen["runs"] += 1
        left = asyncio.ensure_future(watch(receive))
        waiting = asyncio.ensure_future(go.wait())
        await asyncio.wait([left, waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        left.cancel()
        if not go.is_set():
            return
        body = b"shared"
    else:
        if scope["path"] == "/go":
            go.set()
        body = json.dumps(seen).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})

async def counted(scope, receive, send):
    seen["under_way"] += scope.get("path") == "/shared"
    await inner(scope, receive, send)

inner = protect(app)
app = counted
"""
COMMANDS = {
    "uvicorn": ["uvicorn", "app:app", "--log-level", "warning", "--port", "{port}"],
    "hypercorn": ["hypercorn", "app:app", "-b", "127.0.0.1:{port}"],
    "granian": ["granian", "--interface", "asgi", "app:app", "--port", "{port}"],
}


@pytest.fixture(params=COMMANDS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """A service that answers /shared when /go was asked, or gives it up when its client has left."""
    (tmp_path / "app.py").write_text(APP)
    port = free_port()
    command = [sys.executable, "-m", *(word.format(port=port) for word in COMMANDS[request.param])]
    environ = {
        "PATH": os.environ["PATH"],
        "HANDRAIL_TRACES_DIR": str(tmp_path / "traces"),
        "HANDRAIL_SINGLE_FLIGHT_ROUTES": "/shared",
    }
    with running(command, cwd=tmp_path, port=port, environ=environ) as started:
        started.ask("/seen", {})
        yield started


def asked(server: Server, stack: ExitStack) -> socket.socket:
    """A client that waits for the shared answer."""
    client = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE))
    client.sendall(b"GET /shared HTTP/1.1\r\nHost: service\r\nConnection: close\r\n\r\n")
    return client


def until(server: Server, **wanted: int) -> None:
    """Look again until the service has seen it."""
    ends = time.monotonic() + PATIENCE
    while not wanted.items() <= (seen := server.ask("/seen", {})).items():
        assert time.monotonic() < ends, f"{json.dumps(seen)}\n{server.output()}"


def answer(client: socket.socket) -> bytes:
    got = b""
    while data := client.recv(65_536):
        got += data
    return got


def test_the_first_client_leaves_and_the_others_are_served(server: Server) -> None:
    """One run for three; the app hears nothing of the one that left."""
    with ExitStack() as stack:
        clients = []
        for number in range(1, 4):
            clients.append(asked(server, stack))
            until(server, under_way=number)
        clients[0].close()
        until(server, runs=1, left=0)
        server.ask("/go", {})
        assert [answer(client).endswith(b"shared") for client in clients[1:]] == [True, True]
        until(server, runs=1, left=0)


def test_the_app_hears_when_the_last_one_has_left(server: Server) -> None:
    """And not before; whoever comes then begins a run of his own."""
    with ExitStack() as stack:
        clients = []
        for number in range(1, 4):
            clients.append(asked(server, stack))
            until(server, under_way=number)
        for client in clients:
            until(server, runs=1, left=0)
            client.close()
        until(server, runs=1, left=1)
        late = asked(server, stack)
        until(server, runs=2)
        server.ask("/go", {})
        assert answer(late).endswith(b"shared")
