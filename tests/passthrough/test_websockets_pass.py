"""Websockets pass as they are: messages of any size, subprotocols, codes and refusals."""

import time

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.passthrough.stream_servers import SERVERS, Start
from tests.passthrough.wire_http1 import ask

MEGABYTE = bytes(range(256)) * 4096


def room(port: int, path: str = "/room") -> ClientConnection:
    """A connection without compression."""
    address = f"ws://127.0.0.1:{port}{path}"
    chat = [Subprotocol("chat")]
    return connect(address, subprotocols=chat, compression=None, max_size=None, open_timeout=60, proxy=None)


@pytest.mark.parametrize("name", SERVERS)
def test_messages_come_back_as_they_were(start: Start, name: str) -> None:
    """Text stays text, bytes stay bytes, also a megabyte of them; ten at once come in their order."""
    with room(start(name).port) as socket:
        for message in ("grüße", b"\x00\xff", MEGABYTE, ""):
            socket.send(message)
            assert socket.recv(60) == message
        for number in range(10):
            socket.send(str(number))
        assert [socket.recv(60) for _ in range(10)] == [str(number) for number in range(10)]


def handshake(port: int) -> dict[str, str]:
    """The headers of the server's answer, without what is another each time."""
    with room(port) as socket:
        assert socket.response is not None
        headers = {name.lower(): value for name, value in socket.response.headers.raw_items()}
    return {name: value for name, value in headers.items() if name not in ("date", "sec-websocket-accept")}


@pytest.mark.parametrize("name", SERVERS)
def test_the_handshake_is_the_applications(start: Start, name: str) -> None:
    """The subprotocol that it chose, and the header that it added where the server sends one (granian does not)."""
    found = handshake(start(name).port)
    assert found == handshake(start(name, guarded=False).port)
    assert found["sec-websocket-protocol"] == "chat"
    assert found.get("x-room") == (None if name == "granian" else "9")


@pytest.mark.parametrize("name", SERVERS)
def test_the_code_of_the_application_reaches_the_client(start: Start, name: str) -> None:
    """With its reason."""
    port = start(name).port
    with room(port) as socket:
        socket.send("close")
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(60)
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, "enough")


def heard(port: int, name: str) -> int:
    """The code that the application is told when the client closes with 3999."""
    with room(port, f"/room?id={name}") as socket:
        socket.send("hello")
        socket.recv(60)
        socket.close(3999)
    ends = time.monotonic() + 60
    while (code := ask(port, f"/code?id={name}")) is None:
        assert time.monotonic() < ends
        time.sleep(0.01)  # noqa: TID251  (between two looks at another process)
    assert isinstance(code, int)
    return code


@pytest.mark.parametrize("name", SERVERS)
def test_the_code_of_the_client_reaches_the_application(start: Start, name: str) -> None:
    """As it does without handrail: hypercorn may say 1006 of each connection that the client closed."""
    found = heard(start(name).port, name)
    assert found == heard(start(name, guarded=False).port, name)
    assert found in ((3999, 1006) if name == "hypercorn" else (3999,))


@pytest.mark.parametrize("name", SERVERS)
def test_a_refusal_is_the_applications(start: Start, name: str) -> None:
    """`websocket.http.response`: status, header and body of its own."""
    with pytest.raises(InvalidStatus) as refused, room(start(name).port, "/refused"):
        pass
    response = refused.value.response
    assert (response.status_code, response.headers["x-why"], response.body) == (418, "tea", b"short and stout")
