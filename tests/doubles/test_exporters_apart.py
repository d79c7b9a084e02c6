"""Exporters go through requests as well: what they send is nobody's call."""

import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("exporting.py")


def test_exporters_have_neither_spans_nor_policies() -> None:
    """Our spans and metrics, and a service's own stock exporter, leave without headers of ours; a call has them."""
    environ = {"PATH": os.environ["PATH"], "HANDRAIL_TRACES_DIR": os.environ["HANDRAIL_TRACES_DIR"]}
    command = [sys.executable, str(SCRIPT)]
    ran = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=200, cwd=SCRIPT.parents[2])
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert "WARNING" not in ran.stderr
    assert found["seen"] == {
        "/peer": ["traceparent", "x-envoy-expected-rq-timeout-ms"],
        "/v1/traces": [],
        "/v1/metrics": [],
        "/theirs": [],
    }
