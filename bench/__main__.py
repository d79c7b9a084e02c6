"""`python -m bench [--rounds N] [--calls N] [--quick]`: what each way adds to a request and to a call.

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

from .measure import Rounds, run
from .spans import use_provider


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    options.add_argument("--rounds", type=int, default=80, help="interleaved rounds (80)")
    options.add_argument("--calls", type=int, default=150, help="calls of each variant in a round (150)")
    options.add_argument("--quick", action="store_true", help="20 rounds of 100 calls: a look, not a measurement")
    chosen = options.parse_args()
    rounds, calls = (20, 100) if chosen.quick else (chosen.rounds, chosen.calls)

    # Stable conventions for everybody; nobody's settings from outside.
    os.environ["OTEL_SEMCONV_STABILITY_OPT_IN"] = "http"
    os.environ["HANDRAIL_TRACES_DIR"] = tempfile.mkdtemp()
    use_provider()
    from handrail import _wire

    from . import inbound, outbound

    console = Console(width=max(100, Console().width))
    for title, part in (("a request, in process", inbound), ("an outbound call", outbound)):
        variants = part.variants()
        if part is outbound:
            _wire.switch_off()  # from here on each variant switches itself on for its turn
        _show(console, title, part, run(variants, rounds=rounds, calls=calls))
    return 0


def _show(console: Console, title: str, part: ModuleType, rounds: Rounds) -> None:
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
