"""Span and export together: the request, the processor behind it and the encoder; the bytes go nowhere.

Every thread is counted. The stock processor exports full batches, ours as it decides; both finish at the end.
"""

from collections.abc import Callable, Sequence

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from .inbound import contrib, ours, starlettes
from .load import ASGIApp, requests, routed_app
from .providers import Discard
from .work import Contender, Work

__all__ = ["CONTENDERS"]


class _Encode(SpanExporter):
    """Encodes as the stock OTLP exporters do, and drops the message."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        encode_spans(spans).SerializeToString()
        return SpanExportResult.SUCCESS


class _Drop(SpanExporter):
    """Takes encoded requests, as our OTLP exporter does, and drops them."""

    def send(self, _request: bytes, _count: int) -> tuple[int, str]:
        """Nothing is lost."""
        return 0, ""


def _stock_batches() -> SpanProcessor:
    # Nothing leaves because of the time alone: valgrind's seconds are long.
    return BatchSpanProcessor(_Encode(), schedule_delay_millis=600_000)


def _our_batches() -> SpanProcessor:
    from handrail.tracing.export._batch import Batch
    from handrail.tracing.export._guarded import GuardedExporter
    from handrail.tracing.export._queue import Limits

    return Batch(GuardedExporter(_Drop, "nowhere", encoded=True), Limits(delay=600, idle=300))


def _work(
    around: Callable[[ASGIApp, TracerProvider], ASGIApp], batches: Callable[[], SpanProcessor]
) -> Callable[[SpanProcessor], Work]:
    def make(processor: SpanProcessor) -> Work:
        provider = TracerProvider(shutdown_on_exit=False)
        behind = batches()
        provider.add_span_processor(behind)
        if not isinstance(processor, Discard):
            provider.add_span_processor(processor)
        return Work(requests(around(routed_app(), provider)), drain=lambda: _finish(behind))

    return make


def _finish(processor: SpanProcessor) -> None:
    if not processor.force_flush():
        raise RuntimeError("spans were lost")


CONTENDERS = [
    Contender(
        "export-contrib", "contrib ASGI + stock batches and encoder", _work(contrib, _stock_batches), "bare", 512
    ),
    Contender(
        "export-starlette",
        "Starlette's own + stock batches and encoder",
        _work(starlettes, _stock_batches),
        "bare",
        512,
    ),
    Contender("export-ours", "handrail's span, batches and encoder", _work(ours, _our_batches), "bare", 512),
]
