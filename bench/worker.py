"""One contender in a process of its own: `python -m bench.worker count NAME TIMES...`, `time NAME` or `show NAME`.

`count` forks for each number of times, does the work so often and ends; valgrind counts each process. `time` answers
each line "TIMES" on its input with the nanoseconds of processor time, of all threads, that it took. `show` tells what
the contender produces.
"""

import asyncio
import gc
import os
import random
import sys
import time
import traceback

from .work import Work

__all__ = ["SLOWER", "environment"]

SLOWER = "BENCH_SLOWER"
"""How many times as long as usual everything takes, for what goes by the clock."""


def environment() -> dict[str, str]:
    """The same for every contender: stable conventions, hash seed, nobody's settings from outside."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "HANDRAIL_"))}
    return kept | {
        "OTEL_SEMCONV_STABILITY_OPT_IN": "http",
        "OTEL_TRACES_EXPORTER": "none",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


async def _times(work: Work, times: int) -> None:
    once = work.once
    for _ in range(times):
        await once()
    work.drain()


def _settle() -> None:
    random.seed(20)
    gc.collect()
    gc.freeze()  # what the imports left is not walked for each request


def _counted(work: Work, times: int) -> None:
    try:
        _settle()
        asyncio.run(_times(work, times))
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)  # what an exit costs is not the contender's


def _main() -> None:
    from .contenders import find
    from .providers import Discard

    kind, name, *rest = sys.argv[1:]
    if kind == "show":
        from .produced import Collect, other

        collect = Collect()
        work = find(name).make(collect)
        asyncio.run(_times(work, 100))
        print(collect.told(100) if work.told is None else other(work.told()))
        return
    contender = find(name)
    work = contender.make(Discard())
    if kind == "count":
        # Made, imported and used before the fork: all of that is the same for each number of times.
        asyncio.run(_times(work, 30))
        for times in rest:
            child = os.fork()
            if not child:
                _counted(work, int(times))
            if os.waitpid(child, 0)[1]:
                raise RuntimeError(f"{name} x {times} failed")
        os._exit(0)
    with asyncio.Runner() as runner:
        runner.run(_times(work, 50))
        _settle()
        runner.run(_answer(work, contender.units))


async def _answer(work: Work, units: int) -> None:
    """On a loop that turns between the rounds too: one that stood still would be taken for a late one."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        start = time.process_time_ns()
        await _times(work, int(line))
        print((time.process_time_ns() - start) // units, flush=True)


if __name__ == "__main__":
    _main()
