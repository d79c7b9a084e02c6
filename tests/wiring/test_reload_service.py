"""What a service decides once for all its calls, changed while it runs: deadlines, headers, sharing."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests

import handrail
from handrail.resilience import current_deadline
from handrail.resilience.outbound import _round
from tests.redis_server import RedisServer, until
from tests.wiring.asgi_drive import request
from tests.wiring.followed import Service

NOBODY = "redis://:secret@127.0.0.1:1"


class App:
    """Answers 200, and keeps what it knew of its caller's deadline."""

    def __init__(self) -> None:
        self.left: list[float | None] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.left.append(current_deadline())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def ask(app: Any, name: str, value: str) -> int:
    """The status of a request with this header."""
    return request(app, headers=[(b"host", b"test"), (name.encode(), value.encode())])[0]


def test_the_stages_of_deadlines_change_at_the_next_request(service: Service) -> None:
    """The roll-out from observe to enforce takes no restart, and the way back none either."""
    inner = App()
    service.start('deadline_mode = "observe"\n')
    app = handrail.protect(inner)
    assert ask(app, "x-request-deadline", "-1") == 200
    assert service.change('deadline_mode = "enforce"\n') == [
        "INFO handrail.toml read again: deadline_mode observe -> enforce"
    ]
    assert ask(app, "x-request-deadline", "-1") == 504
    assert ask(app, "x-request-deadline", "50") == 200
    service.change('deadline_mode = "propagate"\n')
    assert ask(app, "x-request-deadline", "-1") == 200
    assert ask(handrail.protect(App()), "x-request-deadline", "-1") == 200, "an app that is made later too"
    assert [left is None for left in inner.left] == [True, False, False]


def test_the_bound_of_deadlines_changes_at_the_next_request(service: Service) -> None:
    """`deadline_max`: what a stranger may ask for."""
    inner = App()
    service.start("deadline_max = 3000\n")
    app = handrail.protect(inner)
    ask(app, "x-request-deadline", "2000")
    service.change("deadline_max = 60\n")
    ask(app, "x-request-deadline", "2000")
    before, after = inner.left
    assert before is not None
    assert after is not None
    assert before - after > 1000


@pytest.mark.parametrize("tracing", [True, False])
def test_the_names_of_headers_change_inwards(service: Service, monkeypatch: pytest.MonkeyPatch, tracing: bool) -> None:
    """With and without a layer of tracing that looks for them in its own pass."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "" if tracing else "true")
    inner = App()
    service.start('timeout_header = "x-time"\n')
    app = handrail.protect(inner)
    ask(app, "x-time", "50000")
    service.change('timeout_header = "x-left"\n')
    ask(app, "x-time", "50000")
    ask(app, "x-left", "50000")
    service.change('timeout_header = "off"\n')
    ask(app, "x-left", "50000")
    assert [left is not None for left in inner.left] == [True, False, True, False]


class Peer:
    """A server that keeps the headers of what was sent to it, with names in lower case."""

    def __init__(self, server: ThreadingHTTPServer, headers: list[set[str]]) -> None:
        self.headers = headers
        self._port = server.server_address[1]
        self.url = f"http://127.0.0.1:{self._port}/"

    def connect(self) -> None:
        """A connection past all policies."""
        socket.create_connection(("127.0.0.1", self._port)).close()


@pytest.fixture
def peer() -> Iterator[Peer]:
    seen: list[set[str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append({name.lower() for name in self.headers})
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing to say."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield Peer(server, seen)
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("get", [httpx.get, requests.get], ids=["httpx", "requests"])
def test_the_names_of_headers_change_outwards(service: Service, peer: Peer, get: Any) -> None:
    """From the next attempt on; none while deadlines are only observed, or where it is off."""
    service.start('timeout_header = "x-time"\n')
    get(peer.url, timeout=5)
    service.change('timeout_header = "x-left"\n')
    get(peer.url, timeout=5)
    service.change('timeout_header = "x-left"\ndeadline_mode = "observe"\n')
    get(peer.url, timeout=5)
    service.change('timeout_header = "off"\n')
    get(peer.url, timeout=5)
    names = ("x-time", "x-left", "x-envoy-expected-rq-timeout-ms")
    assert [[name for name in names if name in headers] for headers in peer.headers] == [["x-time"], ["x-left"], [], []]


@pytest.mark.parametrize("how", ["strict", "destinations"])
def test_strict_holds_from_the_next_connection_on(
    service: Service, peer: Peer, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """What is refused, and what is declared, changes without a restart."""
    monkeypatch.setattr(_round, "_is_local", lambda _host: False)
    service.start("attempts = 2\n" if how == "strict" else "strict = true\n")
    if how == "strict":
        peer.connect()
        service.change("strict = true\n")
    with pytest.raises(handrail.Undeclared):
        peer.connect()
    service.change('strict = true\ndestinations = ["127.0.0.1"]\n')
    peer.connect()


def carriers() -> list[threading.Thread]:
    """The threads that share breakers."""
    return [thread for thread in threading.enumerate() if thread.name == "handrail-shared"]


def test_breakers_are_shared_anew(service: Service, tmp_path: Path) -> None:
    """Switched on, to another store, with another quorum, and off: no restart, one thread, and no password is told."""
    with RedisServer(tmp_path) as server:
        service.start("attempts = 2\n")
        service.entry()
        assert carriers() == []
        said = service.change(f'attempts = 2\nshared_state = "{NOBODY}"\n')
        (line,) = [one for one in said if "read again" in one]  # the thread may have said already that nobody is there
        assert line == "INFO handrail.toml read again: shared_state none -> redis://127.0.0.1:1"
        (first,) = carriers()
        service.change(f'shared_state = "{server.url}"\nshared_quorum = 1\n')
        until(lambda: not first.is_alive())
        (second,) = carriers()
        service.change("attempts = 2\n")
        until(lambda: not second.is_alive())
    assert carriers() == []
    assert len(service.process.registry.on_new) == 1, "the one that follows the file"


def test_a_store_that_cannot_be_used_changes_nothing(service: Service) -> None:
    """As at the start, but the service goes on with what it had: one warning, and none of the file is taken."""
    service.start("attempts = 2\n")
    (line,) = service.change('attempts = 4\nshared_state = "redis://127.0.0.1:none"\n')
    assert line.startswith("WARNING handrail.toml has changed and cannot be used, the settings stay as they were: ")
    assert "shared_state cannot be used" in line
    assert service.entry().settings.attempts == 2
    assert service.process.settings.service.shared_state == ""
    assert service.change("attempts = 5\n") == ["INFO handrail.toml read again: attempts 2 -> 5"]
