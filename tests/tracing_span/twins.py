"""Two tracers with the same sampler, ids, limits and clock: the SDK's, and the light one."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from opentelemetry.context import Context
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Sampler
from opentelemetry.trace import Tracer, get_current_span

from handrail.tracing.spans import _light as _span
from handrail.tracing.spans._light_tracer import SdkTracer
from handrail.tracing.spans.tracer import LightTracer, light


class Ids(IdGenerator):
    """Counts."""

    def __init__(self, *, random: bool = True) -> None:
        self.random = random
        self.last = 0

    def generate_span_id(self) -> int:
        self.last += 1
        return self.last

    def generate_trace_id(self) -> int:
        self.last += 1
        return self.last

    def is_trace_id_random(self) -> bool:
        return self.random


class Seen(SpanProcessor):
    """Notes what it is shown, as text: a span may change after."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, object]] = []
        self.ended: list[ReadableSpan] = []

    def on_start(self, span: sdk.Span, parent_context: Context | None = None) -> None:
        above = None if parent_context is None else get_current_span(parent_context).get_span_context()
        self.calls.append(("start", (shown(span), above)))

    def _on_ending(self, span: sdk.Span) -> None:
        self.calls.append(("ending", shown(span)))

    def on_end(self, span: ReadableSpan) -> None:
        self.calls.append(("end", shown(span)))
        self.ended.append(span)


@dataclass
class Twin:
    tracer: Tracer
    provider: TracerProvider
    seen: Seen
    heard: list[str] = field(default_factory=list)


def twins(
    *processors: Callable[[], SpanProcessor],
    sampler: Callable[[], Sampler] | None = None,
    limits: SpanLimits | None = None,
    random: bool = True,
) -> tuple[Twin, Twin]:
    """The SDK's tracer and the light one, each with processors of its own."""
    made = []
    for choose in (lambda tracer: tracer, lightened):
        provider = TracerProvider(
            sampler=sampler and sampler(),
            resource=Resource({"service.name": "shop"}),
            id_generator=Ids(random=random),
            span_limits=limits or SpanLimits(),
            shutdown_on_exit=False,
        )
        for processor in processors:
            provider.add_span_processor(processor())
        seen = Seen()
        provider.add_span_processor(seen)
        made.append(Twin(choose(provider.get_tracer("shop", "1", "https://schema", {"k": "v"})), provider, seen))
    return made[0], made[1]


def lightened(tracer: Tracer) -> LightTracer:
    """The light tracer, and not by accident the one that passes everything on."""
    made = light(tracer)
    assert type(made) is SdkTracer
    return made


@contextmanager
def clock(now: Callable[[], int]) -> Iterator[None]:
    """One clock for both."""
    with mock.patch.object(sdk, "time_ns", now), mock.patch.object(_span, "time_ns", now):
        yield


@contextmanager
def hearing(into: list[str]) -> Iterator[None]:
    """Keeps what OpenTelemetry logs."""

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            into.append(f"{record.name} {record.levelname} {record.getMessage()}")

    handler = Keep()
    logger = logging.getLogger("opentelemetry")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def shown(span: Any) -> dict[str, object]:
    """All that a span shows, as text, in its order."""
    shape: dict[str, object] = {
        name: repr(getattr(span, name))
        for name in ("name", "context", "parent", "kind", "start_time", "end_time", "instrumentation_scope")
    }
    shape["resource"] = span.resource.to_json()
    shape["status"] = (span.status.status_code, span.status.description)
    shape["attributes"] = repr(list(span.attributes.items()))
    shape["dropped"] = (span.dropped_attributes, span.dropped_events, span.dropped_links)
    shape["events"] = [
        (event.name, event.timestamp, repr(list((event.attributes or {}).items())), event.dropped_attributes)
        for event in span.events
    ]
    shape["links"] = [
        (repr(link.context), repr(list((link.attributes or {}).items())), link.dropped_attributes)
        for link in span.links
    ]
    try:
        shape["json"] = span.to_json()
    except TypeError as error:  # bytes
        shape["json"] = str(error)
    return shape
