"""Whoever else instruments, and in whichever order: one SERVER span per request, one CLIENT span per attempt."""

import importlib.util
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.service import CALLER, ORDERS, TRACE, WAYS

pytestmark = pytest.mark.xdist_group("doubles")  # one process makes all cases

ROOT = Path(__file__).parents[2]
LOGFIRE = tuple(way for way in WAYS if way.startswith("logfire"))
OTHERS = tuple(way for way in WAYS if way not in LOGFIRE)
HOOKED = {way for way, (_, instrument) in WAYS.items() if "asgi" in way or "instrumentor" in way} - {"logfire asgi"}
HOOKED = (HOOKED | {"everything", "logfire"}) - {"httpx instrumentor"}
REQUESTS = {
    "http /items/7": "GET /items/{id}",
    "http /shops/acme/items/7": "GET /shops/{shop}/items/{id}",
    "websocket /ws/7": "WS /ws/{id}",
}


def peers_python() -> str | None:
    """An interpreter with logfire: this one, or the one that PEERS_PYTHON names."""
    named = os.environ.get("PEERS_PYTHON")
    return named or (sys.executable if importlib.util.find_spec("logfire") is not None else None)


@cache
def made(python: str, ways: tuple[str, ...]) -> dict[str, Any]:
    """What each case of these ways made."""
    environ = {"PATH": os.environ["PATH"], "HANDRAIL_BACKOFF_BASE": "0.001", "PYTHONPATH": f"{ROOT / 'src'}"}
    environ |= {"HANDRAIL_TRACES_DIR": os.environ["HANDRAIL_TRACES_DIR"], "LOGFIRE_IGNORE_NO_CONFIG": "1"}
    environ |= {"LOGFIRE_DISTRIBUTED_TRACING": "true", "HANDRAIL_BLOCKED_LOOP": "0"}
    command = [python, str(Path(__file__).with_name("service.py")), *(f"{w}:{o}" for w in ways for o in ORDERS)]
    ran = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=200, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr
    assert "Traceback" not in ran.stderr, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def check(found: dict[str, Any], request: str, *, hooked: bool) -> None:
    """One of each, below one another, in the caller's trace; nothing else that is named after HTTP."""
    assert "error" not in found, found["error"]
    spans, sent = found[request]["spans"], found[request]["traceparents"]
    assert {span["trace"] for span in spans} == {TRACE}
    (server,) = [span for span in spans if span["kind"] == "SERVER"]
    assert (server["name"], server["parent"]) == (REQUESTS[request], CALLER)
    assert server["name"].endswith(server["route"])
    assert server["hooked"] is hooked
    attempts = [span for span in spans if span["kind"] == "CLIENT"]
    assert [span["parent"] for span in attempts] == [server["id"]] * 2
    assert sent == [[f"00-{TRACE}-{span['id']}-01"] for span in attempts]
    rest = {span["name"]: span for span in spans if span["kind"] == "INTERNAL"}
    if request.startswith("http"):
        (work,) = [span for name, span in rest.items() if name.endswith("background __main__.later")]
        assert (work["parent"], rest.pop("later work")["parent"]) == (server["id"], work["id"])
        del rest[work["name"]]
    assert rest == {}


@pytest.mark.parametrize("request_", REQUESTS)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("way", OTHERS)
def test_one_of_each(way: str, order: str, request_: str) -> None:
    """A1-1, A1-7, A1-16, A2: one SERVER span by its route, one CLIENT span and one traceparent per attempt."""
    check(made(sys.executable, OTHERS)[f"{way}:{order}"], request_, hooked=way in HOOKED)


@pytest.mark.parametrize("request_", REQUESTS)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("way", LOGFIRE)
def test_one_of_each_with_logfire(way: str, order: str, request_: str) -> None:
    """The same beside logfire, where one interpreter has both; `.ci/run` makes one."""
    python = peers_python()
    if python is None:
        text = "no logfire here, and PEERS_PYTHON names no interpreter that has it"
        if os.environ.get("REQUIRE_PEERS") == "1":
            pytest.fail(text)
        pytest.skip(text)
    check(made(python, LOGFIRE)[f"{way}:{order}"], request_, hooked=way in HOOKED)
