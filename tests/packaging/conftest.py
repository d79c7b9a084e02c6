"""Built once per test process: sdist, wheel, and a virtual environment with nothing but the wheel."""

import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("src", "resilience", "tracing", "pyproject.toml", "hatch_build.py", "README.md", "LICENSE")


@dataclass(frozen=True)
class Built:
    tree: Path
    sdist: Path
    wheel: Path


def modules_of_the_tree(root: Path = ROOT) -> set[str]:
    """Return the Python files of the kit by the path that they must have in the wheel."""
    found = set()
    for folder, target in (("src/handrail", ""), ("resilience", "resilience/"), ("tracing", "tracing/")):
        for parent, _, names in os.walk(root / folder):  # does not follow the links of an editable install
            inside = Path(parent).relative_to(root / folder).as_posix().removeprefix(".")
            found |= {
                f"handrail/{target}{inside + '/' if inside else ''}{name}" for name in names if name.endswith(".py")
            }
    return found


def python_of(venv: Path) -> Path:
    return venv / "bin" / "python"


def run(*command: str | Path, cwd: Path) -> str:
    """Run to the end; the output is in the failure."""
    environ = {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "COVERAGE_PROCESS_START")
    }
    done = subprocess.run([*map(str, command)], cwd=cwd, env=environ, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def make_venv(folder: Path, *, libraries: bool) -> Path:
    """Make a virtual environment that sees this one's libraries, or none; never this one's handrail."""
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
    if libraries:
        site = run(
            python_of(folder), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder
        ).strip()
        # a folder named in a .pth file is added, its own .pth files (our editable install) are not read
        (Path(site) / "libraries.pth").write_text(f"{sysconfig.get_path('purelib')}\n{sysconfig.get_path('platlib')}\n")
    return folder


def pip_install(venv: Path, *what: str | Path) -> None:
    options = ("--no-deps", "--no-index", "--no-build-isolation", "--quiet", "--disable-pip-version-check")
    run(sys.executable, "-m", "pip", "--python", python_of(venv), "install", *options, *what, cwd=venv)


def copy_of_the_tree(target: Path) -> Path:
    """Copy what a clone holds, so that a build neither sees nor leaves anything in the working tree."""
    target.mkdir(parents=True)
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            unwanted = shutil.ignore_patterns("__pycache__", *(("tracing", "resilience") if name == "src" else ()))
            shutil.copytree(source, target / name, ignore=unwanted)
        else:
            shutil.copy(source, target / name)
    return target


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The sdist, and the wheel that is built from it (not from the tree)."""
    tree = copy_of_the_tree(tmp_path_factory.mktemp("build") / "tree")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", tree / "dist", tree, cwd=tree)
    (sdist,) = (tree / "dist").glob("*.tar.gz")
    (wheel,) = (tree / "dist").glob("*.whl")
    return Built(tree, sdist, wheel)


@pytest.fixture(scope="session")
def venv_with_wheel(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    venv = make_venv(tmp_path_factory.mktemp("wheel") / "venv", libraries=True)
    pip_install(venv, built.wheel)
    return venv
