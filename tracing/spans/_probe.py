"""Whether the SDK that is installed is the one that the light span knows: asked once, before the first is made.

The SDK promises nothing about its private names, and a service may upgrade it at any time. So one span of each kind
lives through the same calls and has to look the same in the end; where it does not, the SDK's own span is used.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

from opentelemetry.context import Context
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    TraceState,
    set_span_in_context,
)
from opentelemetry.util.types import AnyValue

__all__ = ["same"]

_SHOWN = ("name", "context", "parent", "kind", "start_time", "end_time", "resource", "instrumentation_scope")
_COUNTED = ("dropped_attributes", "dropped_events", "dropped_links")


@cache
def same(light: Callable[[sdk.Tracer], Tracer]) -> bool:
    """Whether the spans of `light(tracer)` show what those of `tracer` do."""
    try:
        return _alike(light)
    except Exception:  # whatever an unknown SDK does with the names that we use
        return False


class _Ids(IdGenerator):
    def generate_span_id(self) -> int:
        return 2

    def generate_trace_id(self) -> int:
        return 1

    def is_trace_id_random(self) -> bool:
        return True


class _Recorder:
    """A processor that notes what is called on it, also what no processor of today has."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, object]] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda span, **named: self.calls.append((name, (span.end_time, span.name, sorted(named))))


def _alike(light: Callable[[sdk.Tracer], Tracer]) -> bool:
    parent = SpanContext(1, 3, is_remote=True, trace_state=TraceState([("a", "b")]))
    for context in (Context(), set_span_in_context(NonRecordingSpan(parent), Context())):
        theirs, calls = _life(_itself, context)
        ours, our_calls = _life(light, context)
        known = all(hasattr(ours, name) for name in vars(theirs))
        shown = all(getattr(ours, name) == getattr(theirs, name) for name in (*_SHOWN, *_COUNTED))
        if not (known and shown and calls == our_calls and ours.to_json() == theirs.to_json()):
            return False
    theirs, ours = (_tracer(choose, ALWAYS_OFF, _Recorder()).start_span("a", Context()) for choose in (_itself, light))
    return type(ours) is type(theirs) and vars(ours) == vars(theirs)


def _itself(tracer: sdk.Tracer) -> Tracer:
    return tracer


def _life(choose: Callable[[sdk.Tracer], Tracer], context: Context) -> tuple[Any, list[tuple[str, object]]]:
    """A span that has had everything done to it, and what its processor was told. Nothing of it is logged."""
    recorder = _Recorder()
    other = SpanContext(4, 5, is_remote=False)
    given: dict[str, AnyValue] = {"text": "x", "list": ["y", "z"]}  # a mixed one is logged by OpenTelemetry 1.44
    span = _tracer(choose, ALWAYS_ON, recorder).start_span(
        "a", context, SpanKind.SERVER, given, [Link(other, {"n": 1})], 1_000
    )
    span.set_attribute("number", 1)
    span.set_attribute("text", "z")
    span.set_attributes({"more": True, "number": 2.5})
    span.add_link(other, {"m": [1]})
    span.update_name("b")
    span.set_status(Status(StatusCode.ERROR, "broken"))
    for number in range(3):
        span.add_event("event", {"number": number}, 2_000)
    span.record_exception(ValueError("wrong"), {"k": "v"}, 3_000)
    span.end(4_000)
    return span, recorder.calls


def _tracer(choose: Callable[[sdk.Tracer], Tracer], sampler: Sampler, processor: Any) -> Tracer:
    no_info: Any = None
    return choose(
        sdk.Tracer(
            sampler,
            Resource({"service.name": "probe"}),
            processor,
            _Ids(),
            no_info,
            sdk.SpanLimits(max_events=2, max_links=1),
            InstrumentationScope("probe"),
            meter_provider=NoOpMeterProvider(),
        )
    )
