"""What the spans of one tracer have in common, and which processors have something to do for them."""

import sys
from types import FunctionType
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, SpanProcessor, SynchronousMultiSpanProcessor
from opentelemetry.sdk.trace.sampling import Sampler
from opentelemetry.sdk.util.instrumentation import InstrumentationInfo, InstrumentationScope

__all__ = ["SHARED", "Hooks", "Origin", "Shared"]


class Hooks:
    """Whom to call at a span's start, shortly before its end, and at its end.

    `seen` is the tuple of processors that this was made of; where the provider holds another, one was added.
    """

    __slots__ = ("at_end", "at_start", "before_end", "multi", "seen")

    def __init__(self, processor: SpanProcessor) -> None:
        self.multi: SynchronousMultiSpanProcessor | None = None
        self.seen: tuple[SpanProcessor, ...] = (processor,)
        if type(processor) is SynchronousMultiSpanProcessor:  # it only passes on, one after the other
            self.multi = processor
            self.seen = processor._span_processors
        self.at_start = tuple(each for each in self.seen if _acts(each, "on_start"))
        self.before_end = tuple(each for each in self.seen if _acts(each, "_on_ending"))
        self.at_end = self.seen


class Origin:
    """What all spans of one tracer have in common."""

    __slots__ = ("hooks", "info", "limits", "processor", "resource", "room", "sampler", "scope")

    def __init__(
        self,
        sampler: Sampler,
        resource: Resource,
        processor: SpanProcessor,
        limits: SpanLimits,
        scope: InstrumentationScope,
        info: InstrumentationInfo,
    ) -> None:
        self.sampler = sampler
        self.resource = resource
        self.processor = processor
        self.limits = limits
        self.scope = scope
        self.info = info
        most = limits.max_span_attributes
        self.room = 0 if limits.max_span_attribute_length is not None else sys.maxsize if most is None else most
        """How many attributes may be stored without a look at the limits."""
        self.hooks = Hooks(processor)

    def now(self) -> Hooks:
        """Whom to call, where a service may have added a processor since."""
        hooks = self.hooks
        multi = hooks.multi
        if multi is not None and multi._span_processors is not hooks.seen:
            hooks = self.hooks = Hooks(self.processor)
        return hooks


SHARED = {
    "_instrumentation_info": "info",
    "_instrumentation_scope": "scope",
    "_limits": "limits",
    "_resource": "resource",
    "_sampler": "sampler",
    "_span_processor": "processor",
}
"""The SDK's names of what a span has from its origin."""


class Shared:
    """What a span has from its origin, unless it is given one of its own."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, span: Any, _owner: type) -> Any:
        return self if span is None else getattr(span._origin, self._name)


def _nothing() -> None:
    pass


def _nothing_documented() -> None:
    """Nothing."""


_IDLE = frozenset(function.__code__.co_code for function in (_nothing, _nothing_documented))


def _acts(processor: SpanProcessor, name: str) -> bool:
    """Whether calling the method does anything. Most processors inherit or write an empty one."""
    method = getattr(type(processor), name, None)
    idle = isinstance(method, FunctionType) and method.__code__.co_code in _IDLE
    return not idle or name in getattr(processor, "__dict__", ())
