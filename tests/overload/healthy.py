"""A service that is far from its limit: load shedding must not be seen. Alone, and beside others who want to compute.

    python -m tests.overload.healthy [--busy 0] [--busy 8] [--rate 100] [--seconds 30]

`mixed` is the service: 0.3 to 0.6 of what it can do, bursts of 50 at once, event streams, long polls, a cold start, a
dependency that is five times slower for 5 s, and two pauses. Beside it run `--busy` loops of the same priority.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from examples.order_service.ports import free_ports
from tests.overload import customers
from tests.overload.customers import Customers, Phase, Seen
from tests.overload.run import ROOT, up

CLASSES = (
    ("quick", "/quick/", 0.4),
    ("dependency", "/dependency/", 0.15),
    ("pooled", "/pooled/", 0.2),
    ("sync", "/sync/", 0.1),
    ("mixed", "/mixed/", 0.14),
    ("poll", "/poll/", 0.01),
)
BURST, EVERY = 50, 3.0
STREAMS = 20
SHARE = 0.001
"""Of the requests: so many may be refused beside others, none alone."""


class Crowd(Customers):
    """Customers, of whom some come at once."""

    def burst(self) -> None:
        """Now, and again."""
        for _ in range(BURST):
            self._ask(self._loop.time() - self._began)
        self._loop.call_later(EVERY, self.burst)


async def _ask(phase: Phase) -> list[Seen]:
    streams = [await asyncio.open_connection("127.0.0.1", phase.port) for _ in range(STREAMS)]
    for _, writer in streams:
        writer.write(b"GET /events HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
    crowd = Crowd(phase)
    asyncio.get_running_loop().call_later(EVERY, crowd.burst)
    seen = await crowd.all()
    for _, writer in streams:
        writer.close()
    return seen


def healthy(busy: int, rate: float, seconds: float) -> tuple[Counter[tuple[str, int]], str]:
    """How many requests of each kind had which status, and what the service said."""
    (port,) = free_ports(1)
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("HANDRAIL_", "OTEL_"))}
    command = [sys.executable, "-m", "uvicorn", "tests.overload.mixed:guarded", "--port", str(port)]
    command += ["--no-access-log", "--log-level", "warning", "--timeout-keep-alive", "120"]
    others: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory(prefix="healthy-") as folder:
        environ |= {"HANDRAIL_TRACES_DIR": f"{folder}/traces"}
        environ |= {"HANDRAIL_IDEMPOTENCY_STORE": f"sqlite:///{folder}/answers.sqlite"}
        log = Path(folder) / "server.log"
        with log.open("wb") as out:
            server = subprocess.Popen(command, env=environ, cwd=ROOT, stdout=out, stderr=out)
            try:
                up(port, server)
                others += [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
                asked = [sys.executable, "-m", "tests.overload.healthy", "--customers", str(port)]
                asked += ["--rate", str(rate), "--seconds", str(seconds)]
                found = json.loads(subprocess.run(asked, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout)
            finally:
                for process in (server, *others):
                    process.kill()
                    process.wait()
        return Counter({(kind, status): count for kind, status, count in found}), log.read_text()


def main() -> int:
    """Run and print; 1 where somebody was refused."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--busy", type=int, action="append", help="loops beside it (0, 4 and 8)")
    parser.add_argument("--rate", type=float, default=100)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--customers", type=int, metavar="PORT", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.customers:
        customers.CLASSES = CLASSES
        seen = asyncio.run(_ask(Phase(asked.customers, asked.seconds, asked.rate, patience=60.0)))
        counted = Counter((one.kind, one.status) for one in seen)
        print(json.dumps([[*kind, count] for kind, count in counted.items()]))
        return 0
    missed = False
    for busy in asked.busy or (0, 4, 8):
        found, said = healthy(busy, asked.rate, asked.seconds)
        refused, every = sum(count for (_, status), count in found.items() if status == 503), found.total()
        others = {status: count for status in {status for _, status in found} if (count := _of(found, status))}
        print(f"beside {busy} loops: {every} requests, {refused} refused ({refused / every:.2%}); by status {others}")
        print(said, end="", flush=True)
        missed |= refused > (SHARE * every if busy else 0)
    return int(missed)


def _of(found: Counter[tuple[str, int]], status: int) -> int:
    return sum(count for (_, said), count in found.items() if said == status)


if __name__ == "__main__":
    sys.exit(main())
