"""What the SDK's own samplers decide, without asking them for a result object and a copy of the attributes."""

from collections.abc import Callable
from typing import Any

from opentelemetry.sdk.trace.sampling import (
    Decision,
    ParentBased,
    ParentBasedTraceIdRatio,
    Sampler,
    StaticSampler,
    TraceIdRatioBased,
)
from opentelemetry.trace import SpanContext

__all__ = ["Decide", "known"]

Decide = Callable[[SpanContext | None, int], Decision]
"""(the parent where it is valid, the trace id) -> the decision; attributes and trace state stay as they were."""

_DELEGATES = (
    "_local_parent_not_sampled",
    "_local_parent_sampled",
    "_remote_parent_not_sampled",
    "_remote_parent_sampled",
    "_root",
)
_ROOT = 4
_IS_REMOTE, _FLAGS, _SAMPLED = 2, 3, 1  # a SpanContext is a tuple, and its properties are functions


def known(sampler: object) -> Decide | None:
    """How `sampler` decides; None for one that is not the SDK's, and may look at the attributes."""
    kind = type(sampler)
    if isinstance(sampler, Sampler) and "should_sample" in vars(sampler):
        return None
    if kind is StaticSampler:
        return _static(getattr(sampler, "_decision", None))
    if isinstance(sampler, TraceIdRatioBased) and kind is TraceIdRatioBased:
        return _ratio(sampler.bound, sampler.TRACE_ID_LIMIT)
    if kind is ParentBased or kind is ParentBasedTraceIdRatio:
        return _parent_based(sampler)
    return None


def _static(decision: Decision | None) -> Decide | None:
    return None if decision is None else lambda _parent, _trace_id: decision


def _ratio(bound: int, limit: int) -> Decide:
    def decide(_parent: SpanContext | None, trace_id: int) -> Decision:
        return Decision.RECORD_AND_SAMPLE if trace_id & limit < bound else Decision.DROP

    return decide


def _parent_based(sampler: object) -> Decide | None:
    delegates = [getattr(sampler, name, None) for name in _DELEGATES]
    decides = [known(delegate) for delegate in delegates]
    if None in decides:
        return None
    # Most delegates say the same each time, and need not be asked.
    fixed = [getattr(delegate, "_decision", None) for delegate in delegates]

    def decide(parent: SpanContext | None, trace_id: int) -> Decision:
        parts: Any = parent
        index = _ROOT if parent is None else 2 * parts[_IS_REMOTE] + (parts[_FLAGS] & _SAMPLED)
        return fixed[index] or decides[index](parent, trace_id)  # type: ignore[misc]  # none of them is None

    return decide
