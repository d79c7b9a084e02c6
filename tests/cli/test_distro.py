"""`opentelemetry-instrument` finds handrail and does what `import handrail.auto` does."""

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

from handrail._distro import HandrailConfigurator, HandrailDistro

INSTRUMENT = str(Path(sys.executable).with_name("opentelemetry-instrument"))


def instrument(cwd: Path, code: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a piece of code under opentelemetry-instrument, as a venv that is activated would."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.defpath])
    base = {"PATH": path, "HOME": str(cwd), "HANDRAIL_TRACES_DIR": str(cwd / "traces")}
    return subprocess.run(
        [INSTRUMENT, "python", "-c", code],
        cwd=cwd,
        env={**base, **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )


def test_entry_points_are_declared() -> None:
    """Both groups name our classes."""
    (distro,) = entry_points(group="opentelemetry_distro", name="handrail")
    (configurator,) = entry_points(group="opentelemetry_configurator", name="handrail")
    assert distro.load() is HandrailDistro
    assert configurator.load() is HandrailConfigurator


def test_switches_handrail_on(tmp_path: Path) -> None:
    """The process is protected, without an edit and without a word on stderr."""
    done = instrument(tmp_path, "import sys; print('handrail.auto' in sys.modules)")
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_does_not_double_what_we_trace(tmp_path: Path) -> None:
    """Instrumentations of what handrail traces itself are not loaded; FastAPI stays FastAPI."""
    code = "import fastapi; print(fastapi.FastAPI.__module__)"
    done = instrument(tmp_path, code)
    assert done.stdout == "fastapi.applications\n", done.stderr


def test_wrong_settings_stop_the_start(tmp_path: Path) -> None:
    """Also here, where exceptions are swallowed, a wrong setting ends the process with code 2."""
    done = instrument(tmp_path, "print('started')", HANDRAIL_ATTEMPTS="x")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("handrail: 1 setting cannot be used:")
