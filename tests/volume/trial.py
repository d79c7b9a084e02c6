"""The whole trial: a real Jaeger, four services in six processes, a mixed load, one worker recycled in between.

    python -m tests.volume.trial --requests 10000 --concurrent 200

prints the counts and ends with 1 where a trace is not what it must be.
"""

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from examples.order_service.ports import free_ports
from scripts import install_jaeger
from tests.deploy.jaeger_server import JaegerServer
from tests.volume.load import Load
from tests.volume.verdict import Verdict, judge, ledger, read

__all__ = ["trial"]

ROLES = ("front", "stock", "pay", "mail")
ROOT = Path(__file__).resolve().parents[2]
BOUND = 60.0
WINDOW = timedelta(seconds=1)


def trial(binary: Path, folder: Path, requests: int, concurrent: int) -> tuple[Verdict, list[str]]:
    """The verdict, and what the client saw fail."""
    with JaegerServer(binary, folder, environ={"JAEGER_MAX_TRACES": str(2 * requests + 10_000)}) as jaeger:
        with fleet(folder, jaeger.otlp_http) as (ports, processes):
            began = datetime.now(UTC)

            async def recycle() -> None:
                await asyncio.to_thread(_recycle, processes["stock"], ports["stock"])

            load = Load(f"http://127.0.0.1:{ports['front']}", requests, concurrent, recycle)
            asyncio.run(load.run())
        noted = ledger((folder / "ledger").read_text().splitlines())
        windows = list(_windows(began, datetime.now(UTC)))
        with httpx.Client(base_url=jaeger.query, timeout=120, trust_env=False) as client:
            # The services have ended: what they had to send is there. Jaeger's own batches take 200 ms.
            verdict, best, same = None, -1, 0
            stored: dict[str, list[tuple[str, str]]] = {}
            until = time.monotonic() + BOUND
            while verdict is None or (not verdict.clean and time.monotonic() < until and same < 5):
                best = verdict.spans if verdict is not None else -1
                time.sleep(1)  # noqa: TID251  (between two looks at another process)
                stored.clear()
                for role in ROLES:
                    stored.update(read(client, role, windows))
                verdict = judge(requests, noted, stored)
                same = same + 1 if verdict.spans == best else 0
        for line in (folder / "ledger").read_text().splitlines():
            trace_id, span_id, what = line.split(" ", 2)
            if span_id not in {found for found, _ in stored.get(trace_id, ())}:
                load.failures.append(f"missing: {what}")
    return verdict, load.failures


@contextmanager
def fleet(
    folder: Path, otlp: str, settings: Mapping[str, str] | None = None
) -> Iterator[tuple[dict[str, int], dict[str, subprocess.Popen[bytes]]]]:
    """The four services, healthy; ended by SIGTERM, within a bound."""
    ports: dict[str, int] = dict(zip(ROLES, free_ports(len(ROLES)), strict=True))
    environ = {
        **os.environ,
        **{f"VOLUME_{role.upper()}": f"http://127.0.0.1:{port}" for role, port in ports.items()},
        "VOLUME_LEDGER": str(folder / "ledger"),
        "OTEL_EXPORTER_OTLP_ENDPOINT": otlp,
        "OTEL_BSP_MAX_QUEUE_SIZE": "65536",
        "HANDRAIL_FLUSH_TIMEOUT": "30",  # a busy machine may need longer than 2 s
        "HANDRAIL_ATTEMPT_TIMEOUT": "20",
        "HANDRAIL_BREAKER_MINIMUM_CALLS": "100000",  # a burst that one machine cannot serve is no story of breakers
        **(settings or {}),
    }
    processes: dict[str, subprocess.Popen[bytes]] = {}
    with ExitStack() as stack:
        for role, port in ports.items():
            command = [sys.executable, "-m", "uvicorn", "--factory", "tests.volume.service:make", "--no-access-log"]
            command += ["--port", str(port), "--backlog", "4096", "--log-level", "warning"]
            command += ["--ws", "websockets-sansio", "--timeout-keep-alive", "120"]
            command += ["--workers", "2"] if role == "stock" else []
            log = stack.enter_context((folder / f"{role}.log").open("wb"))
            own = {**environ, "VOLUME_ROLE": role, "OTEL_SERVICE_NAME": role}
            process = subprocess.Popen(command, cwd=ROOT, env=own, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            stack.callback(_end, process)
            processes[role] = process
        for role, port in ports.items():
            _until(lambda port=port: _listens(port), folder / f"{role}.log")
        yield ports, processes
        for role in ROLES:  # the caller before what it calls
            processes[role].send_signal(signal.SIGTERM)
            processes[role].wait(BOUND)


def _recycle(supervisor: subprocess.Popen[bytes], port: int) -> None:
    """End one worker by SIGTERM, as a deployment or a limit of requests does; its supervisor starts another."""
    first = _children(supervisor.pid)
    os.kill(first[-1], signal.SIGTERM)
    _until(lambda: set(_children(supervisor.pid)) != set(first), "no worker was recycled")
    _until(lambda: _listens(port), "nobody listens after the recycling")


def _children(pid: int) -> list[int]:
    """The workers of a supervisor; multiprocessing's resource tracker is none."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    commands = {int(word): Path(f"/proc/{word}/cmdline") for word in text.split()}
    return [child for child, path in commands.items() if path.exists() and b"resource_tracker" not in path.read_bytes()]


def _listens(port: int) -> bool:
    try:
        httpx.get(f"http://127.0.0.1:{port}/livez", timeout=5, trust_env=False)
    except httpx.HTTPError:
        return False
    return True


def _until(condition: object, otherwise: str | Path) -> None:
    assert callable(condition)
    ends = time.monotonic() + BOUND
    while not condition():
        assert time.monotonic() < ends, otherwise.read_text() if isinstance(otherwise, Path) else otherwise
        time.sleep(0.05)  # noqa: TID251  (between two looks at a process)


def _windows(began: datetime, ended: datetime) -> Iterator[tuple[str, str]]:
    start = began - WINDOW
    while start < ended:
        yield tuple((start + shift).isoformat().replace("+00:00", "Z") for shift in (timedelta(), WINDOW))  # type: ignore[misc]
        start += WINDOW


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
        process.wait()


def main() -> int:
    """Run the trial and print its counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--concurrent", type=int, default=200)
    options = parser.parse_args()
    binary = install_jaeger.existing()
    if binary is None:
        print("no Jaeger found: `make jaeger` builds one")
        return 2
    with tempfile.TemporaryDirectory(prefix="handrail-volume-") as folder:
        began = time.monotonic()
        verdict, failures = trial(binary, Path(folder), options.requests, options.concurrent)
        for name, value in asdict(verdict).items():
            print(f"{name.replace('_', ' '):14} {value}")
        print(f"{'failed':14} {len(failures)} requests {failures[:3]}")
        print(f"{'took':14} {time.monotonic() - began:.0f} s")
    return 0 if verdict.clean else 1


if __name__ == "__main__":
    raise SystemExit(main())
