"""`python -m bench.faults [SCENARIO ...]`: the same faults through handrail and its peers in Python, as one table.

Everybody has three attempts, the same pauses, and a breaker where they have one. Whoever is not installed is left out
(`pip install httpware interlock-cb stamina`). `--markdown` prints the table for a page.
"""

import argparse
import asyncio
import logging
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

from rich.console import Console
from rich.table import Table

from .fault_scenarios import SCENARIOS
from .fault_ways import WAYS
from .worker import environment

__all__ = ["outcome"]

SECONDS = 180
"""The most that one scenario may take."""


def outcome(scenario: str, way: str) -> str:
    """What came out, found in a process of its own."""
    command = [sys.executable, "-m", "bench.faults", "--one", scenario, way]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=SECONDS, check=False)
    if done.returncode:
        raise RuntimeError(f"{scenario} through {way}:\n{done.stderr[-2000:]}")
    return done.stdout.splitlines()[-1]


async def _run(scenario: str, way: str) -> str:
    chosen = SCENARIOS[scenario]
    return await chosen.run(WAYS[way].make(chosen.open_for))


def main() -> int:
    """Print the table."""
    options = argparse.ArgumentParser(prog="python -m bench.faults", description=__doc__)
    options.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"of: {', '.join(SCENARIOS)}; all")
    options.add_argument("--markdown", action="store_true", help="the table for a page")
    options.add_argument("--one", nargs=2, metavar=("SCENARIO", "WAY"), help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.one:
        logging.disable()  # what they tell is not what is counted
        print(asyncio.run(_run(*chosen.one)))
        return 0
    if unknown := set(chosen.scenarios) - set(SCENARIOS):
        options.error(f"no {', '.join(sorted(unknown))} here: {', '.join(SCENARIOS)}")
    names = chosen.scenarios or list(SCENARIOS)
    ways = _present()
    with ThreadPoolExecutor(3) as pool:
        asked = {name: [pool.submit(outcome, name, way) for way in ways] for name in names}
        found = {name: [one.result() for one in each] for name, each in asked.items()}
    heads = ["what happens", "counted", *(WAYS[way].title for way in ways)]
    lines = [[SCENARIOS[name].title, SCENARIOS[name].counted, *found[name]] for name in names]
    _markdown(heads, lines) if chosen.markdown else _table(heads, lines)
    return 0


def _present() -> list[str]:
    found = []
    for name, way in WAYS.items():
        missing = [module for module in way.needs if find_spec(module) is None]
        if missing:
            print(f"{way.title} is left out: {', '.join(missing)} is not installed", file=sys.stderr)
        else:
            found.append(name)
    return found


def _markdown(heads: list[str], lines: list[list[str]]) -> None:
    for line in [heads, ["---"] * len(heads), *lines]:
        print(f"| {' | '.join(line)} |")


def _table(heads: list[str], lines: list[list[str]]) -> None:
    table = Table(title="the same faults, the same three attempts", title_justify="left")
    for head in heads:
        table.add_column(head)
    for line in lines:
        table.add_row(*line)
    console = Console()
    Console(width=max(140, console.width)).print(table)


if __name__ == "__main__":
    sys.exit(main())
