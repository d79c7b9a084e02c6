"""Streams, files, websockets and trailers, with handrail and without, in one run: speed, cost, memory.

    python -m tests.passthrough.trial [--rounds 15] [--server uvicorn] [--megabytes 200] [--defaults]

Both services run beside each other, and each round asks one after the other in turns, so that a busy machine is busy
for both. Told are medians; the ratio is with handrail to without, of the same round each, as median and from the 10th
to the 90th percentile; "processor" is the ratio of the time that the processes of the services took for all rounds,
which other work on the machine changes least. Memory is how far the peak of the service's processes went up over a
whole file. Exit code 1: something did not pass, or the peak went up by more than 32 MB over that without handrail.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median, quantiles

from tests.passthrough.measures import Measured, Measures, of_http1, of_http2, of_websocket
from tests.passthrough.processes import busy, peaks, reset
from tests.passthrough.stream_servers import EVERYTHING, SERVERS, Server, server

__all__ = ["main"]

LEAST = 0.1
"""Seconds of processor time from which on a ratio of two says something: the clock's step is a hundredth."""

BOUND = 32.0
"""Megabytes: what a peak may go up by chance; a file held whole would be `--megabytes`."""


def pairs(name: str, measures: Measures) -> list[tuple[str, Callable[[int], Measured]]]:
    """What is measured of a server."""
    found = [(f"HTTP/1.1 {title}", run) for title, run in of_http1(measures)]
    if name != "uvicorn":  # it has HTTP/2 only by packages that are not here
        found += [(f"HTTP/2 {title}", run) for title, run in of_http2(measures, trailers=name == "hypercorn")]
    return found + [(f"websocket {title}", run) for title, run in of_websocket(measures)]


def line(*cells: str) -> str:
    """Of a table."""
    return "| " + " | ".join(cells) + " |"


def spread(values: list[float]) -> str:
    """Median, 10th and 90th percentile."""
    tenths = quantiles(values, n=10, method="inclusive") if len(values) > 1 else values * 9
    return f"{median(values):.2f} ({tenths[0]:.2f}..{tenths[-1]:.2f})"


def compare(title: str, run: Callable[[int], Measured], guarded: Server, plain: Server, rounds: int) -> str:
    """One line: both services in turns, each first in every second round."""
    for one in (guarded, plain):
        run(one.port)  # what is made at the first time
    ours: list[Measured] = []
    bare: list[Measured] = []
    before = [busy(one.pids()) for one in (guarded, plain)]
    for number in range(rounds):
        turn = [(ours, guarded), (bare, plain)]
        for kept, one in turn if number % 2 else reversed(turn):
            kept.append(run(one.port))
    mine_took, other_took = (busy(one.pids()) - then for one, then in zip((guarded, plain), before, strict=True))
    first = [mine.first / other.first for mine, other in zip(ours, bare, strict=True)]
    whole = [other.whole / mine.whole for mine, other in zip(ours, bare, strict=True)]
    cells = [f"{median(one.first for one in kept) * 1e3:.2f}" for kept in (bare, ours)]
    cells.append(spread(first))
    if ours[0].bytes:
        cells += [f"{median(one.bytes / one.whole for one in kept) / 1e6:,.1f}" for kept in (bare, ours)]
        cells.append(spread(whole))
    else:
        cells += ["", "", ""]
    cells.append(f"{mine_took / other_took:.2f}" if other_took >= LEAST else "")
    return line(title, *cells)


def memory(guarded: Server, plain: Server, measures: Measures) -> tuple[str, float]:
    """How far the peaks go up while whole files pass, without and with handrail; and the difference."""
    grown = []
    for one in (plain, guarded):
        for pid in one.pids():
            reset(pid)
        before = peaks(one.pids())
        for run in (measures.file, measures.pieces, measures.upload):
            run(one.port)
        grown.append(peaks(one.pids()) - before)
    return f"peak of memory while files pass: {grown[0]:+.1f} MB without, {grown[1]:+.1f} MB with", grown[1] - grown[0]


def main() -> None:
    """Print a table for each server."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--server", choices=SERVERS, action="append")
    options.add_argument("--megabytes", type=int, default=200)
    options.add_argument("--defaults", action="store_true", help="handrail's defaults, in place of every inbound part")
    asked = options.parse_args()
    worst = 0.0
    with tempfile.TemporaryDirectory(prefix="passthrough-") as name:
        folder = Path(name)
        (folder / "file").write_bytes(os.urandom(1_000_000) * asked.megabytes)
        on = {"PASSTHROUGH_FILE": str(folder / "file")}
        settings = {} if asked.defaults else EVERYTHING
        measures = Measures(asked.megabytes)
        for kind in asked.server or SERVERS:
            with ExitStack() as cleanup:
                guarded = cleanup.enter_context(server(kind, folder, settings, environ=on))
                plain = cleanup.enter_context(server(kind, folder, None, environ=on))
                print(f"\n{kind}\n")
                print(
                    line("", "first byte, ms, without", "with", "ratio", "MB/s without", "with", "ratio", "processor")
                )
                print(line(*["---"] * 8))
                for title, run in pairs(kind, measures):
                    print(compare(title, run, guarded, plain, asked.rounds), flush=True)
                text, more = memory(guarded, plain, measures)
                worst = max(worst, more)
                print(f"\n{text}", flush=True)
    sys.exit(1 if worst > BOUND else 0)


if __name__ == "__main__":
    main()
