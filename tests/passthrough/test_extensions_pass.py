"""What a server can do beyond plain ASGI, it can do under handrail too."""

import pytest
from h2.events import TrailersReceived

from tests.passthrough.stream_servers import SERVERS, Start
from tests.passthrough.wire_http1 import Http1, ask
from tests.passthrough.wire_http2 import Http2


def names_of(http: Http2) -> list[str]:
    """The kinds of what arrives for a request, up to its end; data once."""
    found: list[str] = []
    while not found or found[-1] != "StreamEnded":
        name = type(http.event()).__name__
        if found[-1:] != [name]:
            found.append(name)
    return found


@pytest.mark.parametrize("name", SERVERS)
def test_the_application_sees_the_same_extensions(start: Start, name: str) -> None:
    """None is taken away and none invented, for requests without an idempotency key."""
    assert ask(start(name).port, "/extensions") == ask(start(name, guarded=False).port, "/extensions")


def test_granian_sends_a_file_by_its_path(start: Start) -> None:
    """`http.response.pathsend`: one message with the path, and no piece of the file passes through Python."""
    port = start("granian").port
    with Http1(port) as http:
        http.begin("GET", "/file")
        http.head()
        assert sum(map(len, http.body())) > 0
    assert ask(port, "/seen?id=http.response.pathsend") == 1
    assert ask(port, "/seen?id=http.response.body") == 0


@pytest.mark.parametrize("guarded", [True, False])
def test_trailers_arrive_after_the_body(start: Start, guarded: bool) -> None:
    """HTTP/2 trailers, with the header that the application gave them."""
    with Http2(start("hypercorn", guarded=guarded).port) as http:
        http.begin("GET", "/trailers")
        assert names_of(http) == ["ResponseReceived", "DataReceived", "TrailersReceived", "StreamEnded"]
        http.begin("GET", "/trailers")
        while not isinstance(event := http.event(), TrailersReceived):
            pass
        assert [(str(key), str(value)) for key, value in event.headers] == [("x-sum", "841a2d68")]


@pytest.mark.parametrize("guarded", [True, False])
def test_hints_come_before_the_answer(start: Start, guarded: bool) -> None:
    """103 with its link, the promise of an answer that nobody asked for, then the answer."""
    with Http2(start("hypercorn", guarded=guarded).port) as http:
        http.begin("GET", "/hints")
        status, headers = http.head()
        assert (status, dict(headers)["link"]) == (103, "</style.css>; rel=preload")
        assert names_of(http)[:2] == ["PushedStreamReceived", "ResponseReceived"]
