"""SIGTERM under load: two replicas behind a client that follows readiness, ended and started again in turn.

`python -m tests.drain.trial --times 20`. Exit code 1 where a request was lost.
"""

import argparse
import asyncio
import random
import sys
import tempfile
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from tests.drain.clients import Balancer, listen, load, talk
from tests.drain.replica import SERVERS, Replica

__all__ = ["Findings", "trial"]


@dataclass
class Findings:
    """What came of it; `lost` are requests that were begun and not done, `unheard` those done without an answer."""

    seen: Counter[str] = field(default_factory=Counter)
    streams: Counter[str] = field(default_factory=Counter)
    ends: list[tuple[int, float]] = field(default_factory=list)
    told: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    unheard: int = 0

    @property
    def well(self) -> bool:
        """Whether nothing was lost and no client saw an error."""
        return not self.lost and not self.unheard and set(self.seen) == {"answered"}

    def __str__(self) -> str:
        seconds = sorted(seconds for _, seconds in self.ends)
        errors = {what: count for what, count in self.seen.items() if what != "answered"}
        lines = [
            f"ends by SIGTERM       {len(self.ends)}, exit codes {dict(Counter(code for code, _ in self.ends))}",
            f"seconds to the end    {seconds[0]:.1f} to {seconds[-1]:.1f}, median {median(seconds):.1f}",
            f"requests answered     {self.seen['answered']}",
            f"errors seen           {sum(errors.values())} {errors or ''}",
            f"begun and not done    {self.lost}",
            f"done and not answered {self.unheard}",
            f"streams and sockets   {dict(self.streams)}; their apps: {dict(self.told)}",
        ]
        return "\n".join(lines)


async def trial(
    server: str, times: int, rate: float, folder: Path, wait: float = 5.0, *, shedding: bool = True
) -> Findings:
    """The whole of it; `wait` is `drain_wait`, `shedding` is `load_shedding`."""
    ledger = folder / "ledger"
    environ = {
        "DRAIN_LEDGER": str(ledger),
        "HANDRAIL_DRAIN_WAIT": str(wait),
        "HANDRAIL_LOAD_SHEDDING": str(shedding).lower(),
        "HANDRAIL_TRACES_DIR": str(folder),
    }
    replicas = [Replica(server, folder, environ) for _ in range(2)]
    balancer, found, stop = Balancer(replicas), Findings(), asyncio.Event()
    try:
        for replica in replicas:
            replica.start()
        following = asyncio.create_task(balancer.follow())
        for replica in replicas:
            await balancer.until_ready(replica)
        loading = asyncio.create_task(load(balancer, rate, stop))
        for number in range(times):
            await _once(replicas[number % 2], balancer, found)
        stop.set()
        await loading
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following
        await balancer.close()
    finally:
        for replica in replicas:
            replica.kill()
    lines = ledger.read_text("utf-8").split("\n")
    begun, done = ({line.split()[1] for line in lines if line.startswith(f"{what} ")} for what in ("begun", "done"))
    found.seen, found.lost, found.unheard = balancer.seen, len(begun - done), len(done - balancer.answered)
    found.told = Counter(line.split()[0] for line in lines if "told" in line)
    return found


async def _once(replica: Replica, balancer: Balancer, found: Findings) -> None:
    open_ = [asyncio.Event(), asyncio.Event()]
    streams = [asyncio.create_task(listen(replica, open_[0])), asyncio.create_task(talk(replica, open_[1]))]
    async with asyncio.timeout(60):
        for one in open_:
            await one.wait()
    found.ends.append(await replica.end())
    async with asyncio.timeout(60):
        found.streams.update(await asyncio.gather(*streams))
    balancer.ready.discard(replica)
    replica.start()
    await balancer.until_ready(replica)
    await asyncio.sleep(random.random())  # noqa: TID251 (the load goes on meanwhile)


def main() -> int:
    """Run it and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--rate", type=float, default=150.0)
    parser.add_argument("--wait", type=float, default=5.0)
    parser.add_argument("--server", choices=SERVERS, default="uvicorn")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(trial(chosen.server, chosen.times, chosen.rate, Path(folder), chosen.wait))
        if not found.well:
            for log in Path(folder).glob("*.log"):
                print(log.read_text("utf-8", "replace")[-4000:], file=sys.stderr)
    print(f"{chosen.server}, {chosen.rate:g} requests/s, drain_wait {chosen.wait:g} s\n{found}")
    return 0 if found.well else 1


if __name__ == "__main__":
    sys.exit(main())
