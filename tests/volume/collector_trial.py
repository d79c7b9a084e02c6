"""What a killed and a frozen collector do to a service: p99 of its requests, its exit, its log, beside a healthy one.

    python -m tests.volume.collector_trial --seconds 40 --rate 300

Three services run side by side, each with a real Jaeger of its own. After a quarter of the time one Jaeger is killed
and another one stopped by SIGSTOP. Requests go to the three in turn, so that the machine is equally busy for all.
"""

import argparse
import asyncio
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx

from examples.order_service.ports import free_ports
from scripts import install_jaeger
from tests.deploy.jaeger_server import JaegerServer

__all__ = ["Outcome", "trial"]

KINDS = ("healthy", "killed", "frozen")
ROOT = Path(__file__).resolve().parents[2]
BOUND = 60.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """Milliseconds of requests after the trouble began, seconds to exit, lines of handrail in the log."""

    p50: float
    p99: float
    worst: float
    requests: int
    failures: int
    exit: float
    lines: tuple[str, ...]


def trial(binary: Path, folder: Path, seconds: float, rate: float) -> dict[str, Outcome]:
    """One outcome for each collector."""
    ports: dict[str, int] = dict(zip(KINDS, free_ports(len(KINDS)), strict=True))
    services: dict[str, subprocess.Popen[bytes]] = {}
    with ExitStack() as stack:
        collectors = {}
        for kind, port in ports.items():
            (folder / kind).mkdir()
            jaeger = collectors[kind] = stack.enter_context(JaegerServer(binary, folder / kind))
            services[kind] = _start(folder / kind, kind, port, jaeger.otlp_http, stack)
        for port in ports.values():
            _wait_for(port)

        def trouble() -> None:
            collectors["killed"].signal(signal.SIGKILL)
            collectors["frozen"].signal(signal.SIGSTOP)

        try:
            taken, failures = asyncio.run(_load(ports, seconds, rate, trouble))
            ends = {kind: _end(services[kind]) for kind in KINDS}
        finally:
            collectors["frozen"].signal(signal.SIGCONT)
    return {kind: _outcome(taken[kind], failures[kind], ends[kind], folder / kind / "service.log") for kind in KINDS}


async def _load(
    ports: dict[str, int], seconds: float, rate: float, trouble: "object"
) -> tuple[dict[str, list[float]], dict[str, int]]:
    assert callable(trouble)
    taken: dict[str, list[float]] = {kind: [] for kind in ports}
    failures = dict.fromkeys(ports, 0)
    loop = asyncio.get_running_loop()
    began = loop.time()
    troubled = False
    tasks = set()
    async with httpx.AsyncClient(timeout=BOUND, trust_env=False) as client:

        async def ask(kind: str) -> None:
            start = time.perf_counter()
            try:
                (await client.get(f"http://127.0.0.1:{ports[kind]}/pay/1")).raise_for_status()
            except httpx.HTTPError:
                failures[kind] += 1
            if troubled:
                taken[kind].append((time.perf_counter() - start) * 1000)

        for number in range(int(seconds * rate)):
            due = began + number / rate
            if not troubled and loop.time() - began > seconds / 4:
                await asyncio.to_thread(trouble)
                troubled = True
            await asyncio.sleep(max(0, due - loop.time()))  # noqa: TID251  (a load has a rate)
            task = asyncio.create_task(ask(KINDS[number % len(KINDS)]))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)
    return taken, failures


def _start(folder: Path, kind: str, port: int, otlp: str, stack: ExitStack) -> subprocess.Popen[bytes]:
    environ = {
        **os.environ,
        "VOLUME_ROLE": "pay",
        "VOLUME_LEDGER": str(folder / "ledger"),
        "OTEL_SERVICE_NAME": kind,
        "OTEL_EXPORTER_OTLP_ENDPOINT": otlp,
        "HANDRAIL_BLOCKED_LOOP": "0",  # the log is read for lines about the collector; a busy machine holds any loop
    }
    command = [sys.executable, "-m", "uvicorn", "--factory", "tests.volume.service:make", "--no-access-log"]
    command += ["--port", str(port), "--log-level", "warning", "--timeout-keep-alive", "120"]
    log = stack.enter_context((folder / "service.log").open("wb"))
    process = subprocess.Popen(command, cwd=ROOT, env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    stack.callback(_end, process)
    return process


def _wait_for(port: int) -> None:
    ends = time.monotonic() + BOUND
    while True:
        try:
            httpx.get(f"http://127.0.0.1:{port}/livez", trust_env=False)
        except httpx.HTTPError:
            assert time.monotonic() < ends
            time.sleep(0.05)  # noqa: TID251  (between two looks at a process)
        else:
            return


def _end(process: subprocess.Popen[bytes]) -> float:
    began = time.monotonic()
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(BOUND)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    return time.monotonic() - began


def _outcome(taken: list[float], failures: int, ended: float, log: Path) -> Outcome:
    cuts = statistics.quantiles(taken, n=100)
    lines = tuple(line for line in log.read_text(errors="replace").splitlines() if line.strip())
    return Outcome(cuts[49], cuts[98], max(taken), len(taken), failures, ended, lines)


def main() -> int:
    """Run the trial and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=40)
    parser.add_argument("--rate", type=float, default=300)
    options = parser.parse_args()
    binary = install_jaeger.existing()
    if binary is None:
        print("no Jaeger found: `make jaeger` builds one")
        return 2
    with tempfile.TemporaryDirectory(prefix="handrail-collector-") as folder:
        outcomes = trial(binary, Path(folder), options.seconds, options.rate)
    for kind, found in outcomes.items():
        print(
            f"{kind:8} p50 {found.p50:6.2f} ms  p99 {found.p99:6.2f} ms  worst {found.worst:7.2f} ms  "
            f"{found.requests} requests, {found.failures} failed  exit {found.exit:.2f} s"
        )
        for line in found.lines:
            print(f"         {line}")
    print(f"p99, healthy = 1: killed {outcomes['killed'].p99 / outcomes['healthy'].p99:.2f}, ", end="")
    print(f"frozen {outcomes['frozen'].p99 / outcomes['healthy'].p99:.2f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
