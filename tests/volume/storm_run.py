"""One storm: the processes of a chain, the load on it, the trouble at its end, and what came of it."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from examples.order_service.ports import free_ports
from tests.volume.storm_cpu import spent
from tests.volume.storm_load import Outcome, Outcomes, load
from tests.volume.storm_loop import run

__all__ = ["CLIENTS", "STACKS", "WELL", "Storm", "storm"]

ROOT = Path(__file__).resolve().parents[2]
CLIENTS = ("aiohttp", "httpx")
STACKS = ("handrail", "naive")
HOPS = 3
WELL = 5
"""Seconds before the trouble; the first of them warms up."""
BOUND = 30.0
PATIENCE = 15.0
ENOUGH = 0.98
MOST = 1.25

UVICORN = ["-m", "uvicorn", "--factory", "tests.volume.storm_hop:make", "--no-access-log", "--log-level", "error"]
UVICORN += ["--no-proxy-headers", "--backlog", "4096", "--timeout-keep-alive", "75"]
TRACING = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.01"}
"""What a service at such a rate has."""


@dataclass(frozen=True, slots=True)
class Storm:
    """`inbound` requests of the bad time, `reached` calls at the last hop in it; `recovery` seconds, None: never.

    `open_for` is the longest time for which the last hop's caller was seen to refuse calls. `bad` are the outcomes of
    the bad time, `cost` milliseconds of processor time for each request by process, before and in the bad time.
    """

    inbound: int
    reached: int
    answered: int
    recovery: int | None
    good_before: float
    good_after: float
    open_for: float
    bad: list[Outcome]
    cost: dict[str, tuple[float, float]]

    @property
    def amplification(self) -> float:
        """Calls at the last hop for each request that came in."""
        return self.reached / max(1, self.inbound)

    @property
    def held(self) -> bool:
        """Whether it went as it should: borne before, no load added, healed within one open time, to the second."""
        soon = self.recovery is not None and self.recovery <= self.open_for + 1
        return self.good_before >= 0.99 and self.amplification <= MOST and soon


@dataclass
class _Watch:
    """What is asked at the seconds of a run."""

    last: int
    control: int
    tries: Path
    mode: str
    seconds: int
    processes: Mapping[str, int]
    reached: list[int] = field(default_factory=list)
    cost: list[dict[str, float]] = field(default_factory=list)
    open_for: float = 0.0

    def at_second(self, second: int) -> None:
        if second in (1, WELL, WELL + self.seconds):
            self.cost.append({name: spent(pid) for name, pid in self.processes.items()})
        if second == WELL:
            self._count()
            _ask(self.control, f"mode/{self.mode}")
        elif second == WELL + self.seconds:
            self._count()
            _ask(self.control, "mode/ok")
        if WELL < second <= WELL + self.seconds:
            with suppress(httpx.TransportError, ValueError):
                self.open_for = max(self.open_for, float(_ask(self.last, "probe", 1.0)))

    def _count(self) -> None:
        counted = self.tries.stat().st_size if self.mode == "refused" else int(_ask(self.control, "count"))
        self.reached.append(counted)


def storm(
    stack: str,
    mode: str,
    folder: Path,
    rate: float,
    seconds: int,
    after: int,
    settings: Mapping[str, str] | None = None,
    workers: int = 1,
    client: str = "aiohttp",
) -> Storm:
    """Run one stack through it; `settings` is added to the environment of the hops."""
    with ExitStack() as cleanup:
        *hops, last, control = free_ports(HOPS + 2)
        peer = ["-m", "tests.volume.storm_peer", str(last), str(control)]
        processes = {"last": _start(peer, {}, folder / "last.log", cleanup)}
        for number, (port, following) in enumerate(zip(hops, [*hops[1:], last], strict=True), 1):
            environ = TRACING | {"STORM_NEXT": f"http://127.0.0.1:{following}/work", "STORM_STACK": stack}
            environ |= {"STORM_CLIENT": client, "STORM_TRIES": str(folder / f"tries{number}")}
            environ |= {"HANDRAIL_TRACES_DIR": str(folder / "traces"), **(settings or {})}
            command = [*UVICORN, "--port", str(port), "--workers", str(workers)]
            processes[f"hop {number}"] = _start(command, environ, folder / f"hop{number}.log", cleanup)
        processes["load"] = os.getpid()
        for port in (control, *reversed(hops)):
            _wait_for(port)
        watch = _Watch(hops[-1], control, folder / f"tries{HOPS}", mode, seconds, processes)
        told = run(load(hops[0], rate, WELL + seconds + after, watch.at_second, patience=PATIENCE))
    return _judged(told, watch, seconds, after)


def _judged(told: Outcomes, watch: _Watch, seconds: int, after: int) -> Storm:
    healed = WELL + seconds
    bad = range(WELL, healed)
    last = healed + after

    def well(second: int) -> bool:
        return told.good(second) >= ENOUGH * told.sent[second]

    recovered = next((second for second in range(healed, last) if all(map(well, range(second, last)))), None)
    inbound = sum(told.sent[second] for second in bad)
    before = sum(told.sent[second] for second in range(1, WELL))
    started, broken, mended = watch.cost
    return Storm(
        inbound=inbound,
        reached=watch.reached[1] - watch.reached[0],
        answered=told.answered,
        recovery=None if recovered is None else recovered - healed,
        good_before=_share(told, range(WELL - 1)),  # those of the last second may still be on their way at its end
        good_after=_share(told, range(last - 1, last)),
        open_for=watch.open_for,
        bad=[outcome for second in bad for outcome in told.of.get(second, ())],
        cost={
            name: ((broken[name] - started[name]) * 1e3 / before, (mended[name] - broken[name]) * 1e3 / inbound)
            for name in watch.processes
        },
    )


def _share(told: Outcomes, seconds: range) -> float:
    return sum(told.good(second) for second in seconds) / max(1, sum(told.sent[second] for second in seconds))


def _start(command: list[str], environ: dict[str, str], log: Path, cleanup: ExitStack) -> int:
    env = {**os.environ, **environ}
    file = cleanup.enter_context(log.open("wb"))
    process = subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=file, stderr=file
    )
    cleanup.callback(_end, process)
    return process.pid


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(BOUND)


def _ask(port: int, path: str, timeout: float = BOUND) -> str:
    return httpx.get(f"http://127.0.0.1:{port}/{path}", trust_env=False, timeout=timeout).text


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
