"""What is switched on per process: once, undoable, by settings that agree."""

import logging
import socket
from pathlib import Path

import httpx
import pytest
from opentelemetry.trace import SpanKind
from starlette.applications import Starlette

from handrail import SettingsError, _wire, protect
from handrail.tracing.testing import Spans, as_global


def _refused_url() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/"


def test_undo_gives_the_client_classes_back(spans: Spans) -> None:
    """Switched off, httpx's classes hold the functions that they held before."""
    names: list[tuple[type, str]] = [
        (httpx.AsyncHTTPTransport, "handle_async_request"),
        (httpx.HTTPTransport, "handle_request"),
    ]
    names += [(httpx.AsyncClient, "send"), (httpx.Client, "send")]
    before = [vars(owner)[name] for owner, name in names]
    protect(Starlette())
    assert [vars(owner)[name] for owner, name in names] != before
    _wire.switch_off()
    assert [vars(owner)[name] for owner, name in names] == before


def test_switched_off_by_setting_it_does_nothing(spans: Spans, monkeypatch: pytest.MonkeyPatch) -> None:
    """With HANDRAIL_ENABLED=false protect() hands the app back, and calls are plain httpx."""
    monkeypatch.setenv("HANDRAIL_ENABLED", "false")

    async def app(scope: object, receive: object, send: object) -> None: ...

    before = vars(httpx.Client)["send"]
    assert protect(app) is app
    assert vars(httpx.Client)["send"] is before


def test_a_call_is_one_span_per_attempt_with_the_backoff_between(spans: Spans) -> None:
    """A refused connection is tried three times: three sibling CLIENT spans, resends counted, decisions told."""
    protect(Starlette(), backoff_base=0.001)
    tracer = spans.tracing().tracer
    with tracer.start_as_current_span("caller"), pytest.raises(httpx.ConnectError) as caught:
        httpx.get(_refused_url())
    attempts = spans.of_kind(SpanKind.CLIENT)
    caller = spans.finished[-1]
    assert caller.context is not None
    assert [dict(span.attributes or {}).get("http.request.resend_count") for span in attempts] == [None, 1, 2]
    assert {span.parent.span_id for span in attempts if span.parent} == {caller.context.span_id}
    assert [event.name for event in caller.events] == [
        "handrail.retry.scheduled",
        "handrail.retry.scheduled",
        "handrail.retry.exhausted",
    ]
    assert "3 attempts" in caught.value.__notes__[0]


def test_the_same_settings_again_change_nothing(spans: Spans) -> None:
    """A second protect() with the same values keeps the pipelines and their breakers."""
    protect(Starlette(), attempts=2)
    first = _wire.current()
    protect(Starlette(), attempts=2)
    protect(Starlette())
    assert _wire.current() is first


def test_contradicting_calls_are_refused(spans: Spans) -> None:
    """Two protect() calls that ask for different values stop the start, and say what was asked for."""
    protect(Starlette(), attempts=2)
    with pytest.raises(SettingsError, match="attempts"):
        protect(Starlette(), attempts=4)


def test_explicit_settings_win_over_an_earlier_auto(spans: Spans, automatic: Spans) -> None:
    """`import handrail.auto` first and protect(app, attempts=1) after it: the argument counts."""
    protect(Starlette(), attempts=1)
    process = _wire.current()
    assert process is not None
    assert process.settings.resilience.attempts == 1
    with pytest.raises(httpx.ConnectError):
        httpx.get(_refused_url())
    assert len(spans.of_kind(SpanKind.CLIENT)) == 1


def test_wrong_settings_stop_the_start(spans: Spans) -> None:
    """A value out of range raises with the name, the value and what is allowed; nothing is switched on."""
    with pytest.raises(SettingsError, match=r"attempts.*-1"):
        protect(Starlette(), attempts=-1)
    assert _wire.current() is None


def test_the_local_store_is_named_once_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With no collector set, one line says where spans go and how to see them."""
    monkeypatch.setenv("HANDRAIL_TRACES_DIR", str(tmp_path))
    with as_global(None), caplog.at_level(logging.INFO, "handrail"):
        protect(Starlette())
        process = _wire.current()
        assert process is not None
        process.tracing()
        process.tracing()
        _wire.switch_off()
    assert [record.getMessage() for record in caplog.records] == [
        f"no collector is set: spans go to {tmp_path}, `handrail traces` shows them"
    ]
