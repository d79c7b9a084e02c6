"""A client that sends bytes, and what came back; real servers for it."""

import asyncio
import http.client
import importlib.util
import json
import os
import re
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fuzz.attacks import Attack
from tests.shadow.processes import Server, free_port, running

__all__ = ["SERVERS", "Answered", "ask", "played", "served", "state"]

ROOT = Path(__file__).resolve().parents[2]
BOUND = 30.0
"""Seconds that an answer may take on a busy machine."""
_UVICORN = ["-m", "uvicorn", "tests.fuzz.service:front", "--no-access-log", "--port"]
_HYPERCORN = ["-m", "hypercorn", "tests.fuzz.service:front", "--bind"]
SERVERS = {"h11": [*_UVICORN, "{port}", "--http", "h11"], "hypercorn": [*_HYPERCORN, "127.0.0.1:{port}"]}
if importlib.util.find_spec("httptools"):  # uvicorn takes it where it is there
    SERVERS["httptools"] = [*_UVICORN, "{port}", "--http", "httptools"]

SETTINGS = {
    "HANDRAIL_PROMETHEUS_PATH": "/metrics",
    "HANDRAIL_IDEMPOTENCY_LEASE": "2",
    "HANDRAIL_IDEMPOTENCY_INTERRUPTED": "again",
    "HANDRAIL_PRIORITY_ROUTES": "/slow=critical_plus,/big=sheddable",
    "HANDRAIL_SINGLE_FLIGHT_ROUTES": "/stream",
    "HANDRAIL_TRACE_LINK": "http://localhost:16686/trace/{trace_id}",
    "HANDRAIL_CLIENT_MAX": "1000",
}


@dataclass(frozen=True, slots=True)
class Answered:
    """`read`: until the server closed the connection, else the client did, and who knows what would have come."""

    statuses: tuple[int, ...]
    read: bool
    hung: bool


async def played(port: int, attack: Attack) -> Answered:
    """One attack on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    reading = asyncio.create_task(_all(reader))
    read, hung = True, False
    try:
        for step in attack.steps:
            if isinstance(step, bytes):
                writer.write(step)
                await writer.drain()
            elif isinstance(step, float):
                await asyncio.sleep(step)  # noqa: TID251  (the pace of a client)
            elif step == "half":
                writer.write_eof()
            else:
                read = False
                if step == "reset":
                    taken = writer.get_extra_info("socket")
                    taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort() if step == "reset" else writer.close()
                break
        if read:
            _, left = await asyncio.wait([reading], timeout=BOUND)
            hung = bool(left)
    except OSError:
        pass  # the server has closed it first
    writer.close()
    if not read or hung:
        reading.cancel()
    try:
        answer = await reading
    except (asyncio.CancelledError, OSError):
        answer = b""
    return Answered(tuple(map(int, re.findall(rb"HTTP/1\.[01] (\d{3})", answer))), read, hung)


async def _all(reader: asyncio.StreamReader) -> bytes:
    found = b""
    try:
        while piece := await reader.read(65_536):
            found += piece
    except OSError:
        pass  # what came before the reset counts
    return found


def ask(port: int, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> tuple[int, dict[str, str]]:
    """A client without fault: status and headers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=BOUND)
    try:
        connection.request(method, path, body=body, headers=headers)
        reply = connection.getresponse()
        reply.read()
        return reply.status, {name.lower(): value for name, value in reply.getheaders()}
    finally:
        connection.close()


def state(port: int) -> dict[str, Any]:
    """What the service holds."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=BOUND)
    try:
        connection.request("GET", "/_state")
        found: dict[str, Any] = json.loads(connection.getresponse().read())
        return found
    finally:
        connection.close()


@contextmanager
def served(name: str, folder: Path, **settings: str) -> Iterator[Server]:
    """The service under a real server, everything switched on."""
    port = free_port()
    command = [sys.executable, *(part.format(port=port) for part in SERVERS[name])]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HANDRAIL_", "OTEL_", "PYTEST"))}
    environ = kept | SETTINGS | settings
    environ |= {"HANDRAIL_TRACES_DIR": str(folder / "traces"), "PYTHONPATH": str(ROOT)}
    environ["HANDRAIL_IDEMPOTENCY_STORE"] = f"sqlite:///{folder}/answers.sqlite"
    with running(command, cwd=folder, port=port, environ=environ) as server:
        server.ask("/_state", {})
        yield server
