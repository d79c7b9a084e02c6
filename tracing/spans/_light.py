"""The span that handrail makes: the SDK's in all that can be seen of it, and a fraction of its cost.

The SDK builds four locks, two deques and a checked mapping for each span, and a second span at its end. Here the
attributes are a plain dict as long as their values are plain, and the rest is made when somebody asks for it.
All that is rare is inherited. `_probe` compares the two before the first is used.
"""

from _thread import allocate_lock
from collections.abc import Callable, Mapping, Sequence
from copy import copy, deepcopy
from time import time_ns
from types import MappingProxyType
from typing import Any

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import Event, ReadableSpan, logger
from opentelemetry.sdk.trace import Span as SdkSpan
from opentelemetry.sdk.util import BoundedList
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode
from opentelemetry.util.types import AnyValue, Attributes

from .._quietly import told
from ._origin import SHARED, Origin, Shared
from ._plain import PLAIN, fits

__all__ = ["LightSpan", "started"]

_UNSET = Status(StatusCode.UNSET)
_new: Any = object.__new__  # the SDK's `__new__` only refuses its own class


class LightSpan(SdkSpan):
    """An SDK span; only `started` makes one. Once ended it changes no more, so processors get the span itself."""

    __slots__ = (
        "_bounded",
        "_context",
        "_end_time",
        "_event_list",
        "_kind",
        "_link_list",
        "_lock",
        "_name",
        "_origin",
        "_parent",
        "_plain",
        "_start_time",
    )
    _bounded: BoundedAttributes | None
    _context: SpanContext
    _end_time: int | None
    _event_list: BoundedList[Event] | None
    _link_list: BoundedList[Link] | None
    _origin: Origin
    _plain: dict[str, AnyValue] | None
    _start_time: int

    # What few spans change.
    _status = _UNSET
    _record_exception = True
    _set_status_on_exception = True
    _record_end_metrics: Callable[[], None] | None = None
    _trace_config = None  # read by nobody; `_probe` wants every name that the SDK's span has

    def get_span_context(self) -> SpanContext:
        """The part that is propagated."""
        return self._context

    # `acquire` and `release` cost half of what `with` does.

    def set_attribute(self, key: str, value: AnyValue) -> None:
        """Set one attribute; see the API."""
        lock = self._lock
        lock.acquire()
        try:
            if self._end_time is None:
                plain = self._plain
                if (
                    plain is not None
                    and type(value) in PLAIN
                    and type(key) is str
                    and key
                    and len(plain) < self._origin.room
                ):
                    if key in plain:
                        del plain[key]  # as in the SDK the newest is the last
                    plain[key] = value
                else:
                    self._attributes[key] = value
                return
        finally:
            lock.release()
        logger.warning("Setting attribute on ended span.")

    def set_attributes(self, attributes: Mapping[str, AnyValue]) -> None:
        """Set several attributes; see the API."""
        lock = self._lock
        lock.acquire()
        try:
            if self._end_time is None:
                plain = self._plain
                if plain is not None and fits(attributes, self._origin.room - len(plain)):
                    if not plain.keys().isdisjoint(attributes):
                        for key in attributes:
                            plain.pop(key, None)
                    plain.update(attributes)
                else:
                    self._attributes._set_items(attributes)
                return
        finally:
            lock.release()
        logger.warning("Setting attribute on ended span.")

    def update_name(self, name: str) -> None:
        """Rename the span; see the API."""
        lock = self._lock
        lock.acquire()
        try:
            if self._end_time is None:
                self._name = name
                return
        finally:
            lock.release()
        logger.warning("Tried calling %s on an ended span.", "update_name")

    def end(self, end_time: int | None = None) -> None:
        """End the span and hand it to the processors; see the API."""
        lock = self._lock
        lock.acquire()
        try:
            ended = self._end_time is not None
            if not ended:
                self._end_time = time_ns() if end_time is None else end_time
                if self._bounded is not None:
                    self._bounded._immutable = True
        finally:
            lock.release()
        if ended:
            logger.warning("Calling end() on an ended span.")
        else:
            self._tell()

    def _handrail_finish(self, attributes: Mapping[str, AnyValue], name: str | None, end_time: int | None) -> None:
        """The last attributes, the name where it is not None, and the end, in one go; see `tracer.finish`."""
        lock = self._lock
        lock.acquire()
        try:
            ended = self._end_time is not None
            if not ended:
                plain = self._plain
                if plain is not None and len(plain) + len(attributes) <= self._origin.room:
                    plain.update(attributes)
                else:
                    self._attributes._set_items(attributes)
                if name is not None:
                    self._name = name
                self._end_time = time_ns() if end_time is None else end_time
                if self._bounded is not None:
                    self._bounded._immutable = True
        finally:
            lock.release()
        if ended:
            logger.warning("Calling end() on an ended span.")
        else:
            self._tell()

    def _tell(self) -> None:
        if self._record_end_metrics is not None:
            self._record_end_metrics()
        hooks = self._origin.now()
        for processor in hooks.before_end:
            try:
                processor._on_ending(self)
            except Exception as error:
                told(f"{type(processor).__name__}._on_ending failed", error)
        for processor in hooks.at_end:
            try:
                processor.on_end(self)
            except Exception as error:
                told(f"{type(processor).__name__}.on_end failed", error)

    @property
    def attributes(self) -> Attributes:
        """The attributes, read-only."""
        if self._bounded is None and self._end_time is not None and self._plain is not None:
            return MappingProxyType(self._plain)  # nobody writes to it any more
        return MappingProxyType(self._attributes or {})

    @property
    def events(self) -> Sequence[Event]:
        """The events, oldest first."""
        return () if self._event_list is None else tuple(self._event_list)

    @property
    def links(self) -> Sequence[Link]:
        """The links, oldest first."""
        return () if self._link_list is None else tuple(self._link_list)

    @property
    def dropped_attributes(self) -> int:
        """How many attributes the limits took."""
        return getattr(self._bounded, "dropped", 0)

    @property
    def dropped_events(self) -> int:
        """How many events the limits took."""
        return getattr(self._event_list, "dropped", 0)

    @property
    def dropped_links(self) -> int:
        """How many links the limits took."""
        return getattr(self._link_list, "dropped", 0)

    def __copy__(self) -> ReadableSpan:
        """A copy is a ReadableSpan, as what the SDK gives to processors is."""
        return copy(self._readable_span())

    def __deepcopy__(self, memo: dict[int, Any]) -> ReadableSpan:
        """See `__copy__`."""
        return deepcopy(self._readable_span(), memo)

    # The SDK's own names for its state: for what is inherited, and for others who know them. `setdefault` lets
    # threads that ask at the same time find one and the same object.

    @property
    def _attributes(self) -> Any:
        found = self._bounded
        if found is None and self._plain is not None:
            limits = self._origin.limits
            made = BoundedAttributes(
                limits.max_span_attributes, immutable=False, max_value_len=limits.max_span_attribute_length
            )
            made._dict = self._plain  # one and the same: what is written here is seen there
            found = self._bounded = vars(self).setdefault("bounded", made)
            if self._end_time is not None:
                found._immutable = True
        return found

    @_attributes.setter
    def _attributes(self, value: Any) -> None:
        self._plain = None
        self._bounded = value

    @property
    def _events(self) -> Any:
        found = self._event_list
        if found is None:
            found = self._event_list = vars(self).setdefault("events", BoundedList(self._limits.max_events))
        return found

    @_events.setter
    def _events(self, value: Any) -> None:
        self._event_list = value

    @property
    def _links(self) -> Any:
        found = self._link_list
        if found is None:
            found = self._link_list = vars(self).setdefault("links", BoundedList(self._limits.max_links))
        return found

    @_links.setter
    def _links(self, value: Any) -> None:
        self._link_list = value


for _theirs, _ours in SHARED.items():
    setattr(LightSpan, _theirs, Shared(_ours))


def started(
    origin: Origin,
    name: str,
    context: SpanContext,
    parent: SpanContext | None,
    kind: SpanKind,
    attributes: Mapping[str, AnyValue] | None,
    links: Sequence[Link],
    start_time: int | None,
) -> LightSpan:
    """A span that no processor knows of yet. A dict of attributes becomes its own, and is taken to be clean."""
    span: LightSpan = _new(LightSpan)
    span._origin = origin
    span._name = name
    span._context = context
    span._parent = parent
    span._kind = kind
    span._lock = allocate_lock()
    span._end_time = span._bounded = span._event_list = span._link_list = None
    if not attributes:
        span._plain = {}
    elif type(attributes) is dict and len(attributes) <= origin.room:
        span._plain = attributes
    else:
        span._plain = {}
        span._attributes._set_items(attributes)
    if links:
        span._link_list = span._new_links(links)
    span._start_time = time_ns() if start_time is None else start_time
    return span
