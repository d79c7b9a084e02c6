"""Which processors have something to do at which moment of a span's life."""

from types import FunctionType

from opentelemetry.sdk.trace import SpanProcessor, SynchronousMultiSpanProcessor

__all__ = ["Hooks"]


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
