"""Limits on what comes in, on the wire: what the servers hand on is what the limits rely on."""

import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path

import httpx
import pytest

from tests.shadow.processes import Server, free_port, running

PATIENCE = 60.0
"""Seconds for an answer on a busy machine; nothing waits for them to pass."""
LIMIT = 100_000
HOST = b"Host: service\r\n"

APP = """
import json
from handrail import protect

async def app(scope, receive, send):
    async def answer(status, body, more=False):
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": body, "more_body": more})

    if scope["type"] != "http":
        return
    if scope["path"] == "/unread":
        return await answer(200, b'{"read": 0}')
    if scope["path"] == "/begun":
        await answer(200, b"begun", more=True)
    size = largest = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return
        size += len(message.get("body", b""))
        largest = max(largest, len(message.get("body", b"")))
        if not message.get("more_body"):
            break
    await answer(200, json.dumps({"read": size, "largest": largest}).encode())

app = protect(app)
"""
COMMANDS = {
    "uvicorn": ["uvicorn", "app:app", "--log-level", "warning", "--port", "{port}"],
    "hypercorn": ["hypercorn", "app:app", "-b", "127.0.0.1:{port}"],
    "granian": ["granian", "--interface", "asgi", "app:app", "--port", "{port}"],
}


def begun(stack: ExitStack, folder: Path, name: str, **environ: str) -> Server:
    (folder / "app.py").write_text(APP)
    port = free_port()
    command = [sys.executable, "-m", *(word.format(port=port) for word in COMMANDS[name])]
    environ = {"PATH": os.environ["PATH"], "HANDRAIL_TRACES_DIR": str(folder / "traces"), **environ}
    server = stack.enter_context(running(command, cwd=folder, port=port, environ=environ))
    server.ask("/unread", {})
    return server


@pytest.fixture(scope="module", params=COMMANDS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service that takes 100 kB."""
    with ExitStack() as stack:
        folder = tmp_path_factory.mktemp(request.param)
        yield begun(stack, folder, request.param, HANDRAIL_BODY_MAX=str(LIMIT))


class Wire:
    """A client that writes bytes, and reads an answer as far as its Content-Length."""

    def __init__(self, server: Server, *, forgiving: bool = False) -> None:
        self._forgiving = forgiving
        self._socket = socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)
        self.got = b""

    def say(self, *parts: bytes) -> None:
        """Write all of it. Most clients never look at an answer where this fails."""
        with suppress(ConnectionError) if self._forgiving else nullcontext():
            for part in parts:
                self._socket.sendall(part)

    def until(self, mark: bytes) -> bytes:
        """Read up to a mark, or to the end; what stands before it."""
        with suppress(ConnectionError):
            while mark not in self.got and (data := self._socket.recv(65_536)):
                self.got += data
        before, _, self.got = self.got.partition(mark)
        return before

    def answer(self) -> tuple[int, dict[bytes, bytes], bytes]:
        """Status, headers and body of the final answer."""
        while True:
            line, *fields = self.until(b"\r\n\r\n").split(b"\r\n")
            status = int(line.split(b" ")[1])
            if status >= 200:
                break
        headers = {name.lower(): value.strip() for name, _, value in (field.partition(b":") for field in fields)}
        length = int(headers[b"content-length"])
        with suppress(ConnectionError):
            while len(self.got) < length and (data := self._socket.recv(65_536)):
                self.got += data
        return status, headers, self.got[:length]

    def rest(self) -> bytes:
        """Everything until the server closes."""
        with suppress(ConnectionError):
            while data := self._socket.recv(65_536):
                self.got += data
        return self.got

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def wire(server: Server, request: pytest.FixtureRequest) -> Iterator[Wire]:
    """A connection to it. Granian closes as soon as an answer has its length, whatever else is to come."""
    made = Wire(server, forgiving="granian" in request.node.name)
    yield made
    made.close()


def problem(answer: tuple[int, dict[bytes, bytes], bytes], status: int, setting: str) -> None:
    found, headers, body = answer
    assert found == status
    assert headers[b"content-type"] == b"application/problem+json"
    assert headers[b"connection"].lower() == b"close"
    document = json.loads(body)
    assert setting in document["detail"]
    assert len(document["trace_id"]) == 32


def chunk(size: int) -> bytes:
    return b"%x\r\n" % size + b"x" * size + b"\r\n"


def test_a_declared_body_is_refused_and_its_sender_can_read_why(wire: Wire) -> None:
    """It sends all of it before it looks: a connection closed over that would have taken the answer with it."""
    wire.say(b"POST /read HTTP/1.1\r\n" + HOST + b"Content-Length: 4000000\r\n\r\n", *[b"x" * 100_000] * 40)
    problem(wire.answer(), 413, "body_max")


def test_who_asks_first_sends_nothing(wire: Wire) -> None:
    """Expect: 100-continue, and a body that is too large: 413, and no body was sent."""
    wire.say(b"POST /read HTTP/1.1\r\n" + HOST + b"Content-Length: 4000000\r\nExpect: 100-continue\r\n\r\n")
    problem(wire.answer(), 413, "body_max")


def test_who_asks_first_and_may_sends(wire: Wire) -> None:
    """Expect: 100-continue, and a body that fits."""
    wire.say(b"POST /read HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n")
    assert b" 100" in wire.until(b"\r\n\r\n")
    wire.say(b"hello")
    assert b'"read": 5' in wire.until(b"}")


def test_a_body_without_a_length_is_counted(wire: Wire) -> None:
    """Chunked: refused as soon as it is too large, while the client goes on sending."""
    wire.say(b"POST /read HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n")
    wire.say(*[chunk(50_000)] * 40, b"0\r\n\r\n")
    problem(wire.answer(), 413, "body_max")


def test_an_answer_that_has_begun_has_no_end(wire: Wire) -> None:
    """Its body became too large in the middle: the client sees that the answer is not whole."""
    wire.say(b"POST /begun HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n")
    assert b" 200" in wire.until(b"begun")
    with suppress(ConnectionError):
        wire.say(*[chunk(50_000)] * 3)
    assert not wire.rest().endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_body_that_stops_is_408(name: str, tmp_path: Path) -> None:
    """Three of ten bytes, and then nothing; and nothing of a body at all, where its app does not read it."""
    with ExitStack() as stack:
        server = begun(stack, tmp_path, name, HANDRAIL_BODY_TIMEOUT="0.5")
        for path, sent in (("read", b"abc"), ("read", b""), ("unread", b"abc")):
            wire = Wire(server)
            stack.callback(wire.close)
            wire.say(b"POST /%b HTTP/1.1\r\n" % path.encode() + HOST + b"Content-Length: 10\r\n\r\n" + sent)
            if path == "read":
                problem(wire.answer(), 408, "body_timeout")
            else:
                assert b'{"read": 0}' in wire.until(b"}") + b"}"


def test_more_headers_than_may_be_are_431(wire: Wire) -> None:
    """Granian refuses them itself, with the same number and the same status."""
    wire.say(b"GET /unread HTTP/1.1\r\n" + HOST + b"".join(b"x-%d: 1\r\n" % number for number in range(101)) + b"\r\n")
    assert b" 431" in wire.until(b"\r\n")


def test_http_2_without_a_length(tmp_path: Path) -> None:
    """A stream is refused and the connection goes on: the next request has its answer."""
    with ExitStack() as stack:
        server = begun(stack, tmp_path, "hypercorn", HANDRAIL_BODY_MAX=str(LIMIT))
        client = stack.enter_context(httpx.Client(http1=False, http2=True, timeout=PATIENCE))
        url = f"http://127.0.0.1:{server.port}/read"
        small = client.post(url, content=iter([b"x" * 1000] * 3))
        assert (small.http_version, small.json()["read"]) == ("HTTP/2", 3000)
        refused = client.post(url, content=iter([b"x" * 1000] * 101))
        assert refused.status_code == 413
        assert "body_max" in refused.json()["detail"]
        assert client.post(url, content=b"x").json()["read"] == 1


def test_an_upload_of_90_mib_passes_in_pieces(tmp_path: Path) -> None:
    """With the defaults: it is never held, so the process grows by far less than it."""

    def pieces() -> Iterator[bytes]:
        for _ in range(90):
            yield b"x" * 1_048_576

    with ExitStack() as stack:
        server = begun(stack, tmp_path, "uvicorn")
        before = _peak(server.process.pid)
        sent = httpx.post(f"http://127.0.0.1:{server.port}/read", content=pieces(), timeout=PATIENCE).json()
        assert sent["read"] == 90 * 1_048_576
        assert sent["largest"] < 8 * 1_048_576
        assert _peak(server.process.pid) - before < 40_000


def _peak(pid: int) -> int:
    """The largest resident size so far, in kB."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1])
