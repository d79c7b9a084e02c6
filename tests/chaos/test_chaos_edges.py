"""Faults at the edges: clients within the process, another event loop, bodies that come once, the command line."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import httpx
import pytest
from click.testing import CliRunner
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from handrail import protect
from handrail.chaos import Dropped, inject
from handrail.cli import main
from handrail.resilience.chaos.header import verified
from handrail.resilience.chaos.text import parsed
from handrail.tracing.testing import Spans
from tests.chaos.chaos_peer import Peer, serve


@pytest.fixture
def peer() -> Iterator[Peer]:
    with serve() as running:
        yield running


@pytest.fixture
def client(spans: Spans) -> TestClient:
    """A client within the process."""
    assert spans is not None

    async def text(request: Request) -> Response:
        return PlainTextResponse((await request.body()) or b"the text")

    async def room(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text("hello")
        await websocket.close()

    app = Starlette(routes=[Route("/text", text, methods=["GET", "POST"]), WebSocketRoute("/room", room)])
    return TestClient(protect(app))


@pytest.mark.parametrize("kind", ["refuse", "hang=0.01", "reset", "lost"])
def test_dropped_within_the_process(client: TestClient, kind: str) -> None:
    """There is no connection to drop: the client gets an error of its kind."""
    with inject(f"in {kind}"), pytest.raises(Dropped):
        client.get("/text")
    assert issubclass(Dropped, ConnectionResetError)
    assert client.get("/text").status_code == 200


def test_a_websocket_within_the_process(client: TestClient) -> None:
    """It is closed before it is open; a reset reaches the app as a client that left."""
    with inject("in refuse"), pytest.raises(WebSocketDisconnect), client.websocket_connect("/room"):
        pass
    with inject("in reset") as injected, pytest.raises(WebSocketDisconnect) as seen:  # noqa: SIM117 (what is raised is the app's)
        with client.websocket_connect("/room") as room:
            room.receive_text()
    assert (injected.count, seen.value.code) == (1, 1006)
    with client.websocket_connect("/room") as room:
        assert room.receive_text() == "hello"


def test_a_long_body_comes_once(client: TestClient) -> None:
    """What is longer than 1 MiB is not kept for a duplicate, and reaches the app whole."""
    body = b"x" * (2 * 1024 * 1024)
    with inject("in duplicate"):
        assert client.post("/text", content=body).content == body


def test_an_error_of_the_app_passes(spans: Spans) -> None:
    """What the app raises is not swallowed, whatever fault there is."""
    assert spans is not None

    async def broken(_request: Request) -> Response:
        raise LookupError("of the app")

    client = TestClient(protect(Starlette(routes=[Route("/", broken)])))
    for kind in ("latency=0.001", "lost", "duplicate"):
        with inject(f"in {kind}"), pytest.raises(LookupError):
            client.get("/")


def test_nested_blocks(client: TestClient) -> None:
    """The inner block is over before the outer one; a block that raises is over too."""
    with inject("in error=500"):
        with inject("in error=501"):
            assert client.get("/text").status_code == 500  # the first that hits
        with pytest.raises(KeyError), inject("in error=501"):
            raise KeyError
        assert client.get("/text").status_code == 500
    assert client.get("/text").status_code == 200


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_calls_on_each_loop(backend: str, peer: Peer, spans: Spans) -> None:
    """Delay, error and refusal on asyncio and on trio."""
    assert spans is not None

    async def calls() -> list[object]:
        found: list[object] = []
        async with httpx.AsyncClient() as client:
            for fault in ("out latency=0.001", "out error=500", "out refuse", "out reset", "out duplicate"):
                with inject(fault):
                    try:
                        found.append((await client.get(peer.url)).status_code)
                    except httpx.TransportError as error:
                        found.append(type(error))
        return found

    assert anyio.run(calls, backend=backend) == [200, 500, httpx.ConnectError, httpx.ReadError, 200]
    assert len(peer.carried) == 4


def test_a_body_that_can_be_read_once_is_sent_once(peer: Peer, spans: Spans) -> None:
    """A duplicate of a stream cannot be made: it is sent as it is, once."""
    assert spans is not None

    async def pieces() -> AsyncIterator[bytes]:
        yield b"a"
        yield b"b"

    async def call() -> int:
        async with httpx.AsyncClient() as client:
            return (await client.post(peer.url, content=pieces(), headers={"content-length": "2"})).status_code

    with inject("out duplicate"):
        assert anyio.run(call) == 200
    assert peer.carried == [("POST", "/", b"ab")]


def test_in_process_transports_meet_none(spans: Spans) -> None:
    """A mock answers as it was told."""
    assert spans is not None
    with inject("out refuse"), httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(204))) as client:
        assert client.get("http://payment").status_code == 204


def test_sign_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It prints the whole header, ready for curl; what is wrong is one line and exit code 2."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HANDRAIL_CHAOS_SECRET", "a secret of sixteen")
    done = CliRunner().invoke(main, ["chaos", "sign", "in error=503 /charge", "out refuse", "--seconds", "5"])
    name, _, value = done.stdout.strip().partition(": ")
    assert (done.exit_code, name) == (0, "handrail-chaos")
    faults, _ = verified(value, "a secret of sixteen", 0.0 + _now())
    assert faults == (parsed("in error=503 /charge"), parsed("out refuse"))
    wrong = CliRunner().invoke(main, ["chaos", "sign", "explode"])
    assert wrong.exit_code == 2
    assert wrong.stderr.startswith("handrail: chaos: must begin with in, out or both")


def _now() -> float:
    import time

    return time.time()
