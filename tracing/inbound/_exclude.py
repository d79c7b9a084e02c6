"""Requests that leave no trace of their own, while the trace of their caller passes through them.

A probe or a scrape makes no span and counts in no metric. What it calls must not be an orphan, so the caller's
context stays current with the flags that came with it: the next span below is the caller's child. Where nobody
called with a context, an unsampled one is made up, or each outbound call of a health check would be a trace.
"""

import random
from collections.abc import Callable, Iterable, MutableMapping
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, get_current_span, set_span_in_context

from ._patterns import matcher

__all__ = ["excluding", "untold"]

_UNSAMPLED = TraceFlags(TraceFlags.RANDOM_TRACE_ID)


def excluding(patterns: Iterable[str]) -> Callable[[MutableMapping[str, Any]], bool] | None:
    """Whether a scope's path is excluded, by itself or below its `root_path`; None where nothing is."""
    patterns = tuple(patterns)
    if not patterns:
        return None
    fits = matcher(patterns)

    def excluded(scope: MutableMapping[str, Any]) -> bool:
        path: str = scope["path"]
        if fits(path):
            return True
        root: str = scope.get("root_path") or ""
        return root != "" and path.startswith(root) and fits(path[len(root) :])

    return excluded


def untold(context: Context) -> Context:
    """The context for an excluded request: the given one, or one that nobody samples where it has no span."""
    if get_current_span(context).get_span_context().is_valid:
        return context
    made = SpanContext(random.getrandbits(128) or 1, random.getrandbits(64) or 1, False, _UNSAMPLED)
    return set_span_in_context(NonRecordingSpan(made), context)
