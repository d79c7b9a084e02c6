"""An SDK tracer's decisions, made without the SDK's detours; see `_tracer` for when it is used."""

from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any, TypeVarTuple

from opentelemetry.context import Context
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.trace._tracer_metrics import NoOpTracerMetrics
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    NoOpTracer,
    Span,
    SpanContext,
    SpanKind,
    TraceFlags,
    get_current_span,
)
from opentelemetry.util.types import AnyValue, Attributes

from ._span import Origin, started
from ._span_probe import same
from ._span_sampler import Decide, known
from ._tracer import LightTracer

__all__ = ["SdkTracer", "build"]

_Args = TypeVarTuple("_Args")

_FLAGS = tuple(TraceFlags(value) for value in range(4))
_SAMPLED = TraceFlags.SAMPLED
_RANDOM = TraceFlags.RANDOM_TRACE_ID


class SdkTracer(LightTracer):
    """Starts light spans by the sampler, ids, limits and processors of an SDK tracer, as they are at each start."""

    _tracer: sdk.Tracer

    def __init__(self, tracer: sdk.Tracer) -> None:
        super().__init__(tracer)
        self._renew()

    def _renew(self) -> Origin:
        tracer = self._tracer
        self._decide: Decide | None = known(tracer.sampler)
        self._counted = type(tracer._tracer_metrics) is not NoOpTracerMetrics
        self._origin = Origin(
            tracer.sampler,
            tracer.resource,
            tracer.span_processor,
            tracer._span_limits,
            tracer._instrumentation_scope,
            tracer.instrumentation_info,
        )
        return self._origin

    def begin(
        self,
        name: str,
        context: Context | None,
        kind: SpanKind,
        make: Callable[[*_Args], dict[str, AnyValue]],
        *args: *_Args,
        links: Sequence[Link] = (),
        start_time: int | None = None,
    ) -> Span:
        """See `LightTracer.begin`."""
        return self._start(name, context, kind, make, args, links, start_time, True, True)

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> Span:
        """Start a span; see the API."""
        return self._start(
            name,
            context,
            kind,
            _copied,
            (attributes,),
            links or (),
            start_time,
            record_exception,
            set_status_on_exception,
        )

    # The API's no-op tracer has it right for every tracer: it goes through `start_span`.
    start_as_current_span = NoOpTracer.start_as_current_span

    def _start(
        self,
        name: str,
        context: Context | None,
        kind: SpanKind,
        make: Callable[..., Attributes],
        args: tuple[Any, ...],
        links: Sequence[Link],
        start_time: int | None,
        record_exception: bool,
        set_status_on_exception: bool,
    ) -> Span:
        parent: SpanContext | None = get_current_span(context).get_span_context()
        if parent is not None and not isinstance(parent, SpanContext):
            raise TypeError("parent_span_context must be a SpanContext or None.")
        tracer = self._tracer
        if not tracer._is_enabled():
            return NonRecordingSpan(parent)  # type: ignore[arg-type]  # as the SDK does; it is never None
        origin = self._origin
        if (
            tracer.resource is not origin.resource  # new after a fork
            or tracer.sampler is not origin.sampler
            or tracer.span_processor is not origin.processor
        ):
            origin = self._renew()
        ids = tracer.id_generator
        if parent is None or not parent.is_valid:
            parent = state = None
            trace_id = ids.generate_trace_id()
        else:
            state = parent.trace_state
            trace_id = parent.trace_id
        attributes: Attributes = None
        decide = self._decide
        if decide is not None:
            decision = decide(parent, trace_id)
            if decision is not Decision.DROP:
                attributes = make(*args)
        else:
            result = origin.sampler.should_sample(context, trace_id, name, kind, make(*args), links)
            decision, attributes, state = result.decision, result.attributes, result.trace_state
        random = ids.is_trace_id_random() if parent is None else parent.trace_flags & _RANDOM
        flags = _FLAGS[(_SAMPLED if decision is Decision.RECORD_AND_SAMPLE else 0) | (_RANDOM if random else 0)]
        mine = SpanContext(trace_id, ids.generate_span_id(), False, flags, state)
        count = tracer._tracer_metrics.start_span(parent, decision) if self._counted else None
        if decision is Decision.DROP:
            return NonRecordingSpan(mine)
        span = started(origin, name, mine, parent, kind, attributes, links, start_time)
        if count is not None:
            span._record_end_metrics = count
        if not (record_exception and set_status_on_exception):
            span._record_exception = record_exception
            span._set_status_on_exception = set_status_on_exception
        origin.processor.on_start(span, parent_context=context)
        return span


def build(tracer: sdk.Tracer) -> SdkTracer | None:
    """A light tracer beside `tracer`; None where this SDK, or what somebody made of it, is not the one we know."""
    return SdkTracer(tracer) if _untouched() and same(SdkTracer) else None


def _copied(attributes: Attributes) -> Attributes:
    """The caller's attributes as our own: what he changes later is not ours."""
    return dict(attributes) if type(attributes) is dict else attributes


def _untouched() -> bool:
    """Whether nobody wraps the functions that we pass by."""
    span = vars(sdk.Span)
    functions = [vars(sdk.Tracer).get("start_span"), *(span.get(name) for name in ("__init__", "start", "end"))]
    return all(
        isinstance(function, FunctionType) and function.__code__.co_filename == sdk.__file__ for function in functions
    )
