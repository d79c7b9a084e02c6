"""The span that is current within a request: one object for the whole of it, whatever stands behind it by then.

Up to the last byte that is the SERVER span, and what runs after it finds the span of the background work in the
same place, in every task and thread that has the request's context: nobody has to be told that the response is out.

Whoever only looks (a log record's ids, an exemplar, an error reporter) begins no work by that. The API has one
question for looking and for becoming a child, so the two are told apart by who asks.
"""

import sys
from abc import abstractmethod
from collections.abc import Mapping
from copy import copy, deepcopy
from typing import Any

from opentelemetry.trace import Span, SpanContext, Status, StatusCode
from opentelemetry.util.types import AnyValue, Attributes

__all__ = ["CurrentSpan"]

_BEGINNERS = frozenset(("start_span", "start_as_current_span", "inject", "parent_of"))
"""Functions that ask in order to begin something below: the API's names for them, which anybody's tracer and
propagator has, and that of our own tracer. One that asks through a function of another name begins below the span
that a look sees."""


def _same(span: Span) -> Span:
    return span


class CurrentSpan(Span):
    """Passes all of the API on to the span that `_behind` names. To others it is an instance of that span's class."""

    span: Span
    over = True
    """Whether `_behind` may name another span than `span`."""

    @abstractmethod
    def _behind(self) -> Span:
        """The span that is meant now, begun if need be."""

    @abstractmethod
    def _shown(self) -> Span:
        """The same for who only looks: nothing begins."""

    def get_span_context(self) -> SpanContext:
        """See the API; so are all below."""
        if not self.over:
            return self.span.get_span_context()
        if sys._getframe(1).f_code.co_name in _BEGINNERS:
            return self._parent_context()
        return self._seen()

    def _seen(self) -> SpanContext:
        return self._shown().get_span_context()

    def _parent_context(self) -> SpanContext:
        behind = self._behind()
        # By its type: such a span gives itself out for another.
        return behind._parent_context() if issubclass(type(behind), CurrentSpan) else behind.get_span_context()  # type: ignore[attr-defined]  # see above

    def is_recording(self) -> bool:
        return self._behind().is_recording()

    def set_attribute(self, key: str, value: AnyValue) -> None:
        self._behind().set_attribute(key, value)

    def set_attributes(self, attributes: Mapping[str, AnyValue]) -> None:
        self._behind().set_attributes(attributes)

    def add_event(self, name: str, attributes: Attributes = None, timestamp: int | None = None) -> None:
        self._behind().add_event(name, attributes, timestamp)

    def add_link(self, context: SpanContext, attributes: Attributes = None) -> None:
        self._behind().add_link(context, attributes)

    def update_name(self, name: str) -> None:
        self._behind().update_name(name)

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        self._behind().set_status(status, description)

    def record_exception(
        self,
        exception: BaseException,
        attributes: Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        self._behind().record_exception(exception, attributes, timestamp, escaped)

    def end(self, end_time: int | None = None) -> None:
        self._behind().end(end_time)

    # A copy is of the span itself, and a pickle as far as that can be pickled: the SDK's that records cannot.

    def __copy__(self) -> Any:
        return copy(self._shown())

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return deepcopy(self._shown(), memo)

    def __reduce__(self) -> tuple[Any, ...]:
        return _same, (self._shown(),)

    def __reduce_ex__(self, _protocol: Any) -> tuple[Any, ...]:
        return self.__reduce__()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "span":
            raise AttributeError(name)
        return getattr(self._shown(), name)

    @property  # type: ignore[misc]  # read-only: what isinstance asks, as of any proxy
    def __class__(self) -> type:
        return type(self.span)
