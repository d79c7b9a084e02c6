"""The providers that contenders share: the same SDK, limits and processor for everybody."""

import itertools
import random

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

__all__ = ["Discard", "everything", "one_in_ten", "read"]


class Discard(SpanProcessor):
    """Takes spans and drops them: the span's own cost is what is left."""


class _OneInTen(IdGenerator):
    """Random ids of which exactly every tenth is sampled at 0.1, so that runs of some hundred compare."""

    def __init__(self) -> None:
        dice = random.Random(10)
        bound = TraceIdRatioBased.get_bound_for_rate(0.1)
        top = TraceIdRatioBased.TRACE_ID_LIMIT + 1
        ids = []
        for number in range(4000):
            low = dice.randrange(1, bound) if number % 10 == 9 else dice.randrange(bound, top)
            ids.append(dice.getrandbits(64) * top + low)
        # Instance attributes in place of methods: they cost nothing beside a request.
        self.generate_trace_id = itertools.cycle(ids).__next__  # type: ignore[method-assign] # see above
        self.generate_span_id = itertools.cycle([dice.getrandbits(64) or 1 for _ in ids]).__next__  # type: ignore[method-assign] # see above

    def generate_span_id(self) -> int:
        raise NotImplementedError

    def generate_trace_id(self) -> int:
        raise NotImplementedError


def everything(processor: SpanProcessor) -> TracerProvider:
    """The SDK as it comes: parent-based, always on."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    return provider


class _Reader(SpanProcessor):
    """Reads what exporters of others read, through the public names."""

    def on_end(self, span: ReadableSpan) -> None:
        """Whatever a span puts off until somebody asks is paid for here."""
        context, parent = span.context, span.parent
        self.seen = (
            context.trace_id if context else 0,
            parent.span_id if parent else 0,
            (span.name, span.kind, span.status.status_code, span.start_time, span.end_time),
            dict(span.attributes or {}),
            (tuple(span.events), tuple(span.links), span.resource, span.instrumentation_scope),
        )


def read(processor: SpanProcessor) -> TracerProvider:
    """`everything`, with a processor that reads each span."""
    provider = everything(processor)
    provider.add_span_processor(_Reader())
    return provider


def one_in_ten(processor: SpanProcessor) -> TracerProvider:
    """Parent-based, one in ten new traces."""
    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(0.1)), id_generator=_OneInTen(), shutdown_on_exit=False
    )
    provider.add_span_processor(processor)
    return provider
