"""`shared_state` in a process: what it starts, refuses and ends."""

import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, get_value
from starlette.applications import Starlette

from examples.order_service.ports import free_ports
from handrail import SettingsError, _wire, protect
from handrail.resilience import current_deadline, deadline
from handrail.resilience.state._redis import PREFIX, RedisVotes
from handrail.tracing.testing import Spans
from tests.redis_server import RedisServer, until

NOBODY = "redis://127.0.0.1:1"


def carriers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "handrail-shared"]


def test_the_thread_begins_with_the_first_origin_and_ends_with_the_process(spans: Spans) -> None:
    """A server that forks its workers after the import has no thread to fork; switch_off leaves none."""
    protect(Starlette(), shared_state=NOBODY)
    process = _wire.current()
    assert process is not None
    assert carriers() == []
    process.registry.pipeline("http", "peer", 80)
    (thread,) = carriers()
    assert thread.daemon
    _wire.switch_off()
    until(lambda: not thread.is_alive())
    assert process.registry.on_new == []


def test_without_the_setting_there_is_nothing(spans: Spans) -> None:
    """No thread, no listener, no import."""
    code = "import sys, handrail.auto; sys.exit('handrail.resilience.state.shared' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    protect(Starlette())
    process = _wire.current()
    assert process is not None
    process.registry.pipeline("http", "peer", 80)
    assert carriers() == []


def test_the_thread_keeps_no_request_and_makes_no_span(
    spans: Spans, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is nobody's child, though a request started it; instrumentation of redis-py stays silent in it."""
    seen: list[tuple[bool, object, object]] = []
    original = RedisVotes.now

    def now(self: RedisVotes) -> float:
        current = trace.get_current_span().get_span_context()
        seen.append((current.is_valid, get_value(_SUPPRESS_INSTRUMENTATION_KEY), current_deadline()))
        return original(self)

    monkeypatch.setattr(RedisVotes, "now", now)
    with RedisServer(tmp_path) as server:
        protect(Starlette(), shared_state=server.url)
        process = _wire.current()
        assert process is not None
        with spans.tracing().tracer.start_as_current_span("request"), deadline(5.0):
            process.registry.pipeline("http", "peer", 80)
        until(lambda: len(seen) > 1)
        _wire.switch_off()
    assert set(seen) == {(False, True, None)}


def test_a_missing_library_stops_the_start(spans: Spans, monkeypatch: pytest.MonkeyPatch) -> None:
    """And leaves nothing switched on."""
    monkeypatch.setitem(sys.modules, "redis", None)
    before = vars(httpx.Client)["send"]
    with pytest.raises(SettingsError, match=r"pip install 'handrail\[redis\]'"):
        protect(Starlette(), shared_state=NOBODY)
    assert _wire.current() is None
    assert vars(httpx.Client)["send"] is before


def test_a_url_that_redis_cannot_use_stops_the_start(spans: Spans) -> None:
    """Not at the first outage, and without its password."""
    with pytest.raises(SettingsError, match="shared_state cannot be used") as caught:
        protect(Starlette(), shared_state="redis://me:wrong-secret@host:port")
    assert "wrong-secret" not in str(caught.value)


def test_contradicting_calls_show_no_password(spans: Spans) -> None:
    """The message names what was asked for, but for secrets."""
    protect(Starlette(), attempts=2)
    with pytest.raises(SettingsError) as caught:
        protect(Starlette(), shared_state="redis://me:wrong-secret@127.0.0.1:1")
    assert "wrong-secret" not in str(caught.value)


def test_calls_of_httpx_vote(spans: Spans, tmp_path: Path) -> None:
    """From a real client call to a vote of this service in a real store."""
    (port,) = free_ports(1)
    with RedisServer(tmp_path) as server:
        protect(Starlette(), shared_state=server.url, attempts=1, breaker_minimum_calls=2, service_name="shared-wiring")
        for _ in range(2):
            with pytest.raises(httpx.ConnectError):
                httpx.get(f"http://127.0.0.1:{port}/")
        target = f"http://127.0.0.1:{port}"
        with closing(RedisVotes(server.url, "shared-wiring")) as store:
            until(lambda: store.votes([target], store.now())[target].votes)
            _wire.switch_off()
            until(lambda: not store.votes([target], store.now())[target].votes)
        assert PREFIX == "handrail:breaker:1"
