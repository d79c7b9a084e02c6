"""What the demo shows in the terminal: progress while it runs, and the table at its end."""

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from .books import Books
from .load import Answer
from .recorded import Recorded
from .scenario import ENOUGH, Phase, Story

__all__ = ["Display", "table"]


class Display:
    """A bar for each run, with the part of the story that is on and what customers were told so far."""

    def __init__(self, console: Console, rate: float, phases: tuple[Phase, ...]) -> None:
        self.console = console
        self.total = sum(max(1, round(rate * phase.seconds)) for phase in phases)
        self.progress = Progress(
            TextColumn("{task.fields[run]:<13}"),
            TextColumn("[cyan]{task.description:<30}"),
            BarColumn(bar_width=14),
            TextColumn("{task.fields[counts]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self.task = TaskID(0)
        self.counts: dict[str, int] = {}

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()

    def begin(self, run: str) -> None:
        """Open the bar of a run."""
        self.counts = {"placed": 0, "refused": 0, "unclear": 0}
        self.task = self.progress.add_task("starting", total=self.total, run=run, counts=self._counts())
        if self.progress.disable:
            self.console.print(run)

    def watch(self, seen: Phase | Answer) -> None:
        """A part of the story begins, or a customer got an answer."""
        if isinstance(seen, Phase):
            self.progress.update(self.task, description=seen.title)
            if self.progress.disable:
                self.console.print(f"  {seen.title}", highlight=False)
            return
        self.counts["placed" if seen.placed else "refused" if seen.clear else "unclear"] += 1
        self.progress.update(self.task, advance=1, counts=self._counts())

    def _counts(self) -> str:
        placed, refused, unclear = self.counts["placed"], self.counts["refused"], self.counts["unclear"]
        style = "bold red" if unclear else "dim"
        return f"[green]{placed:>3} placed[/] [yellow]{refused:>3} refused[/] [{style}]{unclear:>3} unclear[/]"


def table(runs: Mapping[str, tuple[Story, Recorded]]) -> Table:
    """The runs side by side."""
    drawn = Table(title="\nThe same orders, the same faults", title_style="bold", title_justify="left")
    drawn.add_column("")
    for name in runs:
        drawn.add_column(name, justify="right")
    for label, cells in _rows(list(runs.values())):
        drawn.add_row(label, *cells)
    return drawn


def _rows(stories: list[tuple[Story, Recorded]]) -> list[tuple[str, list[str]]]:
    runs = [(story.books, recorded) for story, recorded in stories]
    parts = zip(*(story.parts for story, _ in stories), strict=True)
    return [
        ("orders", [str(books.orders) for books, _ in runs]),
        ("placed of placeable", [f"{books.placed} of {books.placeable}" for books, _ in runs]),
        *((f"  {row[0][0].title}", [_placed(phase, books) for phase, books in row]) for row in parts),
        ("refused with a clear answer", [str(books.refused) for books, _ in runs]),
        ("  of these: bad card, no stock", [str(books.declined) for books, _ in runs]),
        ("lost", [_bad(len(books.lost)) for books, _ in runs]),
        ("charged twice", [_bad(len(books.charged_twice)) for books, _ in runs]),
        ("p50 / p99 ms", [f"{books.p50 * 1e3:.0f} / {books.p99 * 1e3:.0f}" for books, _ in runs]),
        ("retries", [str(recorded.retries) for _, recorded in runs]),
        ("breaker openings", [str(recorded.openings) for _, recorded in runs]),
    ]


def _placed(phase: Phase, books: Books) -> str:
    text = f"{books.placed} of {books.placeable}  {int(books.share * 1000) / 10:5.1f} %"
    return f"[bold {'green' if books.share >= ENOUGH else 'red'}]{text}[/]" if phase.promised else text


def _bad(count: int) -> str:
    return f"[bold red]{count}[/]" if count else "[bold green]0[/]"
