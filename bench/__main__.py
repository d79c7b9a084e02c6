"""`python -m bench [--rounds N] [--calls N]`: what each way adds to a request and to a call.

Added cost is the median over the rounds of (variant - base) in that round; a ratio compares two
added costs within the same round, with the 10th and 90th percentile of all rounds behind it.
"""

import argparse
import os
import sys
import tempfile
from types import ModuleType

from rich.console import Console
from rich.table import Table

from .measure import run
from .spans import use_provider


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    options.add_argument("--rounds", type=int, default=15, help="interleaved rounds (15)")
    options.add_argument("--calls", type=int, default=1500, help="calls of each variant in a round (1500)")
    chosen = options.parse_args()

    # Stable conventions for everybody; nobody's settings from outside.
    os.environ["OTEL_SEMCONV_STABILITY_OPT_IN"] = "http"
    os.environ["HANDRAIL_TRACES_DIR"] = tempfile.mkdtemp()
    use_provider()
    from handrail import _wire

    from . import inbound, outbound

    console = Console(width=max(100, Console().width))
    for title, part in (("a request, in process", inbound), ("an outbound call", outbound)):
        variants = part.variants()
        _wire.switch_off() if part is outbound else None
        _show(console, title, part, run(variants, rounds=chosen.rounds, calls=chosen.calls))
    return 0


def _show(console: Console, title: str, part: ModuleType, rounds: "object") -> None:
    from .measure import Rounds

    assert isinstance(rounds, Rounds)
    table = Table(title=title, title_justify="left")
    table.add_column("variant")
    table.add_column("µs per call", justify="right")
    table.add_column("added µs", justify="right")
    for peer in part.PEERS:
        table.add_column(f"added / {peer} (p10..p90)", justify="right")
    for name in rounds.figures:
        row = [name, f"{rounds.median(name):.1f}"]
        if name == part.BASE:
            table.add_row(*row, *[""] * (1 + len(part.PEERS)))
            continue
        added = sorted(rounds.added(name, part.BASE))
        row.append(f"{added[len(added) // 2]:.1f}")
        for peer in part.PEERS:
            low, middle, high = rounds.ratio(name, peer, part.BASE)
            row.append(f"{middle:.2f} ({low:.2f}..{high:.2f})")
        table.add_row(*row)
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
