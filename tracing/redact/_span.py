"""The last look at a span before it is kept or sent: what other instrumentations and the service itself wrote.

Our own spans are clean from the start. Others record exceptions and URLs as they are.
"""

from collections.abc import Mapping
from copy import copy
from typing import Any, Final

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util import BoundedList
from opentelemetry.trace import Status

from .. import redact, semconv

__all__ = ["cleaned"]

_QUERIES: Final = frozenset({semconv.URL_QUERY})
_URLS: Final = frozenset({"url.full", "http.url", "http.target"})
_KEYS: Final = _QUERIES | _URLS
_STACK: Final = "exception.stacktrace"
_TEXTS: Final = ("exception.message", _STACK)


def cleaned(span: ReadableSpan) -> ReadableSpan:
    """The span, or a copy of it without the secrets in its URLs, its exceptions and its status."""
    source: Any = span
    change: dict[str, Any] = {}
    found = getattr(source, "_plain", None) or source._attributes  # a light span's own dict, where it has one
    if found and not _KEYS.isdisjoint(found):
        _note(change, "_attributes", found, _attributes(found))
    if getattr(source, "_event_list", True) and (events := source._events):
        _note(change, "_events", events, _events(events))
    if source._status.description:
        _note(change, "_status", source._status, _status(source._status))
    if not change:
        return span
    clean: Any = copy(source._readable_span()) if hasattr(source, "_readable_span") else copy(source)
    vars(clean).update(change)
    result: ReadableSpan = clean
    return result


def _note(change: dict[str, Any], name: str, before: object, after: object) -> None:
    if after is not before:
        change[name] = after


def _attributes(found: Mapping[str, Any]) -> Mapping[str, Any]:
    new: dict[str, str] = {}
    for key in _KEYS:
        if isinstance(before := found.get(key), str):
            after = redact.query(before) if key in _QUERIES else redact.url(before)
            if after != before:
                new[key] = after
    return _kept(found, {**found, **new}) if new else found


def _events(events: Any) -> Any:
    new = [_event(event) for event in events]
    if all(after is before for after, before in zip(new, events, strict=True)):
        return events
    if not isinstance(events, BoundedList):
        return tuple(new)
    made: BoundedList[Event] = BoundedList.from_seq(len(new), new)
    made.dropped = events.dropped
    return made


def _event(event: Event) -> Event:
    found = event.attributes or {}
    texts = {key: found[key] for key in _TEXTS if key in found}
    new = {
        key: redact.told(value, end=key == _STACK) if isinstance(value, str) else value for key, value in texts.items()
    }
    if new == texts:
        return event
    return Event(event.name, _kept(found, {**found, **new}), event.timestamp)


def _kept(before: Mapping[str, Any], after: dict[str, Any]) -> Mapping[str, Any]:
    made = BoundedAttributes(attributes=after)
    made.dropped = getattr(before, "dropped", 0)
    return made


def _status(status: Status) -> Status:
    text = redact.told(status.description or "")
    return status if text == status.description else Status(status.status_code, text)
