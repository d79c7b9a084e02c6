"""Other Pythons of this machine, with what `cases.py` needs: no network, only links to what is pure Python here."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from sysconfig import get_path

ROOT = Path(__file__).resolve().parents[2]
NEEDED = (
    "opentelemetry",
    "opentelemetry_api-*.dist-info",
    "typing_extensions.py",
    "anyio",
    "idna",
    "starlette",
    "wrapt",
)
"""wrapt falls back to Python where its compiled part is for another version."""


def find(version: str) -> str | None:
    """The interpreter of this version ("3.12"), if it runs."""
    if sys.version_info[:2] == tuple(int(part) for part in version.split(".")):
        return sys.executable
    installed = sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))
    for candidate in [*map(str, installed), shutil.which(f"python{version}")]:
        if candidate is not None:
            done = subprocess.run([candidate, "--version"], capture_output=True, text=True)
            if done.returncode == 0 and done.stdout.startswith(f"Python {version}."):
                return candidate
    return None


def packages(folder: Path) -> Path:
    """A folder for PYTHONPATH."""
    site = Path(get_path("purelib"))
    for pattern in NEEDED:
        for found in site.glob(pattern):
            (folder / found.name).symlink_to(found)
    (folder / "handrail").symlink_to(ROOT / "src" / "handrail")
    return folder


def run(interpreter: str, path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run cases.py."""
    environ = {**os.environ, "PYTHONPATH": str(path), "PYTHONDONTWRITEBYTECODE": "1"}
    environ.pop("COVERAGE_PROCESS_CONFIG", None)  # coverage is not there
    script = str(Path(__file__).with_name("cases.py"))
    return subprocess.run([interpreter, script, *arguments], env=environ, capture_output=True, text=True, timeout=200)
