"""A storm: four hops, the last one dead or sick, and what reaches it; handrail, then the usual retries, in one run.

    python -m tests.volume.storm

The last hop is well for 5 s, then gone (nobody listens), silent (accepted and never answered), failing (503 to all) or
sick (503 to two of five) for `--seconds`, then well again; `--mode dead` is gone and silent. Told are the calls that
reached it in the bad time, as a share of the requests of that time, and how long after its healing the first second
lay from which on all went well. What is printed is a page for docs/compared.md.

The rate has to be one that the machine bears while all is well: 1,000 a second on four cores want `pip install uvloop
httptools`, which uvicorn takes by itself, and a machine that does nothing else.
"""

import argparse
import os
import resource
import sys
import tempfile
from pathlib import Path

from tests.volume.storm_cpu import cores
from tests.volume.storm_peer import MODES
from tests.volume.storm_run import CLIENTS, STACKS, storm
from tests.volume.storm_table import costs, heading, row

DEAD = MODES[:2]


def main() -> None:
    """Run the storms and print them side by side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=1000)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--after", type=int, default=40, help="seconds of load after the healing")
    parser.add_argument("--workers", type=int, default=1, help="processes of each hop")
    parser.add_argument("--client", choices=CLIENTS, default=CLIENTS[0], help="what a hop calls the next one by")
    parser.add_argument("--mode", choices=("dead", *MODES), action="append")
    parser.add_argument("--stack", choices=STACKS, action="append")
    asked = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # each request of a storm may have its own connection
    modes = [found for mode in asked.mode or ("dead", "sick") for found in (DEAD if mode == "dead" else (mode,))]
    print(f"{asked.rate:g} requests a second, bad for {asked.seconds} s; {asked.client}, {asked.workers} process(es)")
    before = os.getloadavg()[0]
    print(f"for each hop, {cores()} cores, load of the machine before {before:.1f}\n\n{heading()}", flush=True)
    told = []
    for mode in modes:
        for stack in asked.stack or STACKS:
            with tempfile.TemporaryDirectory() as folder:
                found = storm(
                    stack, mode, Path(folder), asked.rate, asked.seconds, asked.after,
                    workers=asked.workers, client=asked.client,
                )  # fmt: skip
            told.append((stack, mode, found))
            print(row(stack, mode, found), flush=True)
    print(f"\n{costs(told)}")
    sys.exit(any(stack == "handrail" and not found.held for stack, _, found in told))


if __name__ == "__main__":
    main()
