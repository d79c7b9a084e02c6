"""Pieces of requests and answers pass as they come, in both directions, under each server and version of HTTP."""

import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.passthrough.stream_servers import Start
from tests.passthrough.wire_http1 import Http1, ask
from tests.passthrough.wire_http2 import Http2

LINES = [("uvicorn", Http1), ("hypercorn", Http1), ("hypercorn", Http2), ("granian", Http1), ("granian", Http2)]
Line = Http1 | Http2
Open = Callable[[str], Line]


@pytest.fixture(params=LINES, ids=lambda line: f"{line[0]}-{line[1].__name__}")
def made(request: pytest.FixtureRequest, start: Start) -> Iterator[tuple[Line, int, str]]:
    """A connection to the service under handrail, the port, and a name of its own for the trial."""
    name, kind = request.param
    port = start(name).port
    with kind(port) as line:
        yield line, port, request.node.name.replace("[", "-").replace("]", "")


def until(condition: Callable[[], object]) -> None:
    """Wait for what has to come, a minute at most."""
    ends = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < ends, "waited a minute"
        time.sleep(0.01)  # noqa: TID251  (between two looks at another process)


def through(pieces: Iterator[bytes], mark: bytes) -> bytes:
    """Pieces up to one that ends by `mark`."""
    found = b""
    while not found.endswith(mark):
        found += next(pieces)
    return found


def test_an_event_arrives_before_the_next_one_is_made(made: tuple[Line, int, str]) -> None:
    """The application waits until the client has the event before: a layer that kept one back would hang here."""
    line, port, name = made
    line.begin("GET", f"/events?id={name}&n=3")
    assert line.head()[0] == 200
    pieces = line.body()
    for number in range(3):
        assert through(pieces, b"\n\n") == b"data: %d\n\n" % number
        ask(port, f"/open?id={name}")
    assert list(pieces) == []


def test_a_piece_of_a_request_is_read_before_the_next_is_sent(made: tuple[Line, int, str]) -> None:
    """The application has the first byte before the last one is sent; all arrive in their order."""
    line, port, name = made
    parts = [bytes([number]) * 100_000 for number in range(20)]
    line.begin("POST", f"/upload?id={name}", body=True)
    line.put(parts[0])
    until(lambda: ask(port, f"/seen?id={name}") == len(parts[0]))
    for part in parts[1:]:
        line.put(part)
    line.finish()
    assert line.head()[0] == 200
    told = b"".join(line.body()).decode()
    assert hashlib.sha256(b"".join(parts)).hexdigest() in told
    assert '"bytes": 2000000' in told


def test_both_directions_at_once(made: tuple[Line, int, str]) -> None:
    """What is sent comes back while the request is still open."""
    line, _, _ = made
    line.begin("POST", "/echo", body=True)
    line.put(b"one.")
    assert line.head()[0] == 200
    pieces = line.body()
    assert through(pieces, b".") == b"one."
    line.put(b"two.")
    assert through(pieces, b".") == b"two."
    line.finish()
    assert list(pieces) == []


def test_the_application_hears_that_the_client_left(made: tuple[Line, int, str]) -> None:
    """In the middle of a stream of events, while nothing is sent."""
    line, port, name = made
    line.begin("GET", f"/endless?id={name}")
    line.head()
    assert through(line.body(), b"\n\n") == b"data: 0\n\n"
    assert ask(port, f"/left?id={name}") is False
    line.close()
    until(lambda: ask(port, f"/left?id={name}"))


def test_a_file_is_sent_whole_with_its_length(made: tuple[Line, int, str], sent: Path) -> None:
    """Byte for byte, and with the headers that the framework gave it."""
    line, _, _ = made
    content = sent.read_bytes()
    line.begin("GET", "/file")
    status, headers = line.head()
    assert (status, dict(headers)["content-length"]) == (200, str(len(content)))
    assert "etag" in dict(headers)
    assert b"".join(line.body()) == content


def test_ten_thousand_small_pieces_come_in_their_order(made: tuple[Line, int, str]) -> None:
    """None lost, none joined with another request's."""
    line, _, _ = made
    line.begin("GET", "/events?free=1&n=10000")
    assert line.head()[0] == 200
    assert b"".join(line.body()) == b"".join(b"data: %d\n\n" % number for number in range(10_000))
