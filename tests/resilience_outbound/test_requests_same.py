"""A plain script through requests and urllib3 gives the same with and without handrail."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@cache
def ran(*arguments: str) -> dict[str, Any]:
    """What the script printed."""
    environ = {"PATH": os.environ["PATH"], "HANDRAIL_TRACES_DIR": os.environ["HANDRAIL_TRACES_DIR"]}
    environ |= {"HANDRAIL_BACKOFF_BASE": "0.001", "HANDRAIL_BREAKER_MINIMUM_CALLS": "10000"}
    command = [sys.executable, "-m", "tests.resilience_outbound.plain_requests", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environ, cwd=ROOT, timeout=200)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def cases() -> list[str]:
    from tests.resilience_outbound.plain_requests import CASES, POOLED

    return [*CASES, *(f"urllib3 {name}" for name in POOLED)]


@pytest.mark.parametrize("case", cases())
def test_same_results_and_same_requests(case: str) -> None:
    """Status, headers, bytes, cookies, history, kinds, texts and chains of errors, what the peer sees: identical."""
    assert ran("handrail")[case] == ran()[case]


def test_handrail_was_on_and_off() -> None:
    """The two runs do differ in the one thing that they should: what is told to the peer."""
    assert (ran()["told"], ran("handrail")["told"]) == (False, True)
