"""The tracer of handrail's spans: the SDK's, with the span of `_light` where that is known to be the same."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVarTuple, cast

from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    NoOpTracer,
    ProxyTracer,
    Span,
    SpanContext,
    SpanKind,
    Tracer,
    get_current_span,
)
from opentelemetry.util.types import AnyValue, Attributes

from .._quietly import told

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import Tracer as SdkTracer
    from opentelemetry.util._decorator import _AgnosticContextManager

__all__ = ["LightTracer", "finish", "instead", "light"]

_Args = TypeVarTuple("_Args")


class LightTracer(Tracer):
    """A tracer as the API has it, and `begin`. This one leaves everything to the tracer that it is given.

    What a sampler, an id generator, a processor or the tracer itself raises is logged once; the span is then one
    that records nothing, and is its parent to those below it.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer: Tracer = tracer

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
        """Start a span whose attributes are `make(*args)`, called only where somebody will look at them.

        The span takes the dict over, unchecked: keys are non-empty str, values str, bool, int, float, bytes, or
        tuples of one of them. `start_time` in nanoseconds since the epoch, default now.
        """
        tracer = self._real()
        if isinstance(tracer, LightTracer):
            return tracer.begin(name, context, kind, make, *args, links=links, start_time=start_time)
        attributes = None if isinstance(tracer, NoOpTracer | ProxyTracer) else make(*args)
        try:
            return tracer.start_span(name, context, kind, attributes, links, start_time)
        except Exception as error:
            return instead(get_current_span(context).get_span_context(), error)

    def _real(self) -> Tracer:
        """Where the tracer was asked for before there was a provider: the provider's, as soon as there is one."""
        if isinstance(self._tracer, ProxyTracer):
            found = getattr(self._tracer, "_tracer", None)
            if isinstance(found, Tracer) and not isinstance(found, NoOpTracer):
                self._tracer = light(found)
        return self._tracer

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
        try:
            return self._real().start_span(
                name, context, kind, attributes, links, start_time, record_exception, set_status_on_exception
            )
        except Exception as error:
            return instead(get_current_span(context).get_span_context(), error)

    def start_as_current_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
        end_on_exit: bool = True,
    ) -> "_AgnosticContextManager[Span]":
        """Start a span and make it the current one for a block, or for a decorated function; see the API."""
        return self._real().start_as_current_span(
            name, context, kind, attributes, links, start_time, record_exception, set_status_on_exception, end_on_exit
        )


def light(tracer: Tracer) -> LightTracer:
    """`tracer` at a fraction of its cost where it is the SDK's own and unchanged; else all of it, through `begin`."""
    if isinstance(tracer, LightTracer):
        return tracer
    sdk = sys.modules.get("opentelemetry.sdk.trace")
    if sdk is not None and type(tracer) is getattr(sdk, "Tracer", None):
        try:
            from ._light_tracer import build

            made = build(cast("SdkTracer", tracer))
        except Exception:  # another SDK than the ones that were tested
            made = None
        if made is not None:
            return made
    return LightTracer(tracer)


def instead(parent: SpanContext, error: Exception) -> Span:
    """What there is where a span cannot be begun, because of `error`."""
    told("a span cannot be begun", error)
    return NonRecordingSpan(parent)


def finish(
    span: Span, attributes: Mapping[str, AnyValue], *, name: str | None = None, end_time: int | None = None
) -> None:
    """Set the last attributes, rename the span unless `name` is None, and end it: one call in place of three or more.

    `end_time` in nanoseconds since the epoch, default now. Works with spans of anybody; for those of a light tracer
    the values must be plain: str, bool, int, float, bytes. What processors raise is logged once.
    """
    at_once = getattr(span, "_handrail_finish", None)
    if at_once is not None:
        at_once(attributes, name, end_time)
        return
    try:
        span.set_attributes(attributes)
        if name is not None:
            span.update_name(name)
        span.end(end_time)
    except Exception as error:  # of the processors of somebody else's span
        told("a span cannot be ended", error)
