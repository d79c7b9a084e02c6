"""Real servers told to end: what is left is answered, nobody's Ctrl-C waits, a stalled client holds nothing up."""

import http.client
import json
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.drain.replica import SERVERS, Replica

BOUND = 100.0
"""Seconds for everything; the settings of a test ask for hundreds where the end must not wait."""
NEVER = "300"


class Asked:
    """One request in a thread of its own, and its answer; in the ledger under `request_id`."""

    def __init__(self, replica: Replica, request_id: str, seconds: float, path: str = "") -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self._path = path or f"/orders?id={request_id}&seconds={seconds}"
        self._replica = replica
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self.status, self.headers, self.body = ask(self._replica, self._path)

    def wait(self) -> None:
        self._thread.join(BOUND)
        assert not self._thread.is_alive(), "no answer"


def ask(replica: Replica, path: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of a GET over a connection of its own; status 0 where nobody listens."""
    connection = http.client.HTTPConnection("127.0.0.1", replica.port, timeout=BOUND)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    except ConnectionError:
        return 0, {}, b""
    finally:
        connection.close()


def until(condition: Callable[[], bool], what: str) -> None:
    ends = time.monotonic() + BOUND
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < ends, what
        pause.wait(0.05)


Start = Callable[..., Replica]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a replica of a server with settings, and ends it in any case."""
    made: list[Replica] = []

    def begin(server: str, *more: str, **settings: str) -> Replica:
        environ = {f"HANDRAIL_{name.upper()}": value for name, value in settings.items()}
        environ |= {"DRAIN_LEDGER": str(tmp_path / "ledger"), "HANDRAIL_TRACES_DIR": str(tmp_path)}
        replica = Replica(server, tmp_path, environ, *more)
        made.append(replica)
        replica.start()
        until(lambda: replica.ended or ask(replica, "/orders?id=first")[0] == 200, "it never started")
        assert not replica.ended, replica.output()
        return replica

    yield begin
    for replica in made:
        replica.kill()


def begun(tmp_path: Path, request_id: str) -> Callable[[], bool]:
    return lambda: f"begun {request_id}\n" in (tmp_path / "ledger").read_text("utf-8")


@pytest.mark.parametrize("server", SERVERS)
def test_what_is_left_is_answered_and_the_process_ends(start: Start, tmp_path: Path, server: str) -> None:
    """Nobody asked for readiness: no wait. After `drain_timeout` the request that hangs gets its 503, with a trace."""
    replica = start(server, drain_wait=NEVER, drain_timeout="1")
    hanging = Asked(replica, "hangs", 1000)
    until(begun(tmp_path, "hangs"), "never begun")
    replica.signal(signal.SIGTERM)
    hanging.wait()
    assert replica.wait(BOUND) == (-signal.SIGTERM if server == "uvicorn" else 0), replica.output()
    assert hanging.status == 503, replica.output()
    problem = json.loads(hanging.body)
    assert (problem["type"], problem["policy"]) == ("urn:handrail:problem:draining", "drain")
    assert problem["trace_id"]
    assert hanging.headers["retry-after"] == "1"
    assert "Traceback" not in replica.output(), replica.output()


@pytest.mark.parametrize("server", SERVERS)
def test_requests_are_taken_while_it_is_not_ready(start: Start, server: str) -> None:
    """Readiness is asked for, and fails from SIGTERM on; who still comes is served, and told to close."""
    replica = start(server, drain_wait=NEVER, drain_timeout="1")
    assert ask(replica, "/readyz")[0] == 200
    replica.signal(signal.SIGTERM)
    until(lambda: ask(replica, "/readyz")[0] == 503, "ready to the end")

    def late() -> bool:
        status, headers, body = ask(replica, "/orders?id=late")
        assert (status, body) == (200, b"late")
        return headers.get("connection") == "close"

    until(late, "never told to close")  # of several workers one may hear of the end a moment later
    assert not replica.ended


TWO = {
    "uvicorn-workers": (),
    "gunicorn": ("--workers", "2"),
    "hypercorn": ("--workers", "2"),
    "hypercorn-trio": ("--workers", "2"),
    "granian": ("--workers", "2"),
}


@pytest.mark.parametrize("server", TWO)
def test_a_worker_waits_that_was_never_asked(start: Start, tmp_path: Path, server: str) -> None:
    """One question reaches one of two workers by chance, and both go on after SIGTERM; nothing is left behind."""
    replica = start(server, *TWO[server], drain_wait=NEVER, drain_timeout="1")
    workers: set[bytes] = set()

    def both_answer() -> bool:
        workers.add(ask(replica, "/who")[2])
        return len(workers) == 2

    until(both_answer, "only one of them ever answered")
    assert ask(replica, "/readyz")[0] == 200
    folder = tmp_path / ".local/state/handrail/workers"
    assert len([*folder.glob("*/*")]) == 1
    replica.signal(signal.SIGTERM)
    draining: Counter[bytes] = Counter()

    def both_drain() -> bool:
        status, headers, body = ask(replica, "/who")
        assert status == 200, replica.output()
        draining[body] += headers.get("connection") == "close"
        return all(draining[worker] >= 3 for worker in workers)

    until(both_drain, f"only {draining} of {workers} wait")
    replica.interrupt()
    if server.startswith("hypercorn"):  # to its workers both signals are the same, and they wait
        return
    replica.wait(BOUND)
    assert not [*folder.glob("*")]


@pytest.mark.parametrize("server", ["gunicorn", "hypercorn", "hypercorn-trio"])
def test_a_worker_that_is_replaced_sends_its_streams_away(start: Start, tmp_path: Path, server: str) -> None:
    """After so many requests another takes its place: event streams end whole, their app is told, requests go on."""
    replica = start(server, "--max-requests", "20", drain_wait=NEVER, drain_timeout=NEVER)
    first = ask(replica, "/who")[2]
    stream = Asked(replica, "stream", 0, path="/events?id=it")
    until(lambda: "stream-begun it\n" in (tmp_path / "ledger").read_text("utf-8"), "never begun")
    until(lambda: ask(replica, "/who")[2] not in (first, b""), "never replaced")
    stream.wait()
    assert stream.body.startswith(b"data: 1\n\n")
    assert stream.body.endswith(b"\n\n")
    until(lambda: "stream-told it\n" in (tmp_path / "ledger").read_text("utf-8"), "its app was not told")


@pytest.mark.parametrize("server", ["uvicorn", "gunicorn", "hypercorn", "granian"])
def test_a_single_worker_writes_nothing(start: Start, tmp_path: Path, server: str) -> None:
    """There is nobody to tell."""
    replica = start(server)
    assert ask(replica, "/readyz")[0] == 200
    assert not (tmp_path / ".local/state/handrail/workers").exists()


@pytest.mark.parametrize("server", ["uvicorn", "uvicorn-workers", "gunicorn", "hypercorn-alone", "granian"])
def test_ctrl_c_never_waits(start: Start, server: str) -> None:
    """SIGINT, to the whole group as a terminal sends it, ends it at once although somebody follows readiness."""
    replica = start(server, drain_wait=NEVER, drain_timeout="1")
    for _ in range(20):
        assert ask(replica, "/readyz")[0] == 200
    replica.interrupt()
    replica.wait(BOUND)


def test_ctrl_c_ends_a_wait(start: Start) -> None:
    """A second SIGTERM does not: process managers send it to parent and child alike."""
    replica = start("uvicorn", drain_wait=NEVER, drain_timeout="1")
    assert ask(replica, "/readyz")[0] == 200
    replica.signal(signal.SIGTERM)
    until(lambda: ask(replica, "/readyz")[0] == 503, "ready to the end")
    replica.signal(signal.SIGTERM)
    assert ask(replica, "/orders?id=still")[0] == 200
    replica.signal(signal.SIGINT)
    replica.wait(BOUND)


@pytest.mark.parametrize(
    ("server", "bound"), [("uvicorn", "--timeout-graceful-shutdown"), ("hypercorn-alone", "--graceful-timeout")]
)
def test_a_bound_of_the_server_stays(start: Start, tmp_path: Path, server: str, bound: str) -> None:
    """What would be cut off by the server is answered before, however long we would have waited ourselves."""
    replica = start(server, bound, "4", drain_wait=NEVER, drain_timeout=NEVER)
    hanging = Asked(replica, "hangs", 1000)
    until(begun(tmp_path, "hangs"), "never begun")
    replica.signal(signal.SIGTERM)
    hanging.wait()
    replica.wait(BOUND)
    assert hanging.status == 503, replica.output()


def test_a_client_that_does_not_read_holds_nothing_up(start: Start) -> None:
    """Uvicorn waits for such a connection for ever: it is given a bound, and the lifespan goes down."""
    replica = start("uvicorn", drain_wait="0", drain_timeout="1")
    with socket.create_connection(("127.0.0.1", replica.port), timeout=BOUND) as stalled:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stalled.sendall(b"GET /large HTTP/1.1\r\nhost: test\r\n\r\n")
        assert stalled.recv(16) == b"HTTP/1.1 200 OK\r"
        replica.signal(signal.SIGTERM)
        replica.wait(BOUND)
    assert "the lifespan has ended" in replica.output()
