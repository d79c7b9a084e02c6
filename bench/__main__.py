"""`python -m bench [GROUP ...] [--row NAME]`: what we add, over what the peers add, in instructions and in time.

Instructions are counted by valgrind and repeat to some tenths of a percent; targets are held against them. Time is
the processor time of interleaved rounds, with the 10th and 90th percentile behind the median.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from . import instructions, lag, results, rows, show, timing
from .contenders import missing
from .produced import produced


def main() -> int:
    """Measure and print; 1 where `--check` finds a target missed."""
    options = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    options.add_argument("groups", nargs="*", metavar="GROUP", help=f"of: {', '.join(_groups())}; all")
    options.add_argument("--row", action="append", default=[], help="only this row (several times)")
    options.add_argument("--instructions", action="store_true", help="only instructions")
    options.add_argument("--time", action="store_true", help="only time")
    options.add_argument("--rounds", type=int, default=60, help="interleaved rounds (60)")
    options.add_argument("--times", type=int, default=150, help="repetitions in a round (150)")
    options.add_argument("--quick", action="store_true", help="10 rounds of 50, two counts: a look, not a measurement")
    options.add_argument("--json", metavar="FILE", help="the figures, also as JSON; - is the output")
    options.add_argument("--exact", action="store_true", help="lag on a loop whose timer is exact, not epoll's")
    options.add_argument("--check", action="store_true", help="exit 1 where a target is missed")
    chosen = options.parse_args()
    try:
        picked = rows.chosen(chosen.groups, chosen.row)
    except ValueError as error:
        options.error(str(error))
    for row in [row for row in picked if missing(row.peer)]:
        print(f"{row.group} {row.name} is left out: {', '.join(missing(row.peer))} is not installed", file=sys.stderr)
        picked.remove(row)
    if not picked:
        return 0
    found = _Found(picked, chosen)
    if chosen.json != "-":
        found.show(Console(width=max(140, Console().width)))
    if chosen.json:
        text = json.dumps(found.as_json(), indent=1)
        if chosen.json == "-":
            print(text)
        else:
            Path(chosen.json).write_text(text + "\n")
    return 1 if chosen.check and any(result.met is False for result in found.results) else 0


class _Found:
    """Everything that was measured for some rows."""

    def __init__(self, picked: Sequence[rows.Row], chosen: argparse.Namespace) -> None:
        work = [row for row in picked if row.group != "lag"]
        waits = [row for row in picked if row.group == "lag"]
        self.names = results.names(work)
        both = chosen.instructions == chosen.time
        self.counts = self.rounds = None
        if work and (both or chosen.instructions) and instructions.available():
            self.counts = instructions.count(self.names, points=2 if chosen.quick else 3)
        if work and (both or chosen.time):
            amount, times = (10, 50) if chosen.quick else (chosen.rounds, chosen.times)
            self.rounds = timing.run(self.names, rounds=amount, times=times)
        self.results = results.results(work, self.counts, self.rounds)
        self.lags: dict[str, list[lag.Lags]] = {}
        if waits and (both or chosen.time):
            names = list(dict.fromkeys(name for row in waits for name in (row.peer, row.ours)))
            amount, seconds = (1, 1.0) if chosen.quick else (5, 4.0)
            self.lags = lag.run(names, rounds=amount, seconds=seconds, exact=chosen.exact)
            self.results += [
                results.Result(row, None, lag.ratio(self.lags, row.ours, row.peer, "p99")) for row in waits
            ]

    def show(self, console: Console) -> None:
        """As tables."""
        if self.names:
            show.contenders(console, self.results, self.counts, self.rounds)
        if self.lags:
            show.lags(console, self.lags)
        show.rows(console, self.results, missing="" if instructions.available() else "no valgrind")
        if self.names:
            show.production(console, {name: produced(name) for name in self.names})

    def as_json(self) -> dict[str, object]:
        """The same figures."""
        return {**results.as_json(self.results, self.counts, self.rounds), "lags": self.lags}


def _groups() -> list[str]:
    return list(dict.fromkeys(row.group for row in rows.ROWS))


if __name__ == "__main__":
    sys.exit(main())
