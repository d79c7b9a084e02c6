"""Log lines of real servers: the application's, the access line, and the line about an exception."""

import json
import os
import re
import sys
from pathlib import Path

import pytest

from tests.shadow.processes import Server, free_port, running

APP = """
import logging
from handrail import protect

log = logging.getLogger("shop")

async def app(scope, receive, send):
    assert scope["type"] == "http", "knows no lifespan"
    log.warning("working on it")
    if scope["path"] == "/broken":
        raise LookupError("no such order")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"{}"})

app = protect(app)
"""

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}


def serve(command: list[str], tmp_path: Path, port: int, *, path: str = "/") -> list[dict[str, object]]:
    """Ask for the path and for /broken; returns the JSON lines that the server wrote."""
    (tmp_path / "app.py").write_text(APP, "utf-8")
    environ = {
        **os.environ,
        "HANDRAIL_LOG_FORMAT": "json",
        "HANDRAIL_SERVICE_NAME": "shop",
        "HANDRAIL_TRACES_DIR": str(tmp_path / "traces"),
    }
    program, *arguments = command
    whole = [sys.executable, "-m", program, *(word.format(port=port) for word in arguments)]
    with running(whole, cwd=tmp_path, port=port, environ=environ) as server:
        server.ask(path, PARENT)
        _broken(server)
        server.stop()
        text = server.output()
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def _broken(server: Server) -> None:
    with pytest.raises(AssertionError, match="500"):
        server.ask("/broken", PARENT)


ACCESS, BROKEN, ERROR = '"GET / ', '"GET /broken ', "Exception in ASGI|Error in ASGI|Application callable raised"

SERVERS: dict[str, list[str]] = {
    "uvicorn app:app --port {port} --http h11": [ACCESS, BROKEN, ERROR],
    "gunicorn app:app -k uvicorn_worker.UvicornWorker -b 127.0.0.1:{port} --access-logfile -": [ACCESS, BROKEN, ERROR],
    "hypercorn app:app -b 127.0.0.1:{port} --access-logfile - --error-logfile -": [ACCESS, ERROR],
    "granian --interface asgi app:app --port {port} --access-log": [ERROR],
}
"""What docs/logs.md says of each: the lines of the server that name the trace."""


@pytest.mark.parametrize("command", SERVERS)
def test_every_line_of_a_request_names_its_trace(command: str, tmp_path: Path):
    """A3 (granian#715, contrib#2366): the app's lines, access lines and the line of an exception are in the trace."""
    lines = serve(command.split(), tmp_path, free_port())
    for words in ("working on it", *SERVERS[command]):
        found = [line for line in lines if re.search(words, str(line["message"]))]
        assert found, (words, lines)
        assert {line.get("trace_id") for line in found} == {TRACE}, (words, found)


@pytest.mark.parametrize("command", [command for command, told in SERVERS.items() if ACCESS in told])
def test_an_access_line_as_json_hides_the_secrets_of_its_query(command: str, tmp_path: Path):
    """The query, which all but hypercorn show, is without its secrets: by name, encoded, in JSON, a bare token."""
    query = "page=2&token=sesame1&%74oken=sesame2&q=%7B%22password%22%3A%22sesame3%22%7D&code=sesame4"
    query += "&r=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.sesame5&next=https%3A%2F%2Fu%3Asesame6%40h%2F%3Fsig%3Dsesame7"
    lines = serve(command.split(), tmp_path, free_port(), path=f"/orders?{query}")
    shown = '"GET /orders ' if "hypercorn" in command else '"GET /orders?page=2&token=REDACTED&'
    (access,) = [line for line in lines if shown in str(line["message"])]
    assert access["trace_id"] == TRACE
    assert "sesame" not in str(lines)
