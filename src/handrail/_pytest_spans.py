"""What the fixture `handrail_spans` gives: the spans of one test, and questions to ask of them."""

import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.trace import SpanKind

from ._pytest_swap import swapped
from ._pytest_trees import Tree, forest, outline, waterfall

__all__ = ["CollectedSpans", "Tree", "collected"]


class CollectedSpans(SpanProcessor):
    """The ended spans of one test. Spans of a trace that an earlier test began are not among them."""

    def __init__(self, earlier: set[int]) -> None:
        self._earlier = earlier
        self._begun: set[int] = set()
        self._spans: list[ReadableSpan] = []
        self._changed = threading.Condition()

    # -- what OpenTelemetry calls

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002 (its signature)
        """Remember which trace belongs to this test."""
        context = span.get_span_context()
        if context is not None:
            self._begun.add(context.trace_id)

    def on_end(self, span: ReadableSpan) -> None:
        """Keep the span."""
        context = span.get_span_context()
        if context is not None and context.trace_id not in self._earlier:
            with self._changed:
                self._spans.append(span)
                self._changed.notify_all()

    # -- what a test asks

    @property
    def finished(self) -> tuple[ReadableSpan, ...]:
        """All ended spans, in the order of their ends."""
        with self._changed:
            return tuple(self._spans)

    def named(self, name: str) -> list[ReadableSpan]:
        """The ended spans of this name, such as "GET /orders/{id}"."""
        return [span for span in self.finished if span.name == name]

    def one(self, name: str | None = None, *, kind: SpanKind | None = None) -> ReadableSpan:
        """The one span of this name and kind; AssertionError with the waterfall where there are more or none."""
        found = [span for span in self.finished if name in (None, span.name) and kind in (None, span.kind)]
        if len(found) != 1:
            wanted = " ".join(filter(None, [kind.name if kind else "", repr(name) if name else ""])) or "span"
            raise AssertionError(f"expected one {wanted}, found {len(found)} among:\n{self.waterfall()}")
        return found[0]

    def trees(self) -> list[Tree]:
        """One tree per root, oldest first; a span whose parent is remote is a root."""
        return forest(self.finished)

    def outline(self) -> str:
        """The trees as text: a line per span, `SERVER GET /orders/{id}`, indented below its parent, ` ERROR` behind."""
        return outline(self.trees())

    def assert_tree(self, expected: str) -> None:
        """AssertionError with the waterfall where `outline()` is another than `expected`, indentation taken away."""
        wanted = textwrap.dedent(expected).strip("\n").rstrip()
        found = self.outline()
        if found != wanted:
            raise AssertionError(f"expected\n\n{wanted}\n\nfound\n\n{found}\n\nin time\n\n{self.waterfall()}")

    def waterfall(self) -> str:
        """The trees with start, duration and a bar for each span, and their events: for people."""
        return waterfall(self.trees())

    def clear(self) -> None:
        """Forget what was kept so far."""
        with self._changed:
            self._spans.clear()

    def wait_for(self, count: int, timeout: float = 5.0) -> tuple[ReadableSpan, ...]:
        """Wait until `count` spans have ended, in threads for instance; AssertionError after `timeout` seconds.

        It holds the thread: within `async def`, await `arrived`.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._spans) >= count, timeout):
                raise AssertionError(self._missing(count, timeout))
            return tuple(self._spans)

    async def arrived(self, count: int, timeout: float = 5.0) -> tuple[ReadableSpan, ...]:  # noqa: ASYNC109 (as above)
        """`wait_for` without holding the event loop."""
        import anyio

        ends = time.monotonic() + timeout
        while len(self.finished) < count:
            if time.monotonic() > ends:
                raise AssertionError(self._missing(count, timeout))
            await anyio.sleep(0.005)
        return self.finished

    def _missing(self, count: int, timeout: float) -> str:
        found = forest(tuple(self._spans))
        return f"expected {count} spans within {timeout} s, found {len(self._spans)}:\n{waterfall(found)}"


_earlier: set[int] = set()


@contextmanager
def collected() -> Iterator[CollectedSpans]:
    """Collect every span of this process for the time of a block."""
    spans = CollectedSpans(_earlier)
    with swapped(spans):
        yield spans
    _earlier.update(spans._begun)
