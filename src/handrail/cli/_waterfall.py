"""One trace as a waterfall for the terminal: tree, bars on a common axis, durations, errors, events."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from ..tracing import semconv
from ..tracing.local.read import Event, Link, Span, Trace
from ._waterfall_events import continued, sentence
from ._waterfall_rows import Row, rows
from ._waterfall_text import clean, duration, error_of, hedges, label, peers, status_of

__all__ = ["Waterfall", "render"]

_PALETTE = (
    "cyan",
    "green",
    "blue",
    "magenta",
    "yellow",
    "bright_cyan",
    "bright_green",
    "bright_blue",
    "bright_magenta",
)
_MOST_ROWS = 500
_MOST_CONTINUED = 5
_MOST_LINES = 2
"""Of one event: a sentence of ours has room at 80 columns, a stranger's message may be of any length."""
_ASCII = str.maketrans({
    "├": "|", "└": "`", "│": "|", "─": "-", "━": "=", "╸": "=", "╺": "=", "┄": ".", "┊": ":", "╵": "'",
    "✗": "x", "↻": "~", "◆": "*", "·": "-", "→": ">", "…": "~", "µ": "u", "⇠": "<", "⇢": ">",
    "⏳": "..",
})  # fmt: skip
_DURATION = 9
_STATUS = 3


def render(trace: Trace) -> "Waterfall":
    """What `rich` prints for a trace; it fits itself to the width and the encoding of the console."""
    return Waterfall(trace)


class Waterfall:
    """A rich renderable. Services have a colour each; what failed is red and marked with ✗."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self._colours = {name: _PALETTE[index % len(_PALETTE)] for index, name in enumerate(trace.services)}

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        found = list(rows(self.trace))
        layout = _Layout(self.trace, found, options.max_width)
        lines = [*self._header(), layout.axis()]
        for row in found[:_MOST_ROWS]:
            lines.extend(self._span(row, layout) if row.event is None else self._event(row, row.event, layout))
        if len(found) > _MOST_ROWS:
            lines.append(Text(f"… {len(found) - _MOST_ROWS} more lines", style="dim"))
        lines.extend(self._continued(options.max_width))
        for line in lines:
            line.rstrip()
            line.no_wrap, line.overflow = True, "crop"
            if options.ascii_only:
                line.plain = line.plain.translate(_ASCII).encode("ascii", "replace").decode("ascii")
            yield line

    def _header(self) -> Iterator[Text]:
        trace = self.trace
        root = next((span for span in trace.spans if not span.parent_id), trace.spans[0])
        failed = sum(span.failed for span in trace.spans)
        title = Text.assemble((clean(root.name), "bold"), "  ", (status_of(root), _status_style(root)))
        title.append(f"  {duration(trace.end - trace.start)}", style="bold")
        title.append(f"  {_count(len(trace.services), 'service')}, {_count(len(trace.spans), 'span')}, ")
        title.append(_count(failed, "error"), style="bold red" if failed else "")
        yield title
        began = datetime.fromtimestamp(trace.start / 1e9, tz=UTC).astimezone()
        yield Text(f"trace {trace.trace_id}  {began:%Y-%m-%d %H:%M:%S}.{began.microsecond // 1000:03d}", style="dim")

    def _span(self, row: Row, layout: "_Layout") -> Iterator[Text]:
        span = row.span
        colour = self._colours[span.service]
        error = error_of(span)
        line = Text()
        line.append(_fit(clean(span.service), layout.service) + " ", style=colour)
        line.append(row.guides, style="dim")
        name = _fit(label(span, layout.known, layout.hedged), layout.name - cell_len(row.guides))
        line.append(name + " ", style="bold red" if span.failed else "bold" if not row.guides else "")
        line.append_text(layout.bar(span.start, span.end, "red" if span.failed else colour))
        line.append(duration(span.end - span.start).rjust(_DURATION) + " ")
        line.append(status_of(span).rjust(_STATUS), style=_status_style(span))
        if span.failed:
            line.append(" ✗", style="bold red")
            if layout.error:
                line.append(" " + _fit(error, layout.error), style="red")
        yield line
        told = any(sentence(event)[1].startswith(error) for event in span.events)
        if error and not layout.error and not told:
            yield Text.assemble(" " * (layout.service + 1), (row.below, "dim"), (f"✗ {error}", "red"))

    @staticmethod
    def _event(row: Row, event: Event | Link, layout: "_Layout") -> Iterator[Text]:
        symbol, said, style = sentence(event)
        room = layout.name + 1 + layout.bars - cell_len(row.guides) - cell_len(symbol) - 1
        for number, part in enumerate(_wrap(said, room)):
            line = Text(" " * (layout.service + 1))
            line.append(row.below if number else row.guides, style="dim")
            line.append(" " * (cell_len(symbol) + 1) if number else f"{symbol} ", style=style)
            line.append(part, style=f"dim {style}".replace("dim dim", "dim"))
            if isinstance(event, Event) and not number:
                layout.mark(line, event, style)
                line.append(("+" + duration(event.time - layout.start)).rjust(_DURATION), style="dim")
            yield line

    def _continued(self, width: int) -> Iterator[Text]:
        """Traces of the store that go on where this one ended: work that was put off."""
        found = {span.trace_id: span for span in reversed(self.trace.continued)}
        for span in list(reversed(found.values()))[:_MOST_CONTINUED]:
            yield Text(_fit(f"⇢ {continued(span)}", width), style="cyan")
        if len(found) > _MOST_CONTINUED:
            yield Text(f"⇢ and {len(found) - _MOST_CONTINUED} more traces", style="dim")


class _Layout:
    """Widths of the columns, and the axis: which half column of the bars is which time."""

    def __init__(self, trace: Trace, found: Sequence[Row], width: int) -> None:
        self.known = peers(trace)
        self.hedged = hedges(trace)
        self.start = trace.start
        self.total = max(trace.end - trace.start, 1)
        errors = max((cell_len(error_of(span)) for span in trace.spans), default=0)
        self.error = min(errors, 22) if width >= 110 else 0
        self.service = min(max(cell_len(clean(name)) for name in trace.services), 16 if width >= 100 else 10)
        fixed = self.service + 1 + 1 + _DURATION + 1 + _STATUS + 2 + (self.error + 1 if self.error else 0)
        room = max(width - fixed, 30)
        wanted = max(self._wanted(row) for row in found[:_MOST_ROWS])
        self.name = max(min(wanted, room * 55 // 100), 14)
        self.bars = max(room - self.name, 10)

    def axis(self) -> Text:
        """The scale: a tick and its time at each quarter, the total at the end."""
        cells = [" "] * self.bars
        quarters = 4 if self.bars >= 40 else 2
        for quarter in range(quarters):
            text = "╵" + (duration(self.total * quarter / quarters) if quarter else "0")
            at = self.bars * quarter // quarters
            cells[at : at + len(text)] = text
        line = Text(" " * (self.service + 1 + self.name + 1) + "".join(cells[: self.bars]), style="dim")
        line.append(duration(self.total).rjust(_DURATION))
        return line

    def bar(self, start: int, end: int, style: str) -> Text:
        """A bar from `start` to `end`, exact to half a column and never less than that."""
        first = min(self._half(start), 2 * self.bars - 1)
        last = max(self._half(end), first + 1)
        cells = "".join(
            (" ", "╺", "╸", "━")[2 * (first <= 2 * cell < last) + (first <= 2 * cell + 1 < last)]
            for cell in range(self.bars)
        )
        return Text(cells, style=style)

    def mark(self, line: Text, event: Event, style: str) -> None:
        """Fill `line` up to the end of the bars; where its text leaves room, show when the event was."""
        left = self.service + 1 + self.name + 1
        gap = self.bars + left - cell_len(line.plain)
        cells = [" "] * gap
        at = left + min(self._half(event.time) // 2, self.bars - 1) - cell_len(line.plain)
        delay = event.attributes.get(semconv.RETRY_DELAY)
        until = at + 1
        if isinstance(delay, (int, float)):
            until = left + min(self._half(event.time + int(delay * 1e9)) // 2, self.bars) - cell_len(line.plain)
        for cell in range(max(at, 1), max(until, at + 1)):
            cells[cell] = "┄" if delay is not None else "╵"
        line.append("".join(cells), style=style)

    def _wanted(self, row: Row) -> int:
        text = label(row.span, self.known, self.hedged) if row.event is None else "  " + sentence(row.event)[1]
        return cell_len(row.guides) + cell_len(text)

    def _half(self, time: int) -> int:
        return max(0, min(2 * self.bars, round((time - self.start) * 2 * self.bars / self.total)))


def _wrap(text: str, width: int) -> list[str]:
    """Lines of at most `width` columns; what is left over after the last one ends in an ellipsis."""
    found: list[str] = []
    while cell_len(text) > width and len(found) < _MOST_LINES - 1:
        head = set_cell_size(text, width)
        at = head.rfind(" ") if " " in head.strip() else len(head.rstrip())
        found.append(text[:at].rstrip())
        text = text[at:].lstrip()
    return [*found, text if cell_len(text) <= width else _fit(text, width)]


def _fit(text: str, width: int) -> str:
    """Exactly `width` columns; what is cut off ends in an ellipsis."""
    if cell_len(text) <= width:
        return set_cell_size(text, max(width, 0))
    return set_cell_size(text, max(width - 1, 0)) + "…"


def _status_style(span: Span) -> str:
    return "bold red" if span.failed else "yellow" if status_of(span).startswith("4") else "green"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
