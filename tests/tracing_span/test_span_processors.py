"""Processors that others wrote see a light span start and end as they see the SDK's."""

import copy
import threading
from collections.abc import Callable, Sequence

import pytest
from opentelemetry import baggage
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.trace import ConcurrentMultiSpanProcessor, ReadableSpan, SpanLimits, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanContext, SpanKind, StatusCode

from handrail.tracing import _quietly
from handrail.tracing.spans._light import LightSpan
from handrail.tracing.spans.tracer import finish
from tests.tracing_span.twins import Seen, Twin, clock, hearing, lightened, shown, twins


class CopiesBaggage(SpanProcessor):
    """As opentelemetry-processor-baggage does."""

    def on_start(self, span: sdk.Span, parent_context: Context | None = None) -> None:
        for key, value in baggage.get_all(parent_context).items():
            span.set_attribute(key, str(value))


class SetsLate(SpanProcessor):
    """Wants to add something at the last moment."""

    def _on_ending(self, span: sdk.Span) -> None:
        span.set_attribute("late", 1)
        span.add_event("late")
        span.update_name("late")


class ReachesIn(SpanProcessor):
    """Redacts, as is often seen, in the private parts of what the SDK hands out."""

    def on_start(self, span: sdk.Span, parent_context: Context | None = None) -> None:
        span._attributes["seen"] = [1]  # type: ignore[index]  # what such code does

    def on_end(self, span: ReadableSpan) -> None:
        span._name = "redacted"
        span._attributes = dict.fromkeys(span._attributes or {}, "***")


def work(twin: Twin) -> None:
    """A parent with all there is, and a child."""
    other = SpanContext(7, 8, is_remote=True)
    context = baggage.set_baggage("user", "ann", Context())
    with clock(lambda: 1_000), hearing(twin.heard):
        span = twin.tracer.start_span("parent", context, SpanKind.SERVER, {"a": 1, "b": ["x"]}, [Link(other, {"l": 1})])
        span.add_event("event", {"k": 1.5})
        span.set_status(StatusCode.ERROR, "broken")
        span.record_exception(ValueError("wrong"))
        with twin.tracer.start_as_current_span("child") as child:
            child.set_attributes({"c": True, "d": b"raw", "e": {"f": [1, None]}})
        span.end()


PROCESSORS: list[Callable[[], SpanProcessor]] = [CopiesBaggage, SetsLate, ReachesIn]


@pytest.mark.parametrize("processor", PROCESSORS)
@pytest.mark.parametrize("limits", [SpanLimits(), SpanLimits(max_span_attributes=2, max_events=1)])
def test_foreign_processors_see_and_do_the_same(processor: Callable[[], SpanProcessor], limits: SpanLimits) -> None:
    """What a processor adds at the start, tries shortly before the end, and rewrites at the end comes out the same."""
    theirs, ours = twins(processor, limits=limits)
    work(theirs)
    work(ours)
    assert ours.seen.calls == theirs.seen.calls
    assert ours.heard == theirs.heard
    assert [name for name, _ in ours.seen.calls] == ["start", "start", "ending", "end", "ending", "end"]


def test_the_stock_exporters_write_the_same() -> None:
    """OTLP by the stock encoder, byte for byte, and the spans of the in-memory exporter."""
    found: list[Sequence[ReadableSpan]] = []
    for twin in twins():
        exporter = InMemorySpanExporter()
        twin.provider.add_span_processor(SimpleSpanProcessor(exporter))
        work(twin)
        found.append(exporter.get_finished_spans())
    assert len(found[0]) == 2
    assert [shown(span) for span in found[1]] == [shown(span) for span in found[0]]
    assert encode_spans(found[1]).SerializeToString() == encode_spans(found[0]).SerializeToString()


def test_a_processor_that_comes_while_a_span_lives_sees_its_end() -> None:
    """Whoever is added between start and end is told of the end, as by the SDK."""
    seen = []
    for twin in twins():
        span = twin.tracer.start_span("a")
        late = Seen()
        twin.provider.add_span_processor(late)
        span.end()
        twin.tracer.start_span("b").end()
        seen.append([name for name, _ in late.calls])
    assert seen[0] == seen[1] == ["ending", "end", "start", "ending", "end"]


def test_processors_that_run_at_once_are_told_through_their_provider() -> None:
    """A provider with a ConcurrentMultiSpanProcessor keeps its threads."""
    names = []

    class Threads(SpanProcessor):
        def on_start(self, span: sdk.Span, parent_context: Context | None = None) -> None:
            names.append(threading.current_thread().name)

        def on_end(self, span: ReadableSpan) -> None:
            names.append(threading.current_thread().name)

    both = ConcurrentMultiSpanProcessor()
    provider = sdk.TracerProvider(active_span_processor=both, shutdown_on_exit=False)
    provider.add_span_processor(Threads())
    lightened(provider.get_tracer("a")).start_span("a").end()
    both._executor.shutdown()
    assert len(names) == 2
    assert threading.current_thread().name not in names


def test_a_method_put_on_an_idle_processor_is_called() -> None:
    """What somebody puts on a processor object, or in a subclass, is called even where the SDK's own does nothing."""
    called = []
    for twin in twins():
        processor = BatchSpanProcessor(InMemorySpanExporter())
        processor.on_start = lambda span, parent_context=None: called.append(span.name)  # type: ignore[method-assign]
        twin.provider.add_span_processor(processor)
        twin.tracer.start_span("a").end()
        processor.shutdown()
    assert called == ["a", "a"]


class Raises(SpanProcessor):
    """Broken wherever it is called."""

    def on_start(self, span: sdk.Span, parent_context: Context | None = None) -> None:
        raise LookupError("start")

    def _on_ending(self, span: sdk.Span) -> None:
        raise LookupError("ending")

    def on_end(self, span: ReadableSpan) -> None:
        raise LookupError("end")


def test_an_error_in_a_processor_takes_the_span_from_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Unlike the SDK, where it fails the request: each place is logged once, and the processors behind it get all."""
    monkeypatch.setattr(_quietly, "_told", set())
    seen = Seen()
    provider = sdk.TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Raises())
    provider.add_span_processor(seen)
    tracer = lightened(provider.get_tracer("a"))
    for name in ("a", "b"):
        span = tracer.start_span(name)
        assert span.is_recording()
        finish(span, {}) if name == "b" else span.end()
    assert [span.name for span in seen.ended] == ["a", "b"]
    said = [record.getMessage() for record in caplog.records]
    assert [line.split(":")[0] for line in said] == [
        "Raises.on_start failed",
        "Raises._on_ending failed",
        "Raises.on_end failed",
    ]


def test_an_ended_span_can_be_copied() -> None:
    """An exporter may copy the span that it is given, as it may copy the SDK's."""
    for twin in twins():
        work(twin)
        span = twin.seen.ended[-1]
        for made in (copy.copy(span), copy.deepcopy(span)):
            assert type(made) is ReadableSpan
            assert shown(made) == shown(span)


def test_it_is_a_span_of_the_sdk_to_those_who_ask() -> None:
    """`isinstance` finds the SDK's Span and ReadableSpan, while it lives and when it has ended."""
    _, ours = twins()
    work(ours)
    for span in ours.seen.ended:
        assert isinstance(span, LightSpan)
        assert isinstance(span, sdk.Span)
        assert isinstance(span, ReadableSpan)
        assert span.end_time is not None


def test_finish_is_the_calls_that_it_stands_for() -> None:
    """The last attributes, the name and the end in one call leave what the single calls leave, on spans of anybody."""
    theirs, ours = twins(limits=SpanLimits(max_span_attributes=3))
    for twin in (theirs, ours):
        with clock(lambda: 1_000), hearing(twin.heard):
            for number in range(4):
                span = twin.tracer.start_span("a", attributes={str(key): key for key in range(number)})
                finish(span, {"x": 1, "y": "z"}, name="b" if number else None, end_time=2_000)
    assert [shown(span) for span in ours.seen.ended] == [shown(span) for span in theirs.seen.ended]
    assert ours.heard == theirs.heard
    assert ours.seen.ended[-1].dropped_attributes == 2


def test_finish_ends_a_span_once() -> None:
    """A second end is refused with the SDK's warning, and changes nothing."""
    _, ours = twins()
    span = ours.tracer.start_span("a")
    span.end(5)
    with hearing(ours.heard):
        finish(span, {"x": 1}, name="b")
    assert ours.heard == ["opentelemetry.sdk.trace WARNING Calling end() on an ended span."]
    assert (ours.seen.ended[0].name, dict(ours.seen.ended[0].attributes or {})) == ("a", {})
