"""A trace as lines in reading order: spans as a tree, with each span's events among its children by time."""

from collections.abc import Iterator
from dataclasses import dataclass

from ..tracing.local.read import Event, Link, Span, Trace

__all__ = ["Row", "rows"]


_BLANK = "   "


@dataclass(frozen=True, slots=True)
class Row:
    """A span, or an event or a link of the span `span`.

    `guides` draws the tree to its left, `below` the same for further lines about it.
    """

    guides: str
    span: Span
    event: Event | Link | None = None
    below: str = ""


def rows(trace: Trace) -> Iterator[Row]:
    """All lines of a trace. A span whose parent is not in the trace stands at the left edge."""
    known = {span.span_id for span in trace.spans}
    children: dict[str, list[Span]] = {}
    roots: list[Span] = []
    for span in trace.spans:
        if span.parent_id in known and span.parent_id != span.span_id:
            children.setdefault(span.parent_id, []).append(span)
        else:
            roots.append(span)
    seen: set[str] = set()
    for root in roots:
        yield from _below(root, children, seen)
    # Parents in a circle: nothing leads there from a root.
    for span in trace.spans:
        if span.span_id not in seen:
            yield from _below(span, children, seen)


def _below(root: Span, children: dict[str, list[Span]], seen: set[str]) -> Iterator[Row]:
    # A stack, since a chain of calls may be deeper than Python's recursion.
    stack = [_row(root, "", "", children)]
    while stack:
        row = stack.pop()
        if row.event is None:
            if row.span.span_id in seen:
                continue
            seen.add(row.span.span_id)
            stack.extend(reversed(_inside(row, children)))
        yield row


def _row(span: Span, guides: str, indent: str, children: dict[str, list[Span]]) -> Row:
    return Row(guides, span, None, indent + ("│  " if children.get(span.span_id) else _BLANK))


def _inside(row: Row, children: dict[str, list[Span]]) -> list[Row]:
    """The lines one level below a span. Its bar goes on to the last of them: what hangs on it is the span's own."""
    indent, span = row.below[:-3], row.span
    inner = children.get(span.span_id, [])
    items: list[tuple[int, int, Event | Span | Link]] = [(span.start, -1, link) for link in span.links]
    items.extend((event.time, 1, event) for event in span.events)
    items.extend((child.start, 0, child) for child in inner)
    items.sort(key=lambda entry: entry[:2])
    found: list[Row] = []
    for number, (_, _, item) in enumerate(items, 1):
        last = number == len(items)
        branch, below = ("└─ ", _BLANK) if last else ("├─ ", "│  ")
        if isinstance(item, Span):
            found.append(_row(item, indent + branch, indent + below, children))
        elif inner:
            found.append(Row(indent + (branch if last else below), span, item, indent + below))
        else:
            found.append(Row(indent + _BLANK, span, item, indent + _BLANK))
    return found
