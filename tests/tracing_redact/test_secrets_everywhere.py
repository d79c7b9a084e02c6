"""Secrets through every field that a client, a callee or an exception controls; then everything that left is searched.

Two services under uvicorn export to a real Jaeger and to the local store. What must be hidden begins with SECRET,
what must be seen with CONTROL, so that a search that finds nothing at all fails too.
"""

import re
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import connect

from tests.deploy.jaeger_server import JaegerServer
from tests.shadow.processes import START, Server, free_port, running

pytestmark = [pytest.mark.jaeger, pytest.mark.xdist_group("secrets")]

SERVICE = Path(__file__).with_name("leaky_service.py")
NAMED = (
    "authorization,proxy-authorization,cookie,set-cookie,x-api-key,x-auth-token,x-csrf-token,referer,location,x-shown"
)
CAPTURE = "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_"
BY_CONVENTION = {"CONTROL_AGENT", "CONTROL_METHOD", "CONTROL_HOST", "CONTROL_PATH"}
"""What the conventions record as the client sent it: user_agent.original, method_original, server.address, url.path."""
SHOWN = {
    *("CONTROL_QUERY", "CONTROL_HEADER", "CONTROL_ANSWER", "CONTROL_CALL", "CONTROL_CALL_HEADER", "CONTROL_OWN"),
    *("CONTROL_CAUSE", "CONTROL_MESSAGE", "CONTROL_REDIRECT", "CONTROL_SOCKET", "CONTROL_REFERER", *BY_CONVENTION),
}
SIGNED = ["AWSAccessKeyId", "Signature", "sig", "X-Goog-Signature", "X-Amz-Signature", "X-Amz-Credential"]
SIGNED += ["X-Amz-Security-Token", "token", "access_token", "API_KEY", "key", "code", "%70assword", "user[password]"]


@contextmanager
def _garbling() -> Iterator[str]:
    """A server whose answers are no HTTP: the error that this makes quotes them."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            while True:
                try:
                    peer, _ = listening.accept()
                except OSError:
                    return
                with peer:
                    peer.recv(65536)
                    peer.sendall(b"HTTP/1.1 200 OK\r\nset-cookie SECRET_GARBLED\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)


@contextmanager
def _service(folder: Path, name: str, jaeger: JaegerServer, **more: str) -> Iterator[tuple[Server, str]]:
    folder.mkdir()
    (folder / "leaky.py").write_text(SERVICE.read_text("utf-8"), "utf-8")
    port = free_port()
    environ = {
        "OTEL_SERVICE_NAME": name,
        "OTEL_TRACES_EXPORTER": "otlp,local",
        "OTEL_EXPORTER_OTLP_ENDPOINT": jaeger.otlp_http,
        "HANDRAIL_TRACES_DIR": str(folder.parent / "store"),
        "HANDRAIL_ATTEMPTS": "2",
        "HANDRAIL_BACKOFF_BASE": "0.01",
        "HANDRAIL_BREAKER_MINIMUM_CALLS": "1000",
        **{CAPTURE + which: NAMED for which in ("SERVER_REQUEST", "SERVER_RESPONSE", "CLIENT_REQUEST")},
        CAPTURE + "CLIENT_RESPONSE": NAMED,
        **more,
    }
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "leaky:app",
        "--port",
        str(port),
        "--http",
        "h11",  # the other parser takes no method that it does not know
        "--no-proxy-headers",
        "--no-access-log",
    ]
    with running(command, cwd=folder, port=port, environ=environ) as server:
        yield server, f"127.0.0.1:{port}"


def _send(origin: str) -> list[str]:
    """All requests; returns the bodies of the problems."""
    queries = "&".join(f"{key}=SECRET_QUERY_{number}" for number, key in enumerate(SIGNED))
    inner = "next=https%3A%2F%2FSECRET_NEXT_USER%3Ax%40h%2F%3Ftoken%3DSECRET_NEXT"
    headers = {
        "authorization": "Bearer SECRET_AUTHORIZATION",
        "proxy-authorization": "Basic SECRET_PROXY",
        "cookie": "session=SECRET_COOKIE",
        "x-api-key": "SECRET_API_KEY",
        "x-auth-token": "SECRET_AUTH_TOKEN",
        "x-csrf-token": "SECRET_CSRF",
        "referer": "https://SECRET_REFERER_USER:x@h/?token=SECRET_REFERER&page=CONTROL_REFERER",
        "x-shown": "CONTROL_HEADER",
        "x-not-asked-for": "SECRET_NOT_ASKED_FOR",
        "baggage": "user=SECRET_BAGGAGE,token=SECRET_BAGGAGE_TOKEN",
        "user-agent": "CONTROL_AGENT",
        "x-forwarded-for": "SECRET_FORWARDED",
        "x-forwarded-host": "SECRET_FORWARDED_HOST",
        "forwarded": "for=SECRET_FORWARDED_FOR;host=SECRET_FORWARDED_STANDARD",
    }
    problems: list[str] = []
    fresh = httpx.Limits(max_keepalive_connections=0)  # uvicorn hangs up after an error
    with httpx.Client(
        base_url=f"http://{origin}", trust_env=False, timeout=90, headers=headers, limits=fresh
    ) as client:

        def get(path: str, method: str = "GET", **more: object) -> None:
            response = client.request(method, path, **more)  # type: ignore[arg-type]  # whatever httpx takes
            if response.headers.get("content-type") == "application/problem+json":
                problems.append(response.text)

        get(f"/read?page=CONTROL_QUERY&{queries}&{inner};token=SECRET_SEMICOLON")
        get("/read/CONTROL_PATH")
        get("/read", "CONTROL_METHOD")
        get("/read", headers={"host": "CONTROL_HOST"})
        get("/read", headers={"host": "SECRET_HOST_USER:SECRET_HOST_WORD@h"})
        get("/read", headers={"traceparent": "00-SECRET_TRACEPARENT-00-01", "tracestate": "v=SECRET_TRACESTATE"})
        get("/read", "POST", json={"password": "SECRET_JSON"})
        get("/form", "POST", data={"password": "SECRET_FORM"})
        get("/form", "POST", data={"x": "SECRET_PART"}, files={"f": ("SECRET_FILE_NAME", b"SECRET_FILE")})
        for path in ("/call", "/redirected", "/refused", "/own", "/illegal", "/garbled", "/chained"):
            get(path)
        for path in ("/unavailable", "/dead", "/reset/SECRET_SEGMENT", "/reset/SECRET_DEAD_SEGMENT/dead"):
            get(path)
    url = f"ws://{origin}/socket?token=SECRET_SOCKET&page=CONTROL_SOCKET"
    with connect(url, subprotocols=["SECRET_SUBPROTOCOL"], proxy=None) as websocket:  # type: ignore[list-item]  # a str
        websocket.send("SECRET_MESSAGE_OF_SOCKET")
        list(websocket)
    return problems


def _until_up(server: Server, origin: str) -> None:
    ends = time.monotonic() + START
    pause = threading.Event()
    host, port = origin.split(":")
    while time.monotonic() < ends:
        try:
            socket.create_connection((host, int(port)), 1).close()
        except OSError:
            pause.wait(0.05)
        else:
            return
    raise AssertionError(server.output())


@pytest.fixture(scope="module")
def left(jaeger: JaegerServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Everything that left, by where it went."""
    folder = tmp_path_factory.mktemp("leaky")
    names = [f"{which}-{secrets.token_hex(4)}" for which in ("front", "back")]
    dead = f"127.0.0.1:{free_port()}"
    with _garbling() as garbled, _service(folder / "back", names[1], jaeger) as (behind, back):
        more = {"BACK": back, "DEAD": dead, "GARBLED": garbled}
        with _service(folder / "front", names[0], jaeger, **more) as (server, origin):
            for each, where in ((behind, back), (server, origin)):
                _until_up(each, where)
            problems = _send(origin)
            for each in (server, behind):
                each.stop()
    store = "".join(path.read_text("utf-8") for path in (folder / "store").iterdir())
    spans = set(re.findall(r'"spanId":"([0-9a-f]{16})",(?:"parentSpanId":"\w+",)?"name"', store))
    assert len(spans) > 35
    found = ""

    def all_arrived() -> bool:
        nonlocal found
        found = "".join(_of(jaeger, name) for name in names)
        return all(span in found for span in spans)

    jaeger.wait(all_arrived)
    return {
        "jaeger": found,
        "local store": store,
        "log of ours": "".join((folder / which / "ours.log").read_text("utf-8") for which in ("front", "back")),
        "problem details": "\n".join(problems),
    }


def _of(jaeger: JaegerServer, service: str) -> str:
    now = time.time()
    stamps = [time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now + shift)) for shift in (-600, 60)]
    response = httpx.get(
        f"{jaeger.query}/api/v3/traces",
        params={
            "query.service_name": service,
            "query.start_time_min": stamps[0],
            "query.start_time_max": stamps[1],
            "query.num_traces": "1000",
            "query.raw_traces": "true",
        },
        trust_env=False,
    )
    return response.text


WHERE = ["jaeger", "local store", "log of ours", "problem details"]


@pytest.mark.parametrize("where", WHERE)
def test_no_secret_left(left: dict[str, str], where: str) -> None:
    """A1-8, A1-9: not one of the secrets is in what left, whatever its case."""
    assert sorted(set(re.findall(r"SECRET_\w+", left[where], re.IGNORECASE))) == []


@pytest.mark.parametrize("where", ["jaeger", "local store"])
def test_what_must_be_seen_is_seen(left: dict[str, str], where: str) -> None:
    """The same search finds what is no secret: harmless query keys, headers that were asked for, causes, messages."""
    assert set(re.findall(r"CONTROL_\w+", left[where])) == SHOWN
    assert left[where].count("REDACTED") > 50


def test_the_logs_and_problems_say_something(left: dict[str, str]) -> None:
    """They are not clean because they are empty."""
    assert "GET /reset/REDACTED/dead answered 503" in left["log of ours"]
    assert left["problem details"].count("urn:handrail:problem:") >= 3


def test_paths_and_names_are_readable(left: dict[str, str]) -> None:
    """The segment that the route calls a token is hidden in url.path, and only it; spans have no name with a path."""
    store = left["local store"]
    assert '"key":"url.path","value":{"stringValue":"/reset/REDACTED"}' in store
    assert "http.request.header.x-shown" in store
    assert "http.request.header.x_shown" not in store
    assert "SECRET" not in "".join(re.findall(r'"name":"[^"]*"', store))
