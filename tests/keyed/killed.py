"""Keyed requests, half of them duplicates, at a real server whose workers are killed with -9 meanwhile.

    python -m tests.keyed.killed --store sqlite redis postgres --keys 1000 --kills 12

Every key is sent twice at once; who gets no answer, or is told to come later, sends it again until there is one, after
`Retry-After` where that is said (load shedding is on, as by default). Afterwards each key is sent once more. The
ledger is the proof: how often did the effect of each key happen, and did all who asked get the same answer?
"""

import argparse
import asyncio
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from examples.order_service.ports import free_ports
from tests.postgres_server import PostgresServer
from tests.redis_server import RedisServer

__all__ = ["Outcome", "store_for", "trial"]

ROOT = Path(__file__).resolve().parents[2]
LEASE = 10.0
"""Seconds, the default: who is starved renews late, and would be taken for one that was killed."""
OVERLOADED = "urn:handrail:problem:overloaded"
BOUND = 120.0
"""Seconds for everything after the start."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """`effects` counts keys by how often their effect happened, `answers` the last answers by status and reason.

    `differing` are the keys whose askers got different answers, `without` those with a 201 and no effect, `reset` the
    attempts that got no answer, `again` those that were told to come later: by `shed`, since the service was full (503,
    not begun); by the rest, since the first with that key was under way.
    """

    keys: int
    requests: int
    killed: int
    effects: dict[int, int]
    answers: dict[str, int]
    differing: list[str]
    without: list[str]
    reset: int
    again: int
    shed: int
    seconds: float


class Askers:
    """The clients."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers: dict[str, list[str]] = defaultdict(list)
        self.said: Counter[str] = Counter()
        self.reset = self.again = self.shed = 0

    async def all(self, keys: list[str], times: int) -> None:
        """Each key `times` times, all at once."""
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        async with aiohttp.ClientSession(connector=connector) as http:
            wishes = keys * times
            random.shuffle(wishes)
            async with asyncio.timeout(BOUND):
                await asyncio.gather(*(self.one(http, key) for key in wishes))

    async def one(self, http: aiohttp.ClientSession, key: str) -> None:
        """Until there is an answer that is one."""
        body = json.dumps({"amount": int(key.rpartition("-")[2])})
        headers = {"idempotency-key": f'"{key}"', "content-type": "application/json"}
        while True:
            try:
                async with http.post(f"{self.url}/charges", data=body, headers=headers) as response:
                    text = await response.text()
            except (aiohttp.ClientError, OSError, TimeoutError):
                self.reset += 1
                await asyncio.sleep(random.uniform(0.05, 0.2))  # noqa: TID251  (a client waits)
                continue
            reason = response.headers.get("idempotency-key-refused", "")
            if response.status == 503 or reason == "in-flight":
                self.again += 1
                self.shed += OVERLOADED in text
                wait = float(response.headers.get("retry-after", "0.2")) + random.uniform(0, 0.5)
                await asyncio.sleep(wait)  # noqa: TID251  (a client waits)
                continue
            self.said[f"{response.status} {reason}".strip()] += 1
            self.answers[key].append(f"{response.status} {reason or text}")
            return


def workers(parent: int) -> list[int]:
    """The processes under uvicorn's supervisor that serve."""
    try:
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    except OSError:
        return []
    return [int(child) for child in children if b"resource_tracker" not in Path(f"/proc/{child}/cmdline").read_bytes()]


async def kill(parent: int, times: int) -> int:
    """Kill one worker after the other, each in the middle of its work."""
    done = 0
    for _ in range(times):
        await asyncio.sleep(random.uniform(0.3, 0.7))  # noqa: TID251  (between two deaths)
        for worker in random.sample(found := workers(parent), min(1, len(found))):
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
                done += 1
    return done


@contextmanager
def served(folder: Path, store: str, interrupted: str) -> Iterator[tuple[str, int]]:
    """Four workers of the ledger service: address and pid of the supervisor."""
    (port,) = free_ports(1)
    environ = os.environ | {
        "LEDGER": str(folder / "ledger.sqlite"),
        "ONCE": "1" if interrupted == "again" else "0",
        "HANDRAIL_IDEMPOTENCY_STORE": store,
        "HANDRAIL_IDEMPOTENCY_LEASE": str(LEASE),
        "HANDRAIL_IDEMPOTENCY_INTERRUPTED": interrupted,
        "HANDRAIL_TRACES_DIR": str(folder / "traces"),
        "HANDRAIL_RELOAD_EVERY": "0",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "uvicorn", "tests.keyed.ledger_service:app", "--port", str(port)]
    command += ["--workers", "4", "--no-access-log", "--backlog", "4096"]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, env=environ, cwd=folder, stdout=log, stderr=log)
        try:
            yield f"http://127.0.0.1:{port}", process.pid
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(15)
            process.kill()
            process.wait()


async def _up(url: str) -> None:
    async with aiohttp.ClientSession() as http, asyncio.timeout(60):
        while True:
            with suppress(aiohttp.ClientError, OSError):
                async with http.get(f"{url}/charges"):
                    return
            await asyncio.sleep(0.1)  # noqa: TID251  (between two looks at a process)


def trial(folder: Path, store: str, *, keys: int, kills: int, interrupted: str) -> Outcome:
    """One run. `store` is the setting, `interrupted` too."""

    async def run(url: str, parent: int) -> tuple[Askers, int]:
        await _up(url)
        askers = Askers(url)
        killer = asyncio.create_task(kill(parent, kills))
        await askers.all(names, 2)
        killed = await killer
        await _up(url)
        await askers.all(names, 1)
        return askers, killed

    names = [f"{random.getrandbits(64):016x}-{number}" for number in range(keys)]
    began = time.monotonic()
    with served(folder, store, interrupted) as (url, parent):
        askers, killed = asyncio.run(run(url, parent))
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as db:
        found = dict(db.execute("SELECT key, count(*) FROM ledger GROUP BY key").fetchall())
    effects = Counter(found.get(name, 0) for name in names)
    return Outcome(
        keys=keys,
        requests=sum(askers.said.values()),
        killed=killed,
        effects=dict(sorted(effects.items())),
        answers=dict(askers.said),
        differing=[name for name, said in askers.answers.items() if len(set(said)) > 1],
        without=[name for name, said in askers.answers.items() if said[0].startswith("201") and not found.get(name)],
        reset=askers.reset,
        again=askers.again,
        shed=askers.shed,
        seconds=time.monotonic() - began,
    )


def _main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", nargs="+", default=["sqlite", "redis", "postgres"])
    parser.add_argument("--interrupted", nargs="+", default=["again", "refuse"])
    parser.add_argument("--keys", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=12)
    asked = parser.parse_args()
    bad = 0
    for store in asked.store:
        for interrupted in asked.interrupted:
            with ExitStack() as stack:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                url = store_for(store, folder, stack)
                outcome = trial(folder, url, keys=asked.keys, kills=asked.kills, interrupted=interrupted)
                print(f"{store:9} {interrupted:7} {outcome}", flush=True)
                bad += bool(outcome.differing or outcome.without or max(outcome.effects) > 1)
    return 1 if bad else 0


def store_for(name: str, folder: Path, stack: ExitStack) -> str:
    """The setting that leads to a store of that kind; a server runs while the stack is open."""
    if name == "redis":
        return stack.enter_context(RedisServer(folder)).url
    if name == "postgres":
        return stack.enter_context(PostgresServer(folder)).url
    return f"sqlite:///{folder}/answers.sqlite"


if __name__ == "__main__":
    sys.exit(_main())
