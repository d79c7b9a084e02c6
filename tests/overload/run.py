"""One service under one load after the other: its capacity, idle times, the overload, and the time after it."""

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from examples.order_service.ports import free_ports
from tests.overload.customers import Phase, Seen
from tests.overload.figures import Figures, figures, late, recovery

__all__ = ["KINDS", "ROOT", "STACKS", "Kind", "Outcome", "Plan", "overload", "up"]

ROOT = Path(__file__).resolve().parents[2]
STACKS = ("shedding", "not shedding", "without handrail")
START = 60.0


@dataclass(frozen=True, slots=True)
class Kind:
    """A service: see `service`. `at_once` customers who ask again at once keep it busy, and no busier."""

    name: str
    slots: int
    hold: float
    at_once: int


KINDS = {"pool": Kind("pool", 8, 0.04, 10), "cpu": Kind("cpu", 1, 0.01, 2)}


@dataclass(frozen=True, slots=True)
class Plan:
    """Seconds of each phase, and how many times its capacity the service is asked for. `settled` seconds of the
    overload are looked at apart: connections are made in them, and the limit is looked for.
    """

    capacity: float = 6.0
    unloaded: float = 10.0
    peak: float = 10.0
    overload: float = 30.0
    settled: float = 2.0
    after: float = 10.0
    times: float = 3.0
    settings: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """`settled` is the overload without its first seconds, `begun` is those."""

    capacity: float
    unloaded: Figures
    peak: Figures
    overload: Figures
    settled: Figures
    late: float
    recovered: float | None


class Load:
    """The process of the customers."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "tests.overload.customers", str(folder)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def run(self, phase: Phase) -> list[Seen]:
        """Until all of it is over."""
        if not phase.seconds:
            return []
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(phase)) + "\n")
        path = Path(self._process.stdout.readline().strip())
        found = [Seen(**one) for one in json.loads(path.read_text())]
        path.unlink()
        return found

    def close(self) -> None:
        self._process.communicate()  # it ends with its orders


def overload(kind: Kind, stack: str, plan: Plan, folder: Path, capacity: float | None = None) -> Outcome:
    """All phases; none of no seconds. `capacity`, requests a second: what it is asked for, where that is given."""
    folder.mkdir()
    load = Load(folder)
    try:
        with _served(kind, stack, plan, folder) as port:
            found = capacity or 0.0
            if plan.capacity:
                closed = Phase(port, plan.capacity, at_once=kind.at_once)
                found = figures(closed, load.run(closed), since=plan.capacity / 4).goodput
            asked = capacity or found
            phases = [
                Phase(port, plan.unloaded, 0.3 * asked),
                Phase(port, plan.peak, asked, seed=21),
                Phase(port, plan.overload, plan.times * asked, seed=22),
                Phase(port, plan.after, 0.3 * asked, seed=23),
            ]
            seen = [load.run(phase) for phase in phases]
    finally:
        load.close()
    unloaded = figures(phases[0], seen[0])
    return Outcome(
        capacity=found,
        unloaded=unloaded,
        peak=figures(phases[1], seen[1]),
        overload=figures(phases[2], seen[2]),
        settled=figures(phases[2], seen[2], since=min(plan.settled, plan.overload / 2)),
        late=late(seen[2]),
        recovered=recovery(phases[3], seen[3], 3 * unloaded.p99),
    )


@contextmanager
def _served(kind: Kind, stack: str, plan: Plan, folder: Path) -> Iterator[int]:
    (port,) = free_ports(1)
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("HANDRAIL_", "OTEL_"))}
    environ |= {"OVERLOAD_KIND": kind.name, "OVERLOAD_SLOTS": str(kind.slots), "OVERLOAD_HOLD": str(kind.hold)}
    environ |= {
        "HANDRAIL_LOAD_SHEDDING": "true" if stack == "shedding" else "false",
        "HANDRAIL_PRIORITY_ROUTES": "/checkout/*=critical_plus,/reports/*=sheddable",
        "HANDRAIL_TRACES_DIR": str(folder / "traces"),
        "HANDRAIL_IDEMPOTENCY_STORE": f"sqlite:///{folder}/answers.sqlite",
    }
    app = "plain" if stack == "without handrail" else "guarded"
    command = [sys.executable, "-m", "uvicorn", f"tests.overload.service:{app}", "--port", str(port)]
    command += ["--no-access-log", "--log-level", "warning", "--timeout-keep-alive", "120", "--backlog", "4096"]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, env=environ | plan.settings, cwd=ROOT, stdout=log, stderr=log)
        try:
            up(port, process)
            yield port
        finally:
            process.kill()
            process.wait()


def up(port: int, process: "subprocess.Popen[bytes]") -> None:
    """Wait until the server answers."""
    ends = time.monotonic() + START
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START)
        with suppress(OSError):
            connection.request("GET", "/alive")
            assert connection.getresponse().status == 200
            connection.close()
            return
        connection.close()
        assert process.poll() is None, "the service has ended"
        assert time.monotonic() < ends, "the service does not answer"
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
