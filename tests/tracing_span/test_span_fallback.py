"""Where the SDK is not the one that we know, or not the SDK, its own spans are used and nothing breaks."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NonRecordingSpan, NoOpTracer, SpanKind, Tracer
from opentelemetry.util._decorator import _agnosticcontextmanager

from handrail.tracing.spans._light import LightSpan
from handrail.tracing.spans._light_tracer import SdkTracer
from handrail.tracing.spans._probe import same
from handrail.tracing.spans.tracer import LightTracer, finish, light
from handrail.tracing.testing import Spans, as_global
from tests.tracing_span.twins import hearing

Break = Callable[[pytest.MonkeyPatch], None]


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    """The answer about the SDK is kept for the process; here each test asks."""
    same.cache_clear()
    yield
    same.cache_clear()


def serve(tracer: LightTracer) -> None:
    """What the inbound layer does with a tracer."""
    span = tracer.begin("a", Context(), SpanKind.SERVER, lambda value: {"x": value}, 1)
    with trace.use_span(span), tracer.start_as_current_span("b"):
        pass
    finish(span, {"y": 2}, name="c")


def works(provider: TracerProvider, tracer: LightTracer) -> None:
    """Spans come out, whoever made them."""
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    serve(tracer)
    child, parent = exporter.get_finished_spans()
    assert (child.name, parent.name, parent.kind) == ("b", "c", SpanKind.SERVER)
    assert dict(parent.attributes or {}) == {"x": 1, "y": 2}
    assert child.parent == parent.context


def more_state(patch: pytest.MonkeyPatch) -> None:
    """A new SDK keeps something in a span that we do not know of."""
    inherited = sdk.Span._new_links

    def new_links(self: Any, links: Any) -> Any:
        self._news = 1
        return inherited(self, links)

    patch.setattr(sdk._Span, "_new_links", new_links, raising=False)


def more_hooks(patch: pytest.MonkeyPatch) -> None:
    """A new SDK tells processors more."""
    inherited = sdk.Span.end

    def end(self: Any, end_time: int | None = None) -> None:
        self._span_processor.on_ending(self)
        inherited(self, end_time)

    patch.setattr(sdk._Span, "end", end, raising=False)


def no_set_items(patch: pytest.MonkeyPatch) -> None:
    """An SDK whose attributes have no such method."""
    patch.delattr(BoundedAttributes, "_set_items")


def no_enabled(patch: pytest.MonkeyPatch) -> None:
    """An SDK without the tracer configurator."""
    patch.delattr(sdk.Tracer, "_is_enabled")


def other_unsampled(patch: pytest.MonkeyPatch) -> None:
    """An API whose unsampled span holds more."""
    inherited = NonRecordingSpan.__init__

    def init(self: Any, context: Any) -> None:
        inherited(self, context)
        self._news = 1

    patch.setattr(NonRecordingSpan, "__init__", init)


@pytest.mark.parametrize("broken", [more_state, more_hooks, no_set_items, no_enabled, other_unsampled])
def test_another_sdk_is_noticed(broken: Break, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any difference between the two spans, or an error on the way, means that the SDK's is used."""
    assert same(SdkTracer)
    same.cache_clear()
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("a")
    broken(monkeypatch)
    assert type(light(tracer)) is LightTracer


@pytest.mark.parametrize("name", ["_tracer_metrics", "_span_limits", "_instrumentation_scope", "span_processor"])
def test_a_tracer_without_a_part_is_used_as_it_is(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is missing in the tracer is noticed when the light one is built, not at a request."""
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("a")
    monkeypatch.delattr(tracer, name)
    assert type(light(tracer)) is LightTracer


@pytest.mark.parametrize(("kind", "name"), [(sdk.Tracer, "start_span"), (sdk.Span, "end"), (sdk.Span, "start")])
def test_what_others_wrapped_is_not_passed_by(kind: type, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where an agent wrapped the SDK's functions, its wrappers keep running."""
    inherited = getattr(kind, name)
    called = []

    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        called.append(name)
        return inherited(self, *args, **kwargs)

    monkeypatch.setattr(kind, name, wrapper)
    provider = TracerProvider(shutdown_on_exit=False)
    works(provider, light(provider.get_tracer("a")))
    assert called == [name, name]


def test_a_name_that_cannot_be_imported_breaks_nothing() -> None:
    """An SDK that lacks a class that we import still serves, with its own spans."""
    code = """
from opentelemetry.sdk.trace import TracerProvider, sampling
del sampling.ParentBasedTraceIdRatio
from handrail.tracing.spans.tracer import LightTracer, light
from opentelemetry.trace import SpanKind
tracer = light(TracerProvider().get_tracer("a"))
assert type(tracer) is LightTracer
span = tracer.begin("a", None, SpanKind.SERVER, dict)
assert type(span).__name__ == "_Span", span
print("served")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200)
    assert (done.stdout, done.stderr) == ("served\n", "")


def test_the_tracer_imports_no_sdk() -> None:
    """A service whose tracing is off does not pay for the SDK."""
    code = "import sys, handrail.tracing.spans.tracer; print('opentelemetry.sdk.trace' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200)
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_asking_says_nothing(recwarn: pytest.WarningsRecorder) -> None:
    """The comparison at the start leaves no line in the log, no warning, and no provider."""
    heard: list[str] = []
    with hearing(heard):
        assert same(SdkTracer)
    assert heard == []
    assert not [one for one in recwarn.list if one.category is not ResourceWarning]  # which is another test's garbage


def test_a_tracer_of_somebody_elses_is_used_as_it_is() -> None:
    """A subclass of the SDK's tracer, and any other tracer, keeps what it does differently."""

    class Loud(sdk.Tracer):
        def start_span(self, name: str, *args: Any, **kwargs: Any) -> Any:
            return super().start_span(name.upper(), *args, **kwargs)

    loud: Any = TracerProvider(shutdown_on_exit=False).get_tracer("a")
    loud.__class__ = Loud
    tracer = light(loud)
    span: Any = tracer.begin("a", None, SpanKind.SERVER, dict)
    assert (type(tracer), span.name, type(span)) == (LightTracer, "A", sdk._Span)


def test_a_tracer_that_does_nothing_asks_for_nothing() -> None:
    """With tracing off, `begin` computes no attributes."""

    def never() -> dict[str, Any]:
        raise AssertionError("nobody looks at these attributes")

    for tracer in (NoOpTracer(), trace.ProxyTracer("a")):
        assert not light(tracer).begin("a", Context(), SpanKind.SERVER, never).is_recording()


def test_a_tracer_asked_for_early_becomes_light() -> None:
    """Tracers that were made before the provider was set make light spans once it is."""
    provider = TracerProvider(shutdown_on_exit=False)
    with as_global(None):
        early = light(trace.get_tracer("a"))
        assert not early.start_span("a").is_recording()
        with as_global(provider):
            assert type(early.start_span("a")) is LightSpan
            works(provider, early)


def test_a_light_tracer_stays_what_it_is() -> None:
    """Making it light twice is making it once."""
    tracer = light(TracerProvider(shutdown_on_exit=False).get_tracer("a"))
    assert light(tracer) is tracer


def test_tracing_uses_it() -> None:
    """What `start` and the test helper hand out is the light tracer."""
    spans = Spans()
    assert type(spans.tracing().tracer) is SdkTracer
    serve(spans.tracing().tracer)
    assert isinstance(spans.server, LightSpan)


def test_what_else_a_tracer_does_is_passed_on() -> None:
    """A tracer with a `start_as_current_span` of its own keeps it."""
    made = []

    class Own(Tracer):
        def start_span(self, name: str, *args: Any, **kwargs: Any) -> Any:
            return trace.INVALID_SPAN

        @_agnosticcontextmanager
        def start_as_current_span(self, name: str, *args: Any, **kwargs: Any) -> Iterator[Any]:
            made.append(name)
            yield trace.INVALID_SPAN

    with light(Own()).start_as_current_span("a"):
        made.append("inside")
    assert made == ["a", "inside"]
