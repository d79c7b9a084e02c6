"""A service that catches its client's errors itself keeps doing so: its fallback answers, not our problem details."""

import http.client
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.shadow.processes import Server, free_port, running
from tests.sockets.peer import silent

APP = """
import importlib
from fastapi import FastAPI
from handrail import protect

app = FastAPI()

async def call(library, how, url):
    if how == "async":
        async with library.AsyncClient() as client:
            return await client.get(url)
    if how == "sync":
        with library.Client() as client:
            return client.get(url)
    return library.get(url)

@app.get("/caught")
async def caught(library: str, how: str, url: str):
    library = importlib.import_module(library)
    try:
        reply = await call(library, how, url)
    except library.HTTPError as error:
        return {
            "fallback": [cls.__name__ for cls in type(error).__mro__],
            "timeout": isinstance(error, library.TimeoutException),
            "url": str(error.request.url),
        }
    return {"status": reply.status_code}

@app.get("/uncaught")
async def uncaught(library: str, how: str, url: str):
    return (await call(importlib.import_module(library), how, url)).status_code

app = protect(app)
"""
ENVIRON = {
    "HANDRAIL_ATTEMPTS": "1",
    "HANDRAIL_ATTEMPT_TIMEOUT": "0.2",
    "HANDRAIL_BREAKER_MINIMUM_CALLS": "3",
    "HANDRAIL_BREAKER_OPEN_FOR": "60",
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One process for all tests here; each calls a peer, and so has a breaker, of its own."""
    folder: Path = tmp_path_factory.mktemp("except")
    (folder / "app.py").write_text(APP)
    port = free_port()
    environ = {"PATH": os.environ["PATH"], "HANDRAIL_TRACES_DIR": str(folder / "traces"), **ENVIRON}
    command = [sys.executable, "-m", "uvicorn", "app:app", "--port", str(port), "--log-level", "warning"]
    with running(command, cwd=folder, port=port, environ=environ) as server:
        server.ask("/openapi.json", {})  # waits until it listens
        yield server
        assert "Traceback" not in server.output(), server.output()


@pytest.fixture(params=["httpx-async", "httpx-sync", "httpx-function", "httpx2-async", "httpx2-sync"])
def client(request: pytest.FixtureRequest) -> dict[str, str]:
    library, how = request.param.split("-")
    return {"library": library, "how": how}


def _ask(service: Server, path: str, query: dict[str, str]) -> tuple[int, str, dict[str, object]]:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
    connection.request("GET", f"{path}?{urlencode(query)}")
    reply = connection.getresponse()
    found = reply.status, reply.headers.get_content_type(), json.loads(reply.read())
    connection.close()
    return found


def test_a_refused_connection_is_caught(service: Server, client: dict[str, str]) -> None:
    """Nobody listens: the service's own `except HTTPError` gets the library's ConnectError."""
    url = f"http://127.0.0.1:{free_port()}/stock"
    status, kind, body = _ask(service, "/caught", {**client, "url": url})
    assert (status, kind) == (200, "application/json")
    assert str(body["fallback"]).startswith("['ConnectError'")
    assert body["url"] == url


def test_an_open_circuit_is_caught(service: Server, client: dict[str, str]) -> None:
    """Three failures open the breaker; the call that is then rejected is an HTTPError too, and no timeout."""
    query = {**client, "url": f"http://127.0.0.1:{free_port()}/stock"}
    answers = [_ask(service, "/caught", query) for _ in range(4)]
    assert [(status, kind) for status, kind, _ in answers] == [(200, "application/json")] * 4
    names = [body["fallback"] for _, _, body in answers]
    assert ["CircuitOpen" in str(each) for each in names] == [False, False, False, True]
    assert answers[3][2]["timeout"] is False
    assert answers[3][2]["url"] == query["url"]


def test_an_attempt_timeout_is_caught(service: Server, client: dict[str, str]) -> None:
    """The attempt that we end is a TimeoutException of the library."""
    with silent() as url:
        status, kind, body = _ask(service, "/caught", {**client, "url": url})
    assert (status, kind) == (200, "application/json")
    assert body["timeout"] is True
    assert body["url"] == url


def test_only_what_nobody_catches_is_a_problem(service: Server, client: dict[str, str]) -> None:
    """The same calls without an `except`: problem details with 503 and 504."""
    with silent() as url:
        hung = _ask(service, "/uncaught", {**client, "url": url})
    refused = _ask(service, "/uncaught", {**client, "url": f"http://127.0.0.1:{free_port()}/stock"})
    assert [(status, kind) for status, kind, _ in (hung, refused)] == [
        (504, "application/problem+json"),
        (503, "application/problem+json"),
    ]
