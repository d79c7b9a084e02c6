"""Exporting: one line in the log for a dead collector, everything lost is counted, nothing raises."""

import logging
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from handrail.tracing.export._batch import Batch
from handrail.tracing.export._guarded import GuardedExporter
from handrail.tracing.export._queue import Limits
from handrail.tracing.export.build import build
from handrail.tracing.lifecycle import Flusher
from handrail.tracing.settings import TracingSettings
from handrail.tracing.testing import Spans

SPAN = ReadableSpan("a")
SDK = logging.getLogger("opentelemetry.exporter.otlp.proto.http.trace_exporter")


class _Scripted(SpanExporter):
    """Fails with what the script says, in the SDK's words or by raising; None succeeds."""

    def __init__(self, *script: str | Exception | None) -> None:
        self.script = list(script)
        self.entered = threading.Event()
        self.wait = threading.Event()
        self.wait.set()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.entered.set()
        self.wait.wait(10)
        step = self.script.pop(0) if self.script else None
        if isinstance(step, Exception):
            raise step
        if step is not None:
            SDK.warning("Transient error %s encountered while exporting spans batch, retrying in 1.00s.", step)
            SDK.error("Failed to export spans batch due to timeout, max retries or shutdown.")
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS


def test_one_line_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """The first failure is told at once with its reason, the next ones within the minute are only counted."""
    time = [0.0]
    inner = _Scripted("Connection refused", "Connection refused", OSError("broken"), None)
    guarded = GuardedExporter(lambda: inner, "http://c:4318", now=lambda: time[0])
    caplog.set_level(logging.INFO)
    guarded.export([SPAN, SPAN])
    assert guarded.export([SPAN]) is SpanExportResult.FAILURE
    time[0] = 61.0
    guarded.export([SPAN])
    assert guarded.export([SPAN]) is SpanExportResult.SUCCESS
    assert {record.name for record in caplog.records} == {"handrail"}
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "spans do not reach http://c:4318: connection refused (2 waiting); requests are not affected"),
        ("WARNING", "spans do not reach http://c:4318: OSError: broken (4 lost); requests are not affected"),
        ("INFO", "spans reach http://c:4318 again; 4 were lost"),
    ]
    assert (guarded.exported, guarded.dropped) == (1, 4)


def test_exporters_of_the_service_keep_their_lines(caplog: pytest.LogCaptureFixture) -> None:
    """Only what is said inside our own exports is held back."""
    guarded = GuardedExporter(lambda: _Scripted("Connection refused"), "here")
    guarded.export([SPAN])
    caplog.clear()
    _Scripted("Connection refused").export([SPAN])
    assert len(caplog.records) == 2


def test_a_queue_that_overflows_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    """Spans that a full queue does not take count as lost; the exporting thread says so once, not each request."""
    spans = Spans()
    free = threading.Event()
    inner = _Scripted(None, None, None)
    inner.wait = free
    guarded = GuardedExporter(lambda: inner, "here")
    processor = Batch(guarded, Limits(size=4, batch=1))
    spans.provider.add_span_processor(processor)
    tracer = spans.provider.get_tracer("test")
    tracer.start_span("a").end()
    assert inner.entered.wait(10)
    for _ in range(10):
        tracer.start_span("a").end()
    assert caplog.records == []
    assert guarded.dropped == 6
    free.set()
    assert processor.force_flush(60_000)
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "more spans than the queue holds (OTEL_BSP_MAX_QUEUE_SIZE)" in record.getMessage()
    assert "6 lost" in record.getMessage()
    processor.shutdown()


def test_a_flush_without_an_end(caplog: pytest.LogCaptureFixture) -> None:
    """A flush that hangs is waited for once: False, a line, and nobody waits again while it is stuck."""
    free = threading.Event()
    guarded = GuardedExporter(_Scripted, "here")
    flush = Flusher(lambda: free.wait(30), guarded)
    assert flush(0.01) is False
    assert flush.stuck
    assert flush(30) is False
    assert "no answer within 0.01 s" in caplog.text
    free.set()


def test_a_flush_that_lost_spans() -> None:
    """True means that everything arrived: lost spans make it False."""
    guarded = GuardedExporter(lambda: _Scripted(OSError("x"), None), "here")
    flush = Flusher(lambda: guarded.export([SPAN]), guarded)
    assert flush(30) is False
    assert flush(30) is True


def test_a_store_that_cannot_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A folder that is a file: one line, the spans are counted as lost, and nothing raises."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    exporter = build(TracingSettings(service_name="x", store=blocked / "traces"))
    assert exporter is not None
    spans = Spans()
    spans.provider.get_tracer("test").start_span("a").end()
    assert exporter.export(spans.finished) is SpanExportResult.FAILURE
    assert exporter.export(spans.finished) is SpanExportResult.FAILURE
    (record,) = caplog.records
    assert f"local store {blocked / 'traces'}" in record.getMessage()
    assert exporter.dropped == 2


def test_what_is_built(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Several exporters all get the spans; none at all is None; an unknown name is refused."""
    spans = Spans()
    spans.provider.get_tracer("test").start_span("both").end()
    both = build(TracingSettings(service_name="x", store=tmp_path, exporters=("console", "local")))
    assert both is not None
    assert both.export(spans.finished) is SpanExportResult.SUCCESS
    assert (both.exported, both.dropped) == (1, 0)
    both.shutdown()
    assert '"name": "both"' in capsys.readouterr().out
    assert '"name":"both"' in next(tmp_path.iterdir()).read_text()
    assert build(TracingSettings(service_name="x", store=tmp_path, exporters=())) is None
    assert build(TracingSettings(service_name="x", store=tmp_path, disabled=True)) is None
    with pytest.raises(ValueError, match="zipkin"):
        build(TracingSettings(service_name="x", store=tmp_path, exporters=("zipkin",)))


def test_a_shut_exporter_counts(caplog: pytest.LogCaptureFixture) -> None:
    """What comes after the shutdown is lost, and told as such."""
    guarded = GuardedExporter(lambda: _Scripted(None), "here")
    guarded.export([SPAN])
    guarded.shutdown()
    assert guarded.export([SPAN]) is SpanExportResult.FAILURE
    assert guarded.dropped == 1
    assert "after the end of tracing" in caplog.text


def test_a_fork_gets_an_exporter_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections do not survive a fork: the child makes its exporter anew."""
    made: list[SpanExporter] = []

    def make() -> SpanExporter:
        made.append(_Scripted(None, None))
        return made[-1]

    guarded = GuardedExporter(make, "here")
    guarded.export([SPAN])
    guarded.export([SPAN])
    assert len(made) == 1
    monkeypatch.setattr("os.getpid", lambda: -1)
    guarded.export([SPAN])
    assert len(made) == 2
