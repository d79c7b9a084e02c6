"""Spans in memory, for tests: of handrail, and of services that use it."""

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import propagate, trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Sampler
from opentelemetry.trace import SpanKind

from .provider import Tracing

__all__ = ["Spans", "as_global"]


class Spans:
    """A provider of its own, not the global one, that keeps each span as it ends.

    `tracing()` is what `ServerSpans` wants. `finished` lists the ended spans, oldest first.
    """

    def __init__(self, sampler: Sampler | None = None) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self._tracing = Tracing(self.provider, ours=False)

    def tracing(self) -> Tracing:
        """The tracing whose spans are kept here."""
        return self._tracing

    @property
    def finished(self) -> tuple[ReadableSpan, ...]:
        """All ended spans, oldest first."""
        return self._exporter.get_finished_spans()

    def of_kind(self, kind: SpanKind) -> list[ReadableSpan]:
        """The ended spans of one kind."""
        return [span for span in self.finished if span.kind is kind]

    @property
    def server(self) -> ReadableSpan:
        """The one SERVER span; AssertionError where there are more or fewer."""
        found = self.of_kind(SpanKind.SERVER)
        if len(found) != 1:
            raise AssertionError(f"expected one SERVER span, found {[span.name for span in self.finished]}")
        return found[0]

    def clear(self) -> None:
        """Forget what was kept."""
        self._exporter.clear()


@contextmanager
def as_global(provider: TracerProvider | None) -> Iterator[None]:
    """Make `provider` the global one for the time of a block, or none at all; then what was before.

    OpenTelemetry allows to set a provider once per process. Its own tests, and everybody else's, reach into these
    two variables; here it is done in one place.
    """
    before = trace._TRACER_PROVIDER, trace._TRACER_PROVIDER_SET_ONCE._done, propagate.get_global_textmap()
    trace._TRACER_PROVIDER, trace._TRACER_PROVIDER_SET_ONCE._done = provider, provider is not None
    try:
        yield
    finally:
        trace._TRACER_PROVIDER, trace._TRACER_PROVIDER_SET_ONCE._done, textmap = before
        propagate.set_global_textmap(textmap)
