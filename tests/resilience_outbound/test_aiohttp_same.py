"""An ordinary script that uses aiohttp prints the same bytes with handrail under it and without."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("aiohttp_script.py")


def _printed(*arguments: str, **environ: str) -> str:
    done = subprocess.run(
        [sys.executable, SCRIPT, *arguments],
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "OTEL_TRACES_EXPORTER": "none", **environ},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def plain() -> str:
    return _printed()


@pytest.mark.parametrize("environ", [{}, {"OTEL_SDK_DISABLED": "true"}], ids=["all", "no tracing"])
def test_the_script_prints_the_same(plain: str, environ: dict[str, str]) -> None:
    """Sessions, bodies, redirects, credentials, cookies, proxy, websocket, middlewares, traces, errors: identical."""
    assert len(plain.splitlines()) > 100
    assert _printed("handrail", **environ).splitlines() == plain.splitlines()
