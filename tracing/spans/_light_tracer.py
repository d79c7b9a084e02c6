"""An SDK tracer's decisions, made without the SDK's detours; see `tracer` for when it is used."""

from collections.abc import Callable, Sequence
from random import getrandbits
from types import FunctionType
from typing import Any, TypeVarTuple

from opentelemetry.context import Context, get_current
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.trace._tracer_metrics import NoOpTracerMetrics
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import (
    DEFAULT_TRACE_STATE,
    INVALID_SPAN_CONTEXT,
    Link,
    NonRecordingSpan,
    NoOpTracer,
    Span,
    SpanContext,
    SpanKind,
    TraceFlags,
    TraceState,
    get_current_span,
)
from opentelemetry.trace.propagation import _SPAN_KEY
from opentelemetry.util.types import Attributes

from .._quietly import told
from ._light import LightSpan, started
from ._origin import Origin
from ._plain import copied
from ._probe import same
from ._sampler import Decide, known
from .tracer import LightTracer, instead

__all__ = ["SdkTracer", "build"]

_Args = TypeVarTuple("_Args")

_new: Any = object.__new__
_tuple: Any = tuple.__new__
_DROP = Decision.DROP
_SAMPLE = Decision.RECORD_AND_SAMPLE
_RANDOM = TraceFlags.RANDOM_TRACE_ID
_TRACE_ID, _TRACE_FLAGS, _STATE, _VALID = 0, 3, 4, 5  # a SpanContext is a tuple, and its properties are functions
_NOTHING: tuple[SpanContext | None, TraceState | None, Attributes] = (None, None, None)
_FLAGS = tuple(TraceFlags(value) for value in range(4))


class SdkTracer(LightTracer):
    """Starts light spans by the sampler, ids, limits and processors of an SDK tracer, as they are at each start."""

    def __init__(self, tracer: sdk.Tracer) -> None:
        super().__init__(tracer)
        self._sdk = tracer
        self._renew()

    def _renew(self) -> Origin:
        tracer = self._sdk
        self._decide: Decide | None = known(tracer.sampler)
        self._ids = tracer.id_generator
        self._stock = type(self._ids) is RandomIdGenerator and not vars(self._ids)
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
        make: Callable[[*_Args], Attributes],
        *args: *_Args,
        links: Sequence[Link] = (),
        start_time: int | None = None,
    ) -> Span:
        """See `LightTracer.begin`."""
        parent: Any = parent_of(context)
        tracer = self._sdk
        try:
            if not tracer._is_enabled():
                return NonRecordingSpan(parent)
            origin = self._origin
            ids = tracer.id_generator
            if (
                tracer.resource is not origin.resource  # new after a fork
                or tracer.sampler is not origin.sampler
                or tracer.span_processor is not origin.processor
                or ids is not self._ids
            ):
                origin = self._renew()
            above, state, attributes = _NOTHING
            if parent is not INVALID_SPAN_CONTEXT and parent[_VALID]:
                above = parent
                trace_id, state = parent[_TRACE_ID], parent[_STATE]
                random = parent[_TRACE_FLAGS] & _RANDOM
            else:
                trace_id = (self._stock and getrandbits(128)) or ids.generate_trace_id()
                random = _RANDOM if self._stock or ids.is_trace_id_random() else 0
            decide = self._decide
            if decide is None:
                result = origin.sampler.should_sample(context, trace_id, name, kind, make(*args), links)
                decision, attributes, state = result.decision, copied(result.attributes), result.trace_state
            else:
                decision = decide(above, trace_id)
                if decision is not _DROP:
                    attributes = make(*args)
            flags = _FLAGS[random | (decision is _SAMPLE)]
            if self._stock and (span_id := getrandbits(64)):
                state = DEFAULT_TRACE_STATE if state is None else state
                mine = _tuple(SpanContext, (trace_id, span_id, False, flags, state, True))
            else:
                mine = SpanContext(trace_id, ids.generate_span_id(), False, flags, state)
            count = tracer._tracer_metrics.start_span(above, decision) if self._counted else None
            if decision is _DROP:
                unsampled: NonRecordingSpan = _new(NonRecordingSpan)
                unsampled._context = mine
                return unsampled
            span = started(origin, name, mine, above, kind, attributes, links, start_time)
            if count is not None:
                span._record_end_metrics = count
            if at_start := origin.now().at_start:
                _announce(at_start, span, context)
            return span
        except Exception as error:  # of the service's sampler, id generator or resource
            return instead(parent, error)

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
        span = self.begin(name, context, kind, copied, attributes, links=links or (), start_time=start_time)
        if not (record_exception and set_status_on_exception) and isinstance(span, LightSpan):
            span._record_exception = record_exception
            span._set_status_on_exception = set_status_on_exception
        return span

    # Only `start_span` of the tracer that it is called on is used.
    start_as_current_span = NoOpTracer.start_as_current_span  # pyright: ignore[reportAssignmentType]  # hence any tracer


def _announce(processors: tuple[sdk.SpanProcessor, ...], span: LightSpan, context: Context | None) -> None:
    for processor in processors:
        try:
            processor.on_start(span, parent_context=context)
        except Exception as error:
            told(f"{type(processor).__name__}.on_start failed", error)


def parent_of(context: Context | None) -> SpanContext:
    """Of the span that will be the parent. Raises TypeError, as the SDK does, where that is not a SpanContext."""
    current: Any = (get_current() if context is None else context).get(_SPAN_KEY)
    kind = type(current)
    if kind is NonRecordingSpan or kind is LightSpan:
        found = current._context
    elif current is None:
        return INVALID_SPAN_CONTEXT
    else:
        found = get_current_span(context).get_span_context()
    if type(found) is SpanContext or isinstance(found, SpanContext):
        return found
    if found is None:
        return INVALID_SPAN_CONTEXT
    raise TypeError("parent_span_context must be a SpanContext or None.")


def build(tracer: sdk.Tracer) -> SdkTracer | None:
    """A light tracer beside `tracer`; None where this SDK, or what somebody made of it, is not the one we know."""
    return SdkTracer(tracer) if _untouched() and same(SdkTracer) else None


def _untouched() -> bool:
    """Whether nobody wraps the functions that we pass by."""
    span = vars(sdk.Span)
    functions = [vars(sdk.Tracer).get("start_span"), *(span.get(name) for name in ("__init__", "start", "end"))]
    return all(
        isinstance(function, FunctionType) and function.__code__.co_filename == sdk.__file__ for function in functions
    )
