"""The figures as tables."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from .contenders import find
from .instructions import Count
from .lag import TITLES, Lags
from .produced import Produced
from .results import Result, added, names
from .timing import Rounds, Spread

__all__ = ["contenders", "lags", "production", "rows"]


def lags(console: Console, found: Mapping[str, Sequence[Lags]]) -> None:
    """How late the event loop was."""
    table = Table(title="how late the event loop is at 3,000 requests a second, ms (p10..p90)", title_justify="left")
    table.add_column("variant")
    for share in ("p50", "p90", "p99"):
        table.add_column(share, justify="right", no_wrap=True)
    table.add_column("spans arrived", justify="right")
    for name, each in found.items():
        figures = [_spread(Spread.of(lags[share] for lags in each), 2) for share in ("p50", "p90", "p99")]
        arrived = sum(lags["arrived"] for lags in each) / sum(lags["made"] for lags in each)
        table.add_row(TITLES[name], *figures, f"{arrived:.2%}" if arrived else "")
    console.print(table)


def rows(console: Console, found: Sequence[Result], *, missing: str) -> None:
    """Ratio, target and verdict; `missing` stands where nothing was counted."""
    table = Table(title="cost added by ours / cost added by the peer", title_justify="left")
    for name in ("row", "ours", "peer"):
        table.add_column(name)
    for name in ("instructions", "time (p10..p90)", "target"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for result in found:
        row = result.row
        verdict = {True: "[green]met[/]", False: "[red]missed[/]", None: ""}[result.met]
        table.add_row(
            f"{row.group} {row.name}",
            _title(row.ours),
            _title(row.peer),
            missing if result.instructions is None else f"{result.instructions:.3f}",
            _spread(result.time, 2),
            "" if row.target is None else f"{row.target:g}",
            verdict,
        )
    console.print(table)


def contenders(
    console: Console, found: Sequence[Result], counts: Mapping[str, Count] | None, rounds: Rounds | None
) -> None:
    """What each costs by itself."""
    table = Table(title="what each costs; added: over its base", title_justify="left")
    table.add_column("contender")
    for name in ("instructions", "added", "µs", "added µs (p10..p90)"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in names([result.row for result in found]):
        base = find(name).base
        table.add_row(
            find(name).title,
            f"{counts[name].each:,.0f}" if counts else "",
            f"{added(counts, name):,.0f}" if counts and base else "",
            f"{Spread.of(rounds.figures[name]).middle:.1f}" if rounds else "",
            _spread(Spread.of(rounds.added(name)), 1) if rounds and base else "",
        )
    console.print(table)


def production(console: Console, made: Mapping[str, Produced]) -> None:
    """What each makes of it."""
    console.print("\nWhat each produces:")
    for name, what in made.items():
        console.print(f"  {find(name).title}: {what}", highlight=False)
        if what.attributes:
            console.print(f"    {' '.join(what.attributes)}", style="dim", highlight=False)


def _title(name: str) -> str:
    return TITLES[name] if name in TITLES else find(name).title


def _spread(spread: Spread | None, digits: int) -> str:
    if spread is None:
        return ""
    return f"{spread.middle:.{digits}f} ({spread.low:.{digits}f}..{spread.high:.{digits}f})"
