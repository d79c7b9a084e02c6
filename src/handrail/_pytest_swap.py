"""Whoever's provider it is: for the time of a test its spans go to the test, and nowhere else.

OpenTelemetry lets nobody replace a provider, and tracers keep the one that they were made by. So a provider stays,
and what it hands its spans to is exchanged. All that reaches into OpenTelemetry's private parts stands here.
"""

import sys
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

from .tracing.testing import as_global

__all__ = ["swapped"]

_ours: TracerProvider | None = None
"""The global provider of tests where the service has none. Tracers keep it, so there is one for all tests."""

_refused: "weakref.WeakSet[TracerProvider]" = weakref.WeakSet()
"""Providers that a service set while ours was the global one: it may go on using them."""


@contextmanager
def swapped(collector: SpanProcessor) -> Iterator[None]:
    """Send every span to `collector` until the end of the block, then everything is as it was."""
    global _ours
    with ExitStack() as stack:
        present = trace._TRACER_PROVIDER
        if not isinstance(present, TracerProvider):
            if _ours is None:
                _ours = TracerProvider(shutdown_on_exit=False)
            stack.enter_context(_process_as_before())
            stack.enter_context(as_global(_ours))
            present = _ours
        for provider in {present, _ours or present, *_refused}:
            stack.enter_context(_redirected(provider, collector))
        stack.enter_context(_taking_in(stack, collector))
        yield


@contextmanager
def _redirected(provider: TracerProvider, collector: SpanProcessor) -> Iterator[None]:
    """The provider's own processors rest, and those that are added meanwhile begin afterwards."""
    multi: Any = provider._active_span_processor
    before = multi._span_processors
    added: list[SpanProcessor] = []
    multi._span_processors = (collector,)
    multi.add_span_processor = added.append
    try:
        yield
    finally:
        del multi.add_span_processor
        multi._span_processors = (*before, *added)


@contextmanager
def _taking_in(stack: ExitStack, collector: SpanProcessor) -> Iterator[None]:
    """A provider that the service sets meanwhile is redirected too, without the warning that it is refused."""
    before = trace._set_tracer_provider

    def take(tracer_provider: trace.TracerProvider, log: bool) -> None:  # noqa: ARG001 (it replaces one)
        if not isinstance(tracer_provider, TracerProvider):
            before(tracer_provider, log=False)
        elif tracer_provider is not trace._TRACER_PROVIDER and tracer_provider not in _refused:
            _refused.add(tracer_provider)
            stack.enter_context(_redirected(tracer_provider, collector))

    trace._set_tracer_provider = take
    try:
        yield
    finally:
        trace._set_tracer_provider = before


@contextmanager
def _process_as_before() -> Iterator[None]:
    """What is switched on finds its tracing anew after the test: ours is the global one no longer."""

    def current() -> Any:
        wire = sys.modules.get(f"{__package__}._wire")
        return wire.current() if wire is not None else None

    process = current()
    before = process._tracing if process is not None else None
    if process is not None:
        process._tracing = None
    try:
        yield
    finally:
        after = current()
        if after is not None:
            after._tracing = before if after is process else None
