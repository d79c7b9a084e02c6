"""A worker in a process of its own, which never imports the web application: its spans leave."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from handrail.tracing.local.read import Trace, read

REQUEST = "00-11111111111111111111111111111111-2222222222222222-01"

WORKER = """
import os, signal, sys, threading
import handrail

def work():
    with handrail.resume({"traceparent": sys.argv[1]}, "send receipt", link=sys.argv[2] == "link"):
        pass
    print("worked", flush=True)

END = {end!r}
if END == "returns":
    work()
elif END == "SIGTERM":
    work()
    signal.pause()
elif END == "own handler":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
    work()
    signal.pause()
elif END == "raises":
    work()
    raise KeyError("at the end")
"""

POOL = """
import multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
from opentelemetry import trace
import handrail

def job(number):
    with trace.get_tracer("service").start_as_current_span(f"job {number}"):
        return number

def main():
    pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(sys.argv[1]))
    with pool, handrail.resume({}, "request"):
        assert [pool.submit(job, 1).result(), *pool.map(job, [2])] == [1, 2]

if __name__ == "__main__":
    main()
"""
"""The process of the pool learns of handrail only by what it unpickles."""


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "HANDRAIL_TRACES_DIR": str(folder / "traces"), "OTEL_BSP_SCHEDULE_DELAY": "60000"}


def worker(folder: Path, end: str, how: str = "link") -> "subprocess.Popen[str]":
    script = folder / "worker.py"
    script.write_text(WORKER.replace("{end!r}", repr(end)), "utf-8")
    return subprocess.Popen(
        [sys.executable, str(script), REQUEST, how],
        env=environment(folder),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def traces(folder: Path) -> list[Trace]:
    return list(read(folder / "traces"))


@pytest.mark.parametrize(("end", "code"), [("returns", 0), ("raises", 1)])
def test_spans_leave_at_exit(tmp_path: Path, end: str, code: int) -> None:
    """A worker that only uses `resume` exports its span when it ends, with an error or without."""
    process = worker(tmp_path, end)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == code, errors
    ((span,),) = [trace.spans for trace in traces(tmp_path)]
    assert (span.name, span.kind, span.parent_id) == ("send receipt", 5, "")


@pytest.mark.parametrize(("end", "code"), [("SIGTERM", -signal.SIGTERM), ("own handler", 7)])
def test_spans_leave_at_sigterm(tmp_path: Path, end: str, code: int) -> None:
    """Also at SIGTERM, of which the worker dies as ever; a handler of its own ends it as it wants."""
    process = worker(tmp_path, end)
    assert process.stdout is not None
    assert process.stdout.readline() == "worked\n"
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == code, errors
    assert [trace.spans[0].name for trace in traces(tmp_path)] == ["send receipt"]


def test_a_child_in_the_same_trace(tmp_path: Path) -> None:
    """link=False joins the trace of the request that another process began."""
    process = worker(tmp_path, "returns", "child")
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    ((span,),) = [trace.spans for trace in traces(tmp_path)]
    assert (span.trace_id, span.parent_id) == ("1" * 32, "2" * 16)


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_a_pool_of_processes(tmp_path: Path, method: str) -> None:
    """A4: what a process of a pool does is in the request's trace, and its spans leave before the process ends."""
    script = tmp_path / "pool.py"
    script.write_text(POOL, "utf-8")
    done = subprocess.run(
        [sys.executable, str(script), method],
        env=environment(tmp_path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert (done.returncode, done.stderr) == (0, "")
    (trace,) = traces(tmp_path)
    parent = next(span for span in trace.spans if span.name == "request")
    jobs = [span for span in trace.spans if span.name != "request"]
    assert [span.name for span in jobs] == ["job 1", "job 2"]
    assert {span.parent_id for span in jobs} == {parent.span_id}
