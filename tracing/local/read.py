"""Traces read back from the local store, joined over the files of all processes, newest first."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from .store import SUFFIX

__all__ = ["Event", "Link", "Span", "Trace", "parse", "read", "trace_ids"]

_TRACE_ID = re.compile(rb'"traceId":"([0-9a-f]{32})"(?!,"spanId":"[0-9a-f]{16}","attributes")')
_LINKED = re.compile(rb'"traceId":"([0-9a-f]{32})","spanId":"[0-9a-f]{16}","attributes"')
"""In a span the name follows the ids, in a link the attributes: so `span` writes them."""
_START = re.compile(rb'"startTimeUnixNano":"(\d{1,20})"')
_MOST_LINKING = 20
"""Lines of other traces that are parsed for who links to a trace."""

Value = object


@dataclass(frozen=True, slots=True)
class Event:
    """A span event; `time` is in nanoseconds since the epoch."""

    name: str
    time: int
    attributes: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Link:
    """Another span that a span points to, of another trace as a rule."""

    trace_id: str
    span_id: str


@dataclass(frozen=True, slots=True)
class Span:
    """A span as stored. Times are nanoseconds since the epoch, `kind` and `status` the numbers of OTLP."""

    trace_id: str
    span_id: str
    parent_id: str
    service: str
    name: str
    kind: int
    start: int
    end: int
    attributes: Mapping[str, Value]
    events: tuple[Event, ...]
    status: int
    message: str
    links: tuple[Link, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether the status is ERROR."""
        return self.status == 2


@dataclass(frozen=True, slots=True)
class Trace:
    """The spans of one trace in order of their start, and the documents that they came in.

    `continued` are spans of other traces in the store that link to this one, the oldest first.
    """

    trace_id: str
    spans: tuple[Span, ...]
    documents: tuple[Mapping[str, object], ...] = field(repr=False)
    continued: tuple[Span, ...] = ()

    @property
    def start(self) -> int:
        """When the first span began, nanoseconds since the epoch."""
        return self.spans[0].start

    @property
    def end(self) -> int:
        """When the last span ended."""
        return max(span.end for span in self.spans)

    @property
    def services(self) -> tuple[str, ...]:
        """Names of the services in it, in order of appearance."""
        return tuple(dict.fromkeys(span.service for span in self.spans))

    def otlp(self) -> dict[str, object]:
        """The whole trace as one OTLP JSON document."""
        return {"resourceSpans": [part for document in self.documents for part in _list(document, "resourceSpans")]}


def read(
    folder: Path,
    *,
    trace_id: str = "",
    keep: Callable[[Trace], bool] = lambda _trace: True,
    limit: int | None = None,
) -> list[Trace]:
    """Traces in `folder`, newest first: those that `keep` wants, at most `limit`.

    `trace_id` may be the beginning of an id. Lines that are torn or not OTLP JSON are
    skipped; a folder that does not exist holds nothing. Raises OSError where a file cannot be read.
    """
    newest: dict[str, int] = {}
    by_trace: dict[str, list[bytes]] = {}
    linking: dict[str, list[bytes]] = {}
    for path in sorted(folder.glob("*" + SUFFIX)):
        for row in _rows(path):
            began = max((int(found) for found in _START.findall(row)), default=0)
            for identity in trace_ids(row):
                if identity.startswith(trace_id):
                    newest[identity] = max(newest.get(identity, 0), began)
                    by_trace.setdefault(identity, []).append(row)
            if b'"links":[' in row:
                for linked in set(_LINKED.findall(row)):
                    linking.setdefault(linked.decode(), []).append(row)
    traces: list[Trace] = []
    for identity in sorted(newest, key=newest.__getitem__, reverse=True):
        if limit is not None and len(traces) >= limit:
            break
        trace = parse(identity, by_trace[identity])
        if trace is not None and keep(trace):
            traces.append(replace(trace, continued=_linking(identity, linking.get(identity, []))))
    return traces


def _linking(trace_id: str, rows: list[bytes]) -> tuple[Span, ...]:
    """Spans of other traces that link to this one; of many lines the newest are looked at."""
    found: dict[tuple[str, str], Span] = {}
    for row in rows[-_MOST_LINKING:]:
        try:
            document = json.loads(row)
        except ValueError:
            continue
        for span in _spans(document) if isinstance(document, dict) else ():
            if span.trace_id != trace_id and any(link.trace_id == trace_id for link in span.links):
                found[span.trace_id, span.span_id] = span
    return tuple(sorted(found.values(), key=lambda span: span.start))


def trace_ids(row: bytes) -> set[str]:
    """The traces that a line of a store holds spans of, without parsing it."""
    return {found.decode() for found in _TRACE_ID.findall(row)}


def parse(trace_id: str, rows: Iterable[bytes | str]) -> Trace | None:
    """The spans of one trace among OTLP JSON `rows`, or None where there are none."""
    spans: dict[str, Span] = {}
    documents: list[Mapping[str, object]] = []
    for row in rows:
        try:
            document = json.loads(row)
        except ValueError:  # torn: the writer died, or is at it
            continue
        if not isinstance(document, dict):
            continue
        kept = _only(document, trace_id)
        found = {span.span_id: span for span in _spans(kept)}
        if found:
            documents.append(kept)
            spans.update(found)
    if not spans:
        return None
    return Trace(trace_id, tuple(sorted(spans.values(), key=lambda span: (span.start, -span.end))), tuple(documents))


def _rows(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().splitlines()
    except FileNotFoundError:  # a writer made room
        return []


def _only(document: Mapping[str, object], trace_id: str) -> Mapping[str, object]:
    """The document without the spans of other traces."""
    kept = [
        {
            **resource,
            "scopeSpans": [
                {**scope, "spans": [span for span in _list(scope, "spans") if span.get("traceId") == trace_id]}
                for scope in _list(resource, "scopeSpans")
            ],
        }
        for resource in _list(document, "resourceSpans")
    ]
    return {"resourceSpans": kept}


def _spans(document: Mapping[str, object]) -> Iterator[Span]:
    for resource in _list(document, "resourceSpans"):
        about = resource.get("resource")
        service = _attributes(about if isinstance(about, dict) else {}).get("service.name", "unknown_service")
        for scope in _list(resource, "scopeSpans"):
            for span in _list(scope, "spans"):
                yield _span(span, str(service))


def _span(raw: Mapping[str, object], service: str) -> Span:
    status = raw.get("status")
    about = status if isinstance(status, dict) else {}
    start = _int(raw.get("startTimeUnixNano"))
    events = sorted(
        (
            Event(str(event.get("name", "")), _int(event.get("timeUnixNano")), _attributes(event))
            for event in _list(raw, "events")
        ),
        key=lambda event: event.time,
    )
    return Span(
        trace_id=str(raw.get("traceId", "")),
        span_id=str(raw.get("spanId", "")),
        parent_id=str(raw.get("parentSpanId", "")),
        service=service,
        name=str(raw.get("name", "")),
        kind=_int(raw.get("kind")),
        start=start,
        end=max(start, _int(raw.get("endTimeUnixNano"))),
        attributes=_attributes(raw),
        events=tuple(events),
        status=_int(about.get("code")),
        message=str(about.get("message", "")),
        links=tuple(Link(str(link.get("traceId", "")), str(link.get("spanId", ""))) for link in _list(raw, "links")),
    )


def _list(owner: Mapping[str, object], key: str) -> list[dict[str, object]]:
    found = owner.get(key)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _attributes(owner: Mapping[str, object]) -> dict[str, Value]:
    return {str(item.get("key", "")): _value(item.get("value")) for item in _list(owner, "attributes")}


def _value(raw: object) -> Value:
    if not isinstance(raw, dict):
        return None
    if "intValue" in raw:
        return _int(raw["intValue"])
    if "arrayValue" in raw:
        return tuple(_value(item) for item in _list(raw["arrayValue"] or {}, "values"))
    return next((raw[kind] for kind in ("stringValue", "boolValue", "doubleValue", "bytesValue") if kind in raw), None)


def _int(raw: object) -> int:
    try:
        return int(raw)  # type: ignore[call-overload, no-any-return]  # whatever it is, it may not be a number
    except (TypeError, ValueError):
        return 0
