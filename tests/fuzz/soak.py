"""Whether a service grows: good and bad requests to one real server, everything switched on, its memory all the while.

    python -m tests.fuzz.soak --minutes 10 [--rate 200] [--server h11] [--bare]

Half of the requests are good ones (two of three with a new key), half are attacks of `attacks.ATTACKS`. Each 5 s the
anonymous memory of the server (RssAnon; files that are mapped, as SQLite's, are not the process's own) is noted, and
at the end its slope over the second half, by least squares: what is warmed up by then may not grow. `--bare` sends the
same to the app without handrail, beside which the slope can be seen.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.fuzz.attacks import ATTACKS, attack
from tests.fuzz.raw import SERVERS, played, served, state

EACH = 5.0
GROWS = 100.0
"""kB a minute: 140 MB in a day, and what the allocator does by itself stays below."""


def memory(pid: int) -> int:
    """Of the process itself, in kB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))


def slope(samples: list[tuple[float, int]]) -> float:
    """By least squares, in kB a minute; of (seconds, kB)."""
    middle = sum(when for when, _ in samples) / len(samples)
    mean = sum(size for _, size in samples) / len(samples)
    spread = sum((when - middle) ** 2 for when, _ in samples)
    return 60 * sum((when - middle) * (size - mean) for when, size in samples) / spread


async def soak(
    port: int, pid: int, seconds: float, rate: float, under: str
) -> tuple[list[tuple[float, int]], Counter[str]]:
    """Samples of the memory, and what was answered."""
    rng = random.Random(7)
    kinds = [kind for kind in ATTACKS if kind != "good"]
    said: Counter[str] = Counter()
    samples: list[tuple[float, int]] = []
    tasks: set[asyncio.Task[None]] = set()
    began = time.monotonic()

    async def one(kind: str, seed: int) -> None:
        answered = await played(port, attack(kind, seed, under))
        said.update("hung" if answered.hung else str(status) for status in answered.statuses or (0,))

    number = 0
    while (now := time.monotonic() - began) < seconds:
        if now >= len(samples) * EACH:
            samples.append((now, memory(pid)))
            if len(samples) % 12 == 1:
                print(f"{now:6.0f} s  {samples[-1][1]:8} kB  {number} requests, {len(tasks)} open", flush=True)
        while number < now * rate:
            task = asyncio.create_task(one("good" if rng.random() < 0.5 else rng.choice(kinds), rng.getrandbits(40)))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            number += 1
        await asyncio.sleep(0.005)  # noqa: TID251  (a load has a rate)
    await asyncio.gather(*tasks)
    said["requests"] = number
    return samples, said


def main() -> int:
    """Run and print; 1 where it grows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--server", choices=SERVERS, default="h11")
    parser.add_argument("--bare", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder, served(asked.server, Path(folder)) as server:
        under = "/bare" if asked.bare else ""
        samples, said = asyncio.run(soak(server.port, server.process.pid, asked.minutes * 60, asked.rate, under))
        left = state(server.port)
        store = sum(path.stat().st_size for path in Path(folder).glob("answers.sqlite*"))
    found = slope(samples[len(samples) // 2 :])
    print(f"answers: {dict(said.most_common())}; left: {left}; the store's files: {store // 1024} kB")
    print(f"memory: {samples[0][1]} kB at first, {samples[len(samples) // 2][1]} kB in the middle, {samples[-1][1]} kB")
    grows = found > GROWS
    print(f"slope over the second half: {found:+.1f} kB/min: it {'GROWS' if grows else 'does not grow'}")
    return int(grows)


if __name__ == "__main__":
    sys.exit(main())
