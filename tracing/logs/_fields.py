"""The fields of a log record that say which span it belongs to."""

import sys
from collections.abc import MutableMapping
from typing import Final, TypeVar, cast

from opentelemetry.trace import INVALID_SPAN, SpanContext, get_current_span

FIELDS: Final = ("trace_id", "span_id", "trace_flags", "service")
"""The names, in stdlib records, structlog events, loguru's `extra` and JSON alike."""

_EMPTY: Final = ("", "", "")

M = TypeVar("M", bound=MutableMapping[str, object])


class Fields:
    """Fills what is missing; `service` is the service's name."""

    __slots__ = ("service",)

    def __init__(self, service: str = "") -> None:
        self.service = service

    def fill(self, record: MutableMapping[str, object], error: BaseException | None = None) -> None:
        """Give the record the ids of its span; outside of any, nothing: what is not there, a service may set itself.

        `error` is what the record is about. A server logs what came out of an application, and its 500, when the span
        has ended: then the span is found through the error, or the one that is being handled.
        """
        if "trace_id" in record:  # of somebody else: our span's id beside it would be a mix of two
            return
        span = get_current_span()
        trace_id, span_id, flags = _EMPTY
        if span is not INVALID_SPAN:
            trace_id, span_id, flags = _words(span.get_span_context())
        elif (error := error or sys.exception()) is not None:
            trace_id, span_id, flags = _words(_behind(error))
        if trace_id:
            record["trace_id"] = trace_id
            record.setdefault("span_id", span_id)
            record.setdefault("trace_flags", flags)

    def blank(self, name: str) -> str:
        """What a format finds under one of `FIELDS` where nobody set it."""
        return self.service if name == "service" else ""

    def add(self, event: M) -> M:
        """Add the fields within a span only, for events that are printed as they are."""
        span = get_current_span()
        if span is not INVALID_SPAN and "trace_id" not in event:
            trace_id, span_id, flags = _words(span.get_span_context())
            if trace_id:
                event["trace_id"] = trace_id
                event.setdefault("span_id", span_id)
                event.setdefault("trace_flags", flags)
                if self.service:
                    event.setdefault("service", self.service)
        return event


by_hand: Final = Fields()
"""What is used where no `install` hands its own one over."""


def _words(context: SpanContext | None) -> tuple[str, str, str]:
    if context is None or not context.is_valid:
        return _EMPTY
    return f"{context.trace_id:032x}", f"{context.span_id:016x}", f"{context.trace_flags:02x}"


def _behind(error: BaseException) -> SpanContext | None:
    """The SERVER span that the error came through: its exchange is a local of our frame in the traceback."""
    step = error.__traceback__
    while step is not None:
        frame = step.tb_frame
        if frame.f_globals.get("__name__", "").endswith("tracing.inbound.server"):
            span = getattr(frame.f_locals.get("exchange"), "span", None)
            if span is not None:
                return cast("SpanContext", span.get_span_context())
        step = step.tb_next
    return None
