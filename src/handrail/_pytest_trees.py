"""Spans as trees, and trees as text."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

__all__ = ["Tree", "forest", "outline", "waterfall"]

_BAR = 32


@dataclass(slots=True)
class Tree:
    """A span and what happened below it, oldest first. `orphan`: its parent is of this process and has not ended."""

    span: ReadableSpan
    children: "list[Tree]" = field(default_factory=list)
    orphan: bool = False

    def walk(self, depth: int = 0) -> "Iterator[tuple[int, Tree]]":
        """All spans of the tree, parents first, with their depth."""
        yield depth, self
        for child in self.children:
            yield from child.walk(depth + 1)


def forest(spans: Sequence[ReadableSpan]) -> list[Tree]:
    """The roots, oldest first."""
    trees = {context.span_id: Tree(span) for span in spans if (context := span.get_span_context()) is not None}
    roots: list[Tree] = []
    for tree in sorted(trees.values(), key=lambda tree: tree.span.start_time or 0):
        parent = tree.span.parent
        above = trees.get(parent.span_id) if parent is not None else None
        tree.orphan = parent is not None and above is None and not parent.is_remote
        (roots if above is None else above.children).append(tree)
    return roots


def outline(roots: Sequence[Tree]) -> str:
    """A line per span: kind and name, indented; ` ERROR` and ` (parent missing)` where that is so."""
    return "\n".join("  " * depth + _said(tree) for root in roots for depth, tree in root.walk())


def waterfall(roots: Sequence[Tree]) -> str:
    """The same with times in milliseconds from the first start, bars and events."""
    rows = [(depth, tree) for root in roots for depth, tree in root.walk()]
    if not rows:
        return "(no span has ended)"
    first = min(tree.span.start_time or 0 for _, tree in rows)
    last = max(tree.span.end_time or 0 for _, tree in rows)
    width = max(2 * depth + len(_said(tree)) for depth, tree in rows)
    lines: list[str] = []
    for depth, tree in rows:
        start, end = tree.span.start_time or first, tree.span.end_time or last
        left, right = (round((at - first) * _BAR / max(last - first, 1)) for at in (start, end))
        bar = " " * left + "=" * max(right - left, 1)
        said = "  " * depth + _said(tree)
        lines.append(
            f"{said:<{width}}  {(start - first) / 1e6:8.2f} +{(end - start) / 1e6:8.2f} ms |{bar:<{_BAR + 1}}|"
        )
        lines += [f"{'  ' * depth}  - {event.name}" for event in tree.span.events]
    return "\n".join(lines)


def _said(tree: Tree) -> str:
    span = tree.span
    error = " ERROR" if span.status.status_code is StatusCode.ERROR else ""
    return f"{span.kind.name} {span.name}{error}{' (parent missing)' if tree.orphan else ''}"
