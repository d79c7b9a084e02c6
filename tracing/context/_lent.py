"""What a new thread is given of a request: its span for as long as the request lasts, and a little longer.

A thread may be a short errand of one request, or a worker that a request happened to start and that serves all
later ones. Nothing tells the two apart when the thread starts. If the worker kept the first request's span, all its
later work would go into that first trace, or never be sampled because that first one was not.
"""

import time
import weakref
from collections.abc import Callable

from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, NonRecordingSpan, Span, SpanContext, get_current_span, set_span_in_context

from ..inbound._background import EXCHANGE
from ..spans.current import CurrentSpan

__all__ = ["LENT_FOR", "Lent", "lend", "outliving"]

LENT_FOR = 60.0
"""Seconds after the end of its span (of an unsampled one: after the thread's start) in which a thread still belongs
to the request that started it."""


def outliving(context: Context) -> Context:
    """The context without what belongs to the request alone, for work that may go on after it."""
    return Context({key: value for key, value in context.items() if key != EXCHANGE})


def lend(context: Context) -> Context:
    """The context for a thread that starts now."""
    span = get_current_span(context)
    kept = outliving(context)
    return kept if span is INVALID_SPAN or type(span) is Lent else set_span_in_context(Lent(span), kept)


class Lent(CurrentSpan):
    """A span in a thread that may outlive it: everything reaches the span itself, and nothing once that is over.

    `LENT_FOR` after its end this is no parent any more, and what the thread begins then is a trace of its own. A
    request that has been answered is not held.
    """

    def __init__(self, span: Span) -> None:
        whole = issubclass(type(span), CurrentSpan)  # not isinstance: such a span gives itself out for another
        self.span: Span = span.span if whole else span  # type: ignore[attr-defined] # see above
        self._live: Callable[[], Span | None] = weakref.ref(span) if whole else lambda: span
        self._lent_at = time.monotonic()

    def _behind(self) -> Span:
        live = self._live()
        if live is not None and live.is_recording():
            return live
        if self.span is not INVALID_SPAN and self._age() > LENT_FOR:
            self.span, self._live = INVALID_SPAN, lambda: None
        if self.span is INVALID_SPAN:
            return INVALID_SPAN
        return NonRecordingSpan((live or self.span).get_span_context())

    def _shown(self) -> Span:
        return self._live() or self.span

    def _seen(self) -> SpanContext:
        return self._behind().get_span_context()

    def _age(self) -> float:
        ended = getattr(self.span, "end_time", None)
        if isinstance(ended, int):
            return (time.time_ns() - ended) / 1e9
        return time.monotonic() - self._lent_at
