"""What a new thread is given of a request: its span for as long as the request lasts, and a little longer.

A thread may be a short errand of one request, or a worker that a request happened to start and that serves all
later ones. Nothing tells the two apart when the thread starts. If the worker kept the first request's span, all its
later work would go into that first trace, or never be sampled because that first one was not.
"""

import time
from collections.abc import Mapping
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import (
    INVALID_SPAN,
    INVALID_SPAN_CONTEXT,
    Span,
    SpanContext,
    Status,
    StatusCode,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.util import types

__all__ = ["LENT_FOR", "Lent", "lend", "outliving"]

LENT_FOR = 60.0
"""Seconds after the end of its span (of an unsampled one: after the thread's start) in which a thread still belongs
to the request that started it."""

_OF_THE_REQUEST = "handrail-exchange"
"""How the key begins under which `inbound` keeps the whole request: not to be held for as long as a thread lives."""


def outliving(context: Context) -> Context:
    """The context without what belongs to the request alone, for work that may go on after it."""
    return Context({key: value for key, value in context.items() if not key.startswith(_OF_THE_REQUEST)})


def lend(context: Context) -> Context:
    """The context for a thread that starts now."""
    span = get_current_span(context)
    kept = outliving(context)
    return kept if span is INVALID_SPAN or isinstance(span, Lent) else set_span_in_context(Lent(span), kept)


class Lent(Span):
    """A span in a thread that may outlive it: everything reaches the span itself.

    `LENT_FOR` after its end this is no parent any more, and what the thread begins then is a trace of its own.
    """

    def __init__(self, span: Span) -> None:
        self._span = span
        self._context = span.get_span_context()
        self._lent_at = time.monotonic()

    def get_span_context(self) -> SpanContext:
        """The span's own, or an invalid one once the loan is over."""
        if self._span is not INVALID_SPAN and not self._span.is_recording() and self._age() > LENT_FOR:
            self._span, self._context = INVALID_SPAN, INVALID_SPAN_CONTEXT
        return self._context

    def _age(self) -> float:
        ended = getattr(self._span, "end_time", None)
        if isinstance(ended, int):
            return (time.time_ns() - ended) / 1e9
        return time.monotonic() - self._lent_at

    def __getattr__(self, name: str) -> Any:
        if name == "_span":
            raise AttributeError(name)  # half made, while it is being copied
        return getattr(self._span, name)

    def is_recording(self) -> bool:
        """Whether the span is not over and is sampled."""
        return self._span.is_recording()

    def set_attributes(self, attributes: Mapping[str, types.AttributeValue]) -> None:
        """As the span does it; nothing once it is over, where the SDK would log a warning. So do all others here."""
        if self._span.is_recording():
            self._span.set_attributes(attributes)

    def set_attribute(self, key: str, value: types.AttributeValue) -> None:
        """See `set_attributes`."""
        if self._span.is_recording():
            self._span.set_attribute(key, value)

    def add_event(self, name: str, attributes: types.Attributes = None, timestamp: int | None = None) -> None:
        """See `set_attributes`."""
        if self._span.is_recording():
            self._span.add_event(name, attributes, timestamp)

    def add_link(self, context: SpanContext, attributes: types.Attributes = None) -> None:
        """See `set_attributes`."""
        if self._span.is_recording():
            self._span.add_link(context, attributes)

    def update_name(self, name: str) -> None:
        """See `set_attributes`."""
        if self._span.is_recording():
            self._span.update_name(name)

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """See `set_attributes`."""
        if self._span.is_recording():
            self._span.set_status(status, description)

    def record_exception(
        self,
        exception: BaseException,
        attributes: types.Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """See `set_attributes`."""
        if self._span.is_recording():
            self._span.record_exception(exception, attributes, timestamp, escaped)

    def end(self, end_time: int | None = None) -> None:
        """End the span."""
        if self._span.is_recording():
            self._span.end(end_time)
