"""A storm: four hops, the last one dead or sick, and what reaches it; handrail, then the usual retries, in one run.

    python -m tests.volume.storm --rate 1000 --seconds 20

The last hop is well for 3 s, then dead (or sick: two of five calls fail) for `--seconds`, then well again. Told are the
calls that reached it in the bad time, as a share of the requests of that time, and how long after its healing the
first second lay from which on all went well.

The rate has to be one that the machine bears while all is well: 1,000 a second want more than four cores, 600 on four
cores two processes for each hop, no tracing, and `pip install uvloop httptools`, which uvicorn takes by itself.
"""

import argparse
import asyncio
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx

from examples.order_service.ports import free_ports
from tests.volume.storm_load import Outcomes, load

__all__ = ["Storm", "storm"]

ROOT = Path(__file__).resolve().parents[2]
STACKS = ("handrail", "naive")
HOPS = 3
WELL = 3
BOUND = 30.0


@dataclass(frozen=True, slots=True)
class Storm:
    """`inbound` requests of the bad time, `reached` calls at the last hop in it; `recovery` seconds, None: never."""

    inbound: int
    reached: int
    answered: int
    recovery: int | None
    good_before: float
    good_after: float

    @property
    def amplification(self) -> float:
        """Calls at the last hop for each request that came in."""
        return self.reached / max(1, self.inbound)


def storm(
    stack: str,
    mode: str,
    folder: Path,
    rate: float,
    seconds: int,
    after: int,
    settings: Mapping[str, str] | None = None,
    workers: int = 1,
) -> Storm:
    """Run one stack through it; `settings` is added to the environment of the hops."""
    with ExitStack() as cleanup:
        *hops, last = free_ports(HOPS + 1)
        _start(["-m", "tests.volume.storm_peer", str(last)], {}, folder / "last.log", cleanup)
        for port, following in zip(hops, [*hops[1:], last], strict=True):
            environ = {"STORM_NEXT": f"http://127.0.0.1:{following}/work", "STORM_STACK": stack, **(settings or {})}
            command = ["-m", "uvicorn", "--factory", "tests.volume.storm_hop:make", "--no-access-log"]
            command += ["--port", str(port), "--log-level", "error", "--workers", str(workers)]
            _start(command, environ, folder / f"{port}.log", cleanup)
        for port in (last, *reversed(hops)):
            _wait_for(port)
        counts: dict[str, int] = {}

        def at_second(second: int) -> None:
            if second == WELL:
                counts["before"] = int(_ask(last, "count"))
                _ask(last, f"mode/{mode}")
            elif second == WELL + seconds:
                counts["after"] = int(_ask(last, "count"))
                _ask(last, "mode/ok")

        told = asyncio.run(load(hops[0], rate, WELL + seconds + after, at_second, patience=BOUND))
    return _judged(told, counts, seconds, after)


def _judged(told: Outcomes, counts: dict[str, int], seconds: int, after: int) -> Storm:
    healed = WELL + seconds
    bad = range(WELL, healed)
    last = healed + after

    def well(second: int) -> bool:
        return told.good[second] >= 0.98 * told.sent[second]

    recovered = next((second for second in range(healed, last) if all(map(well, range(second, last)))), None)
    return Storm(
        inbound=sum(told.sent[second] for second in bad),
        reached=counts["after"] - counts["before"],
        answered=told.answered,
        recovery=None if recovered is None else recovered - healed,
        good_before=_share(told, range(WELL - 1)),  # those of the last second may still be on their way at its end
        good_after=_share(told, range(last - 1, last)),
    )


def _share(told: Outcomes, seconds: range) -> float:
    return sum(told.good[second] for second in seconds) / max(1, sum(told.sent[second] for second in seconds))


def _start(command: list[str], environ: dict[str, str], log: Path, cleanup: ExitStack) -> None:
    env = {**os.environ, **environ, "OTEL_SDK_DISABLED": "true"}
    file = cleanup.enter_context(log.open("wb"))
    process = subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=file, stderr=file
    )
    cleanup.callback(_end, process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(BOUND)


def _ask(port: int, path: str) -> str:
    return httpx.get(f"http://127.0.0.1:{port}/{path}", trust_env=False, timeout=BOUND).text


def _wait_for(port: int) -> None:
    ends = time.monotonic() + BOUND
    while True:
        try:
            _ask(port, "ready")
        except httpx.TransportError:
            assert time.monotonic() < ends
            time.sleep(0.05)  # noqa: TID251  (between two looks at a process)
        else:
            return


def main() -> None:
    """Run the storms and print them side by side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=1000)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--after", type=int, default=40, help="seconds of load after the healing")
    parser.add_argument("--workers", type=int, default=2, help="processes of each hop")
    parser.add_argument("--mode", choices=("dead", "sick"), action="append")
    parser.add_argument("--stack", choices=STACKS, action="append")
    asked = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # each request of a storm may have its own connection
    for mode in asked.mode or ("dead", "sick"):
        for stack in asked.stack or STACKS:
            with tempfile.TemporaryDirectory() as folder:
                found = storm(stack, mode, Path(folder), asked.rate, asked.seconds, asked.after, workers=asked.workers)
            recovery = "never" if found.recovery is None else f"{found.recovery} s"
            print(
                f"{mode:5} {stack:9} inbound {found.inbound:6}  reached the last hop {found.reached:6}"
                f"  = {found.amplification:5.2f} x  recovered after {recovery:6}"
                f"  good before {found.good_before:.1%}, at the end {found.good_after:.1%}",
                flush=True,
            )


if __name__ == "__main__":
    main()
