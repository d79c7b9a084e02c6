"""Where a contender's instructions go: `python -m bench.hot NAME [--lines] [--top 40]`, or `--of "statement"`.

Without more: C functions by the instructions that they add over the contender's base. `--lines`: lines of Python by
processor time, sampled. `--of STATEMENT [-s SETUP]`: instructions of one statement, as timeit does it with time.
"""

import argparse
import asyncio
import collections
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import FrameType

from .contenders import find
from .instructions import VALGRIND
from .providers import Discard
from .worker import environment


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m bench.hot", description=__doc__)
    options.add_argument("name", nargs="?", default="ours")
    options.add_argument("--lines", action="store_true")
    options.add_argument("--of", metavar="STATEMENT")
    options.add_argument("-s", "--setup", default="pass")
    options.add_argument("--top", type=int, default=40)
    chosen = options.parse_args()
    if chosen.of:
        _statement(chosen.setup, chosen.of)
    elif chosen.lines:
        _lines(chosen.name, chosen.top)
    else:
        _functions(chosen.name, chosen.top)
    return 0


def _counted(arguments: list[str]) -> collections.Counter[str]:
    """Instructions by function of one run, and of the process that it forked."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "%p"
        subprocess.run(
            [*VALGRIND, f"--cachegrind-out-file={out}", sys.executable, *arguments],
            env=environment(),
            check=True,
            capture_output=True,
        )
        found: collections.Counter[str] = collections.Counter()
        function = ""
        for line in (line for each in Path(folder).iterdir() for line in each.read_text(errors="replace").splitlines()):
            if line.startswith("fn="):
                function = line[3:]
            elif line[:1].isdigit():
                found[function] += int(line.split()[1])
        return found


def _each(name: str) -> dict[str, float]:
    step = find(name).step
    few, many = (_counted(["-m", "bench.worker", "count", name, str(step * times)]) for times in (1, 3))
    return {function: (many[function] - few[function]) / (2 * step) for function in many}


def _functions(name: str, top: int) -> None:
    base = find(name).base
    mine, bare = _each(name), _each(base) if base else {}
    added = {function: cost - bare.get(function, 0) for function, cost in mine.items()}
    total = sum(added.values())
    print(f"{name}: {total:,.0f} instructions added to each {base or 'run'}")
    for function, cost in sorted(added.items(), key=lambda item: -item[1])[:top]:
        print(f"{cost:10,.0f} {cost / total:6.1%}  {function}")


def _lines(name: str, top: int) -> None:
    work = find(name).make(Discard())
    own: collections.Counter[str] = collections.Counter()
    within: collections.Counter[str] = collections.Counter()

    def sample(_signal: int, frame: FrameType | None) -> None:
        first, seen = True, set()
        while frame is not None:
            code = frame.f_code
            if first:
                own[f"{_short(code.co_filename)}:{frame.f_lineno} {code.co_qualname}"] += 1
                first = False
            place = f"{_short(code.co_filename)} {code.co_qualname}"
            if place not in seen:
                seen.add(place)
                within[place] += 1
            frame = frame.f_back

    async def run() -> None:
        for _ in range(120000):
            await work.once()

    signal.signal(signal.SIGPROF, sample)
    signal.setitimer(signal.ITIMER_PROF, 0.001, 0.001)
    asyncio.run(run())
    signal.setitimer(signal.ITIMER_PROF, 0)
    for title, counted in (("functions, with what they call", within), ("lines, by themselves", own)):
        print(f"\n{title} ({own.total()} samples)")
        for place, times in counted.most_common(top):
            print(f"{times / own.total():7.1%}  {place}")


def _short(path: str) -> str:
    return "/".join(Path(path).parts[-2:])


_PROGRAM = """
import gc, os, sys
names = {{}}
exec({setup!r}, names)
exec("def run(times):\\n for _ in range(times):\\n  " + {statement!r}, names)
run(50); gc.collect(); gc.freeze()
names["run"](int(sys.argv[1])); os._exit(0)
"""


def _statement(setup: str, statement: str) -> None:
    program = _PROGRAM.format(setup=setup, statement=statement).replace("run(50)", 'names["run"](50)')
    few, many = (_counted(["-c", program, str(times)]).total() for times in (500, 1500))
    print(f"{(many - few) / 1000:,.0f} instructions: {statement}")


if __name__ == "__main__":
    sys.exit(main())
