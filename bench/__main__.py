"""`python -m bench [GROUP ...] [--row NAME]`: what we add, over what the peers add, in instructions and in time.

Instructions are counted by valgrind and repeat to some tenths of a percent; targets are held against them. Time is
the processor time of interleaved rounds, with the 10th and 90th percentile behind the median.
"""

import argparse
import json
import sys
from pathlib import Path

from rich.console import Console

from . import instructions, results, rows, show, timing
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
    options.add_argument("--check", action="store_true", help="exit 1 where a target is missed")
    chosen = options.parse_args()
    try:
        picked = rows.chosen(chosen.groups, chosen.row)
    except ValueError as error:
        options.error(str(error))
    every = results.names(picked)
    both = chosen.instructions == chosen.time
    counts = rounds = None
    if (both or chosen.instructions) and instructions.available():
        counts = instructions.count(every, points=2 if chosen.quick else 3)
    if both or chosen.time:
        amount, times = (10, 50) if chosen.quick else (chosen.rounds, chosen.times)
        rounds = timing.run(every, rounds=amount, times=times)
    found = results.results(picked, counts, rounds)
    if chosen.json != "-":
        console = Console(width=max(140, Console().width))
        show.contenders(console, found, counts, rounds)
        show.rows(console, found, missing="" if instructions.available() else "no valgrind")
        show.production(console, {name: produced(name) for name in every})
    if chosen.json:
        text = json.dumps(results.as_json(found, counts, rounds), indent=1)
        if chosen.json == "-":
            print(text)
        else:
            Path(chosen.json).write_text(text + "\n")
    return 1 if chosen.check and any(result.met is False for result in found) else 0


def _groups() -> list[str]:
    return list(dict.fromkeys(row.group for row in rows.ROWS))


if __name__ == "__main__":
    sys.exit(main())
