"""The provider: the service's own where there is one, else ours, with ends that keep their limits."""

import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from opentelemetry import propagate, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from handrail.tracing import _quietly, provider
from handrail.tracing.export import build as export
from handrail.tracing.export._guarded import CountedExporter
from handrail.tracing.propagation import W3CPropagator, install
from handrail.tracing.settings import TracingSettings
from handrail.tracing.testing import as_global


class Kept(CountedExporter):
    """Keeps spans; while `gate` is closed an export hangs, as with a dead collector."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []
        self.gate = threading.Event()
        self.gate.set()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.gate.wait(30)
        self.spans.extend(spans)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self.gate.set()

    @property
    def exported(self) -> int:
        return len(self.spans)

    @property
    def dropped(self) -> int:
        return 0

    def late(self, seconds: float) -> None:
        pass


def settings(tmp_path: Path, **more: object) -> TracingSettings:
    return TracingSettings(service_name="shop", store=tmp_path, **more)  # type: ignore[arg-type]  # tests vary one field


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Kept:
    made = Kept()
    monkeypatch.setattr(export, "build", lambda _settings: made)
    return made


def test_without_a_provider_ours_is_built_and_made_global(tmp_path: Path, kept: Kept) -> None:
    """Spans carry the service name and reach the exporter at a flush."""
    with as_global(None):
        tracing = provider.start(settings(tmp_path))
        assert tracing.ours
        assert trace.get_tracer_provider() is tracing.provider
        tracing.tracer.start_span("work").end()
        assert tracing.flush(60)
        assert [span.name for span in kept.spans] == ["work"]
        resource = kept.spans[0].resource.attributes
        assert (resource["service.name"], resource["telemetry.distro.name"]) == ("shop", "handrail")
        tracing.shutdown(60)


def test_the_provider_of_the_service_is_used_as_it_is(tmp_path: Path, kept: Kept) -> None:
    """Nothing is added to it, and a shutdown of ours leaves it alive."""
    theirs = TracerProvider(shutdown_on_exit=False)
    with as_global(theirs):
        tracing = provider.start(settings(tmp_path))
        assert (tracing.ours, tracing.provider) == (False, theirs)
        tracing.tracer.start_span("work").end()
        assert tracing.flush(60)
        tracing.shutdown(60)
        assert trace.get_tracer_provider() is theirs
    assert not kept.spans


def test_a_provider_without_flush_is_fine(tmp_path: Path) -> None:
    """The API's provider has none."""
    with as_global(trace.NoOpTracerProvider()):  # type: ignore[arg-type]  # an API provider, as services set it
        assert provider.start(settings(tmp_path)).flush(60)


def test_disabled_makes_no_spans_and_sets_nothing(tmp_path: Path, kept: Kept) -> None:
    """OTEL_SDK_DISABLED."""
    with as_global(None):
        tracing = provider.start(settings(tmp_path, disabled=True))
        assert not tracing.tracer.start_span("work").is_recording()
        assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def test_a_flush_keeps_its_limit_and_threads_do_not_pile_up(tmp_path: Path, kept: Kept) -> None:
    """The SDK's own limit does not hold; with a hanging exporter the wait is ours, on one thread."""
    kept.gate.clear()
    others = set(threading.enumerate())
    with as_global(None):
        tracing = provider.start(settings(tmp_path))
        tracing.tracer.start_span("work").end()
        before = time.monotonic()
        assert not tracing.flush(0.05)
        assert not tracing.flush(0.05)
        assert time.monotonic() - before < 10
        (thread,) = [one for one in threading.enumerate() if one.name == "handrail-flush" and one not in others]
        kept.gate.set()
        thread.join(60)
        assert tracing.flush(10)
        assert [span.name for span in kept.spans] == ["work"]
        tracing.shutdown(60)


def test_a_shutdown_keeps_its_limit_and_happens_once(tmp_path: Path, kept: Kept) -> None:
    """With a hanging exporter, and without a new thread, which Python 3.12 refuses at exit."""
    kept.gate.clear()
    with as_global(None):
        tracing = provider.start(settings(tmp_path))
        tracing.tracer.start_span("work").end()
        before = time.monotonic()
        tracing.shutdown(0.05)
        tracing.shutdown(0.05)
        assert time.monotonic() - before < 10


def test_a_failing_flush_of_the_service_is_logged_and_not_raised(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What a provider that is not ours raises must not end a lifespan."""

    class Failing(TracerProvider):
        def force_flush(self, timeout_millis: int = 30000) -> bool:
            raise RuntimeError("no")

    with as_global(Failing(shutdown_on_exit=False)):
        assert not provider.start(settings(tmp_path)).flush(60)
    assert "flushing spans failed" in caplog.text


def test_a_provider_that_cannot_be_made_costs_the_spans_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the SDK stumbles over: one error in the log, a tracer that makes nothing, and no exception."""
    monkeypatch.setattr(_quietly, "_told", set())
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "abc")
    with as_global(None):
        for _ in range(2):
            tracing = provider.start(settings(tmp_path))
            assert not tracing.tracer.start_span("work").is_recording()
            assert tracing.flush(60)
    (line,) = caplog.records
    assert (line.name, line.levelname) == ("handrail", "ERROR")
    assert "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT must be a non-negative integer" in line.getMessage()


def test_spans_are_exported_at_the_end_of_a_process(tmp_path: Path) -> None:
    """Without a lifespan, as in a script, the exit flushes."""
    code = (
        "import sys; from pathlib import Path; from handrail.tracing import provider\n"
        "from handrail.tracing.settings import TracingSettings\n"
        "t = provider.start(TracingSettings(service_name='x', exporters=('console',), store=Path(sys.argv[1])))\n"
        "t.tracer.start_span('at the end').end()\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert '"name": "at the end"' in done.stdout


def test_the_default_propagators_are_replaced_part_by_part() -> None:
    """The strict propagator takes the place of OpenTelemetry's own W3C ones, the same parts of it."""
    propagate.set_global_textmap(CompositePropagator([TraceContextTextMapPropagator(), W3CBaggagePropagator()]))
    install()
    both = propagate.get_global_textmap()
    assert isinstance(both, W3CPropagator)
    assert both.fields == {"traceparent", "tracestate", "baggage"}
    propagate.set_global_textmap(CompositePropagator([TraceContextTextMapPropagator()]))
    install()
    assert propagate.get_global_textmap().fields == {"traceparent", "tracestate"}


def test_any_other_choice_of_propagators_stays() -> None:
    """OTEL_PROPAGATORS=none, another format, or one that the service set."""

    class Own(TraceContextTextMapPropagator):
        pass

    for chosen in (CompositePropagator([]), CompositePropagator([Own()]), Own()):
        propagate.set_global_textmap(chosen)
        install()
        assert propagate.get_global_textmap() is chosen
