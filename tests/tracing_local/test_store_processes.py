"""The local store under real processes: one is killed while it writes, four write at once; what is there is whole."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from handrail.tracing.local.read import read

WRITER = """
import os, sys
from pathlib import Path
from handrail.tracing.provider import start
from handrail.tracing.settings import TracingSettings

store, name, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
bound = int(sys.argv[4]) if len(sys.argv) > 4 else 64 << 20
tracing = start(TracingSettings(service_name=name, store=store, store_max_bytes=bound))
number = 0
while number < count or count == 0:
    tracing.tracer.start_span(f"{name}-{number}", attributes={"text": "x" * 200}).end()
    number += 1
    if number % 200 == 0:
        tracing.flush(30)
"""
BOUND = 90.0


def _start(store: Path, name: str, count: int, *more: str) -> subprocess.Popen[bytes]:
    environ = {**os.environ, "OTEL_BSP_SCHEDULE_DELAY": "20"}
    return subprocess.Popen([sys.executable, "-c", WRITER, str(store), name, str(count), *more], env=environ)


def _rows(store: Path) -> tuple[list[bytes], int]:
    """The whole lines of all files, and how many files end in the middle of one."""
    whole: list[bytes] = []
    torn = 0
    for path in store.glob("*.jsonl"):
        *lines, rest = path.read_bytes().split(b"\n")
        whole += lines
        torn += bool(rest)
    return whole, torn


def test_a_writer_that_is_killed(tmp_path: Path) -> None:
    """Killed in the middle of writing: every line is whole JSON but perhaps the last one, and traces can be read."""
    with _start(tmp_path, "killed", 0) as process:
        ends = time.monotonic() + BOUND
        pause = threading.Event()
        while sum(path.stat().st_size for path in tmp_path.glob("*.jsonl")) < 300_000:
            assert time.monotonic() < ends
            assert process.poll() is None
            pause.wait(0.001)
        process.send_signal(signal.SIGKILL)
        process.wait(BOUND)
    rows, torn = _rows(tmp_path)
    assert torn <= 1
    names = [
        json.loads(row)["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["name"].removeprefix("killed-") for row in rows
    ]
    assert [int(name) for name in names] == list(range(len(names)))
    assert len(names) > 300
    assert len(read(tmp_path)) in (len(rows), len(rows) + torn)


def test_four_writers_at_once(tmp_path: Path) -> None:
    """Four processes, 400 spans each, one folder: all 1,600 are there, once, and no line is mixed with another's."""
    writers = [_start(tmp_path, f"w{number}", 400) for number in range(4)]
    for writer in writers:
        assert writer.wait(BOUND) == 0
    rows, torn = _rows(tmp_path)
    assert torn == 0
    names = [json.loads(row)["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["name"] for row in rows]
    assert sorted(names) == sorted(f"w{writer}-{number}" for writer in range(4) for number in range(400))


def test_four_writers_keep_the_bound(tmp_path: Path) -> None:
    """With a store that is far too small for them, its size stays about its bound and each line is whole."""
    bound = 300_000
    writers = [_start(tmp_path, f"w{number}", 1500, str(bound)) for number in range(4)]
    for writer in writers:
        assert writer.wait(BOUND) == 0
    rows, torn = _rows(tmp_path)
    assert torn == 0
    assert all(json.loads(row) for row in rows)
    # The batches that four processes write in the same instant may come on top: 200 spans of 700 bytes each.
    assert 50_000 < sum(len(row) + 1 for row in rows) < bound + 4 * 200 * 700
