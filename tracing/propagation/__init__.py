"""W3C Trace Context level 2 and W3C Baggage, strict on what they read and bounded in what they carry.

What OpenTelemetry's own propagators do otherwise: of two `traceparent` headers they believe the first, they
refuse level 2 keys in `tracestate`, drop all of it for one doubled key, read one `baggage` header of several,
and take "+" in baggage for a space. Nothing here raises or logs above DEBUG: headers come from outside.
"""

from typing import Final

from opentelemetry import propagate
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context, get_current
from opentelemetry.propagators import textmap
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT,
    NonRecordingSpan,
    SpanContext,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from . import _baggage, _w3c

__all__ = ["BAGGAGE", "TRACEPARENT", "TRACESTATE", "W3CPropagator", "install"]

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
BAGGAGE: Final = "baggage"


class W3CPropagator(textmap.TextMapPropagator):
    """Trace context, baggage, or both."""

    def __init__(self, *, trace_context: bool = True, baggage: bool = True) -> None:
        self._trace_context = trace_context
        self._baggage = baggage

    def read(
        self, base: Context, traceparent: bytes | None, tracestate: bytes | None, baggage: bytes | None
    ) -> Context:
        """`base` with what the headers say; several headers of one name come joined by commas (RFC 9110, 5.3)."""
        if traceparent is not None and self._trace_context:
            remote = _w3c.parse(traceparent, tracestate)
            if remote is not None:
                base = set_span_in_context(NonRecordingSpan(remote), base)
        if baggage is not None and self._baggage:
            base = _baggage.parse(baggage, base)
        return base

    def extract(
        self,
        carrier: textmap.CarrierT,
        context: Context | None = None,
        getter: textmap.Getter[textmap.CarrierT] = textmap.default_getter,
    ) -> Context:
        """The given context, or the current one, with what the carrier says; never raises for what it holds."""

        def joined(name: str) -> bytes | None:
            values = getter.get(carrier, name)
            return ",".join(values).encode("latin-1", "replace") if values else None

        base = get_current() if context is None else context
        return self.read(base, joined(TRACEPARENT), joined(TRACESTATE), joined(BAGGAGE))

    def inject(
        self,
        carrier: textmap.CarrierT,
        context: Context | None = None,
        setter: textmap.Setter[textmap.CarrierT] = textmap.default_setter,
    ) -> None:
        """Write the current span as parent: version 00, the sampled and random flags only (3.4)."""
        if self._trace_context:
            span = get_current_span(context).get_span_context()
            if span is not INVALID_SPAN_CONTEXT and span.is_valid:
                self._inject_span(span, carrier, setter)
        if self._baggage:
            header = _baggage.render(context)
            if header:
                setter.set(carrier, BAGGAGE, header)

    def _inject_span(
        self, span: SpanContext, carrier: textmap.CarrierT, setter: textmap.Setter[textmap.CarrierT]
    ) -> None:
        setter.set(carrier, TRACEPARENT, _w3c.render(span))
        if span.trace_state:
            setter.set(carrier, TRACESTATE, span.trace_state.to_header())

    @property
    def fields(self) -> set[str]:
        """The headers that `inject` may set."""
        names = {TRACEPARENT, TRACESTATE} if self._trace_context else set()
        return names | {BAGGAGE} if self._baggage else names


def install() -> None:
    """Put the strict propagator in the place of OpenTelemetry's own W3C ones, the same parts of it.

    Anything else that OTEL_PROPAGATORS or the service chose stays as it is.
    """
    present = propagate.get_global_textmap()
    if type(present) is not CompositePropagator:
        return
    parts = [type(part) for part in present._propagators]  # it has no public way to ask for its parts
    if parts and set(parts) <= {TraceContextTextMapPropagator, W3CBaggagePropagator}:
        propagate.set_global_textmap(
            W3CPropagator(
                trace_context=TraceContextTextMapPropagator in parts,
                baggage=W3CBaggagePropagator in parts,
            )
        )
