"""Metrics of processes that `multiprocessing` starts: their ends run no `atexit`, and what they counted arrives."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tracing_metrics.metrics_collector import Collector

SCRIPT = """
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor

import handrail.auto
import httpx


def work(url):
    httpx.get(url)


if __name__ == "__main__":
    _, method, how, before, url = sys.argv
    if before == "used":
        work(url)
    context = multiprocessing.get_context(method)
    if how == "process":
        child = context.Process(target=work, args=(url,))
        child.start()
        child.join()
    else:
        with ProcessPoolExecutor(1, context) as pool:
            pool.submit(work, url).result()
    os._exit(0)  # so that nothing of this process arrives
"""


@pytest.mark.parametrize("how", ["process", "pool"])
@pytest.mark.parametrize(("method", "before"), [("fork", "used"), ("fork", "unused"), ("spawn", "used")])
def test_what_a_child_counted_arrives_at_its_end(
    collector: Collector, tmp_path: Path, method: str, before: str, how: str
) -> None:
    """Whether its parent measured before or not; once, and nothing of what the parent counted."""
    (tmp_path / "main.py").write_text(SCRIPT)
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "HANDRAIL_"))}
    environ |= {
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"{collector.url}/v1/metrics",
        "OTEL_TRACES_EXPORTER": "none",
        "HANDRAIL_FLUSH_TIMEOUT": "30",
        "PYTHONWARNINGS": "ignore",
    }
    command = [sys.executable, "main.py", method, how, before, f"{collector.url}/peer"]
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    points = [point.count for point in collector.metric("http.client.request.duration").histogram.data_points]
    assert points == [1], (points, done.stderr)
