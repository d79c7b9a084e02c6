"""Faults are never on by accident: without the switch there is nothing, with it everybody is told."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from handrail import SettingsError, chaos
from handrail.chaos import Fault, inject, sign
from handrail.cli._findings import Finding
from handrail.cli._report import gather
from handrail.resilience.testing import FakeClock
from handrail.settings import load
from handrail.tracing.testing import Spans

FAULTS = "in error=503 /stock every=3, out refuse payment"

SERVICE = """
import sys
import anyio, httpcore, httpx, urllib3.connectionpool
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
pool = httpcore.AsyncConnectionPool.handle_async_request
from handrail import protect

async def stock(request):
    return PlainTextResponse("7")

app = protect(Starlette(routes=[Route("/stock", stock)]))

async def main():
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test") as client:
        print([(await client.get("/stock")).status_code for _ in range(3)])

anyio.run(main)
print("untouched:", httpcore.AsyncConnectionPool.handle_async_request is pool)
print("loaded:", sorted(name for name in sys.modules if name.startswith("handrail.") and "chaos" in name))
"""

INJECTED = """
import os
from handrail.chaos import inject
os.environ["PYTEST_CURRENT_TEST"] = "of a test that started this process"
try:
    with inject("in error=503"):
        print("injected")
except Exception as error:
    print(type(error).__name__, error)
"""


def _run(code: str, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    settings = {"OTEL_TRACES_EXPORTER": "none", **environ}
    kept = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, env={**kept, **settings}, check=False
    )


@pytest.mark.parametrize("switch", ["", "false"])
def test_without_the_switch(tmp_path: Path, switch: str) -> None:
    """Faults, a secret and a seed without it: no layer, no step at a client, not a module of it, not a word."""
    found = _run(
        SERVICE,
        tmp_path,
        HANDRAIL_CHAOS=switch,
        HANDRAIL_CHAOS_FAULTS=FAULTS,
        HANDRAIL_CHAOS_SECRET="x" * 16,
        HANDRAIL_CHAOS_SEED="7",
    )
    lines = found.stdout.splitlines()
    assert lines[:2] == ["[200, 200, 200]", "untouched: True"]
    read = (
        "_chaos_layer",
        "_settings_chaos",
        "chaos",
        "chaos.fault",
        "chaos.place",
        "chaos.text",
    )  # to check the texts
    known = {f"'handrail.{name}'" for name in read} | {f"'handrail.resilience.{name}'" for name in read}
    assert set(lines[2].removeprefix("loaded: ").strip("[]").split(", ")) <= known
    assert "chaos" not in found.stderr.lower()


def test_with_the_switch(tmp_path: Path) -> None:
    """The faults happen, and the process says at its start which ones, on stderr."""
    found = _run(SERVICE, tmp_path, HANDRAIL_CHAOS="true", HANDRAIL_CHAOS_FAULTS=FAULTS, HANDRAIL_SERVICE_NAME="stock")
    assert found.stdout.splitlines()[:2] == ["[200, 200, 503]", "untouched: False"]
    assert "handrail: CHAOS IS ON in stock (by environment HANDRAIL_CHAOS)" in found.stderr
    assert "handrail: CHAOS   in error=503 /stock every=3\n" in found.stderr
    assert "handrail: CHAOS   out refuse payment\n" in found.stderr


@pytest.mark.parametrize("name", ["deployment.environment.name", "deployment.environment"])
@pytest.mark.parametrize("value", ["production", "prod", "Live"])
def test_production_needs_its_own_word(tmp_path: Path, name: str, value: str) -> None:
    """Where the environment is called production, `true` stops the start, and "production" does not."""
    environ = {"OTEL_RESOURCE_ATTRIBUTES": f"service.name=stock,{name}={value}", "HANDRAIL_CHAOS": "true"}
    with pytest.raises(SettingsError, match=r'must be "production"') as caught:
        load({}, environ, tmp_path)
    assert f"{name}={value}" in str(caught.value)
    assert load({}, {**environ, "HANDRAIL_CHAOS": "production"}, tmp_path).faults.chaos == "production"
    assert load({}, {**environ, "HANDRAIL_CHAOS": "false"}, tmp_path).faults.chaos is False
    staging = {"OTEL_RESOURCE_ATTRIBUTES": f"{name}=staging", "HANDRAIL_CHAOS": "true"}
    assert load({}, staging, tmp_path).faults.chaos is True


def test_block_only_in_a_test(tmp_path: Path) -> None:
    """A block of a process that is no test is refused, also where a test has started the process."""
    assert _run(INJECTED, tmp_path).stdout.startswith("SettingsError chaos: faults are injected in tests")


def test_wrong_settings(tmp_path: Path) -> None:
    """A wrong fault, switch or secret stops the start with what is allowed, and shows no secret."""
    environ = {
        "HANDRAIL_CHAOS": "perhaps",
        "HANDRAIL_CHAOS_FAULTS": "in eror=503",
        "HANDRAIL_CHAOS_SECRET": "hush-hush",
    }
    with pytest.raises(SettingsError) as caught:
        load({}, environ, tmp_path)
    text = str(caught.value)
    assert "HANDRAIL_CHAOS = 'perhaps' (environment): must be true, false, or \"production\"" in text
    assert "'in eror=503': must begin with in, out or both and a kind" in text
    assert "HANDRAIL_CHAOS_SECRET = '(not shown)' (environment): must have at least 16 characters" in text
    assert "hush" not in text


def test_faults_in_a_file(tmp_path: Path) -> None:
    """Lines and tables stand in one list, and are the same to everybody who asks."""
    (tmp_path / "handrail.toml").write_text(
        "chaos = true\n"
        'chaos_faults = ["in hang /stock", {kind = "latency", direction = "out", seconds = 0.5, where = "payment"}]\n'
    )
    assert load({}, {}, tmp_path).faults.chaos_faults == ("in hang /stock", "out latency=0.5 payment")
    (tmp_path / "handrail.toml").write_text('chaos_faults = [{kind = "hang", diretion = "out"}]\n')
    with pytest.raises(SettingsError, match="'diretion' is not known here"):
        load({}, {}, tmp_path)
    (tmp_path / "handrail.toml").write_text('chaos_faults = "in hang"\n')
    with pytest.raises(SettingsError, match="must be a list of faults"):
        load({}, {}, tmp_path)


def test_doctor_finds_it(tmp_path: Path) -> None:
    """HR060 where it is on, HR061 where something is written that does nothing; the secret is not shown."""
    environ = {
        "HANDRAIL_CHAOS": "1",
        "HANDRAIL_CHAOS_FAULTS": "in hang",
        "HANDRAIL_CHAOS_SECRET": "hush-hush-hush-hush",
    }
    report = gather(environ, tmp_path)
    assert _found(report.findings, "HR060") == [
        "chaos is on, faults are injected on purpose: in hang, and what requests bring in a signed header"
    ]
    assert "hush" not in str(report.as_json())
    del environ["HANDRAIL_CHAOS"]
    assert _found(gather(environ, tmp_path).findings, "HR061") == ["chaos_faults does nothing: chaos is off"]
    assert not [one for one in gather({}, tmp_path).findings if one.id.startswith("HR06")]


def _found(findings: tuple[Finding, ...], identity: str) -> list[str]:
    return [finding.what for finding in findings if finding.id == identity]


def test_block_by_a_clock(spans: Spans) -> None:
    """A block takes the clock that it is given, and what is wrong in it is said before anything is switched on."""
    assert spans is not None
    clock = FakeClock()
    with inject(Fault("hang", "out", until=5.0), clock=clock) as injected:
        assert chaos is sys.modules["handrail.chaos"]
        assert injected.counts == {"out hang until=5": 0}
    with pytest.raises(SettingsError, match="must begin with"), inject("out explode"):
        raise AssertionError("begun")


def test_sign_refuses() -> None:
    """No secret, a short one, too long a time, no fault: each is said."""
    wrong = [("short", 60, "at least 16"), ("x" * 16, 3601, "from 0 to 3600"), (None, 60, "is not set here")]
    for secret, seconds, said in wrong:
        with pytest.raises(SettingsError, match=said):
            sign("in hang", secret=secret, seconds=seconds)
    with pytest.raises(SettingsError, match="must begin with"):
        sign("hung", secret="x" * 16)
