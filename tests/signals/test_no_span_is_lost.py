"""uvicorn told to stop: every span of every answered request is in a real Jaeger, once."""

import json
import os
import secrets
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from handrail.tracing.local.read import parse
from tests.deploy.jaeger_server import JaegerServer
from tests.jaeger.story import SERVER
from tests.shadow.processes import Server, free_port, running

pytestmark = pytest.mark.jaeger

APP = """
import asyncio, json
from pathlib import Path
from handrail import protect

async def answer(send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": b"{}"})

async def plain(scope, receive, send):
    assert scope["type"] == "http", "knows no lifespan"
    if scope["path"] == "/slow":
        Path("entered").touch()
        while not Path("release").exists():
            await asyncio.sleep(0.01)
    await answer(send)

async def with_lifespan(scope, receive, send):
    if scope["type"] == "http":
        return await plain(scope, receive, send)
    while True:
        event = (await receive())["type"]
        await send({"type": f"{event}.complete"})
        if event == "lifespan.shutdown":
            return

plain, with_lifespan = protect(plain), protect(with_lifespan)
"""
REQUESTS = 40
BOUND = 60.0


def _until(condition: Callable[[], bool], what: str) -> None:
    ends = time.monotonic() + BOUND
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < ends, what
        pause.wait(0.01)


def _slow(server: Server, headers: dict[str, str], answers: list[object]) -> threading.Thread:
    thread = threading.Thread(target=lambda: answers.append(server.ask("/slow", headers)))
    thread.start()
    return thread


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
@pytest.mark.parametrize(
    ("app", "more"),
    [
        ("with_lifespan", []),
        ("plain", []),
        ("with_lifespan", ["--lifespan", "off"]),
        ("with_lifespan", ["--workers", "2"]),
        ("plain", ["--workers", "2"]),
    ],
    ids=["one worker", "no lifespan in the app", "lifespan off", "two workers", "two workers, no lifespan"],
)
def test_every_answered_request_is_in_jaeger(
    jaeger: JaegerServer, tmp_path: Path, app: str, more: list[str], how: signal.Signals
) -> None:
    """A3 (SIGTERM): forty answers, one more under way at the signal: as many SERVER spans, none twice, a clean end."""
    (tmp_path / "app.py").write_text(APP)
    port, trace_id = free_port(), secrets.token_hex(16)
    headers = {"traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01"}
    environ = {
        "PATH": os.environ["PATH"],
        "OTEL_SERVICE_NAME": f"stopped-{trace_id[:8]}",
        "OTEL_EXPORTER_OTLP_ENDPOINT": jaeger.otlp_http,
        "HANDRAIL_FLUSH_TIMEOUT": "30",  # a busy machine may need longer than 2 s
        "OTEL_BSP_SCHEDULE_DELAY": "60000",  # nothing leaves but by the flush at the end
    }
    command = [sys.executable, "-m", "uvicorn", f"app:{app}", "--port", str(port), "--log-level", "warning", *more]
    answers: list[object] = []
    with running(command, cwd=tmp_path, port=port, environ=environ) as server:
        for _ in range(REQUESTS):
            server.ask("/", headers)
        slow = _slow(server, headers, answers)
        _until((tmp_path / "entered").exists, "the slow request never began")
        server.process.send_signal(how)
        (tmp_path / "release").touch()
        slow.join(BOUND)
        assert answers == [{}]
        server.process.wait(BOUND)
        assert "Traceback" not in server.output()
    spans = _stored(jaeger, trace_id)
    assert Counter(spans.values()) == {"/": REQUESTS, "/slow": 1}


def _stored(jaeger: JaegerServer, trace_id: str) -> dict[str, str]:
    """Path by span id of the SERVER spans in the trace; a span that was stored twice fails."""
    found: list[tuple[str, str]] = []

    def look() -> bool:
        document = jaeger.get(f"/api/v3/traces/{trace_id}", rawTraces="true")
        if document is None:
            return False
        trace = parse(trace_id, [json.dumps(document["result"])])
        assert trace is not None
        found[:] = [(span.span_id, str(span.attributes["url.path"])) for span in trace.spans if span.kind == SERVER]
        return len(found) > REQUESTS

    jaeger.wait(look)
    assert len(dict(found)) == len(found)
    return dict(found)
