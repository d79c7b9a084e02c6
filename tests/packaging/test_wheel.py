"""What is built is what is in the tree, under the names that are promised, and it works by itself."""

import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.packaging.conftest import (
    ROOT,
    Built,
    copy_of_the_tree,
    make_venv,
    modules_of_the_tree,
    pip_install,
    python_of,
    run,
)

IMPORT_ALL = """
import importlib, json, pkgutil, handrail
import requests, urllib3  # guarded at their import, by modules that are loaded for nothing else
skipped = ("handrail.__main__", "handrail._sitecustomize")
names = [m.name for m in pkgutil.walk_packages(handrail.__path__, "handrail.") if not m.name.startswith(skipped)]
for name in names:
    importlib.import_module(name)
print(json.dumps({"where": handrail.__file__, "names": names}))
"""


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_wheel_holds_the_modules_of_the_tree_and_no_others(built: Built) -> None:
    """The wheel's modules are those of src/handrail, resilience/ and tracing/, each once."""
    assert {name for name in names_in(built.wheel) if name.endswith(".py")} == modules_of_the_tree()


def test_wheel_puts_one_name_on_the_import_path(built: Built) -> None:
    """Nothing but `handrail` is importable from the wheel: no top-level `tracing` or `resilience`."""
    tops = {name.split("/")[0] for name in names_in(built.wheel)}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"handrail"}


@pytest.mark.parametrize("folder", ["handrail", "handrail/resilience", "handrail/tracing"])
def test_wheel_is_typed(built: Built, folder: str) -> None:
    """Type checkers read our annotations: each package has its py.typed in the wheel."""
    assert f"{folder}/py.typed" in names_in(built.wheel)


def test_wheel_carries_licence_and_entry_points(built: Built) -> None:
    """The licence travels with the code; the command and the OpenTelemetry hooks are registered."""
    with zipfile.ZipFile(built.wheel) as archive:
        by_end = {name.split(".dist-info/")[-1]: archive.read(name).decode() for name in archive.namelist()}
    assert "Apache License" in by_end["licenses/LICENSE"]
    for line in ("handrail = handrail.cli:main", "[opentelemetry_distro]", "[opentelemetry_configurator]"):
        assert line in by_end["entry_points.txt"]


def test_sdist_holds_no_links(built: Built) -> None:
    """The links of an editable install stay out of the sdist, also when they exist in the tree."""
    with tarfile.open(built.sdist) as archive:
        members = archive.getmembers()
    assert not [member.name for member in members if member.issym() or member.islnk()]
    assert not [member.name for member in members if "/src/handrail/tracing" in member.name]
    assert [member.name for member in members if member.name.endswith("/tracing/__init__.py")]


def test_every_module_of_the_wheel_imports(venv_with_wheel: Path, tmp_path: Path) -> None:
    """Installed from the wheel, away from the tree, every module imports, from the wheel."""
    answer = json.loads(run(python_of(venv_with_wheel), "-W", "error", "-c", IMPORT_ALL, cwd=tmp_path))
    assert answer["where"].startswith(str(venv_with_wheel))
    assert "handrail.tracing.settings" in answer["names"]


def test_import_handrail_needs_no_library(built: Built, tmp_path: Path) -> None:
    """`import handrail` alone loads nothing but the standard library: what it costs is paid where it is used."""
    venv = make_venv(tmp_path / "venv", libraries=False)
    pip_install(venv, built.wheel)
    assert run(python_of(venv), "-c", "import handrail; print(handrail.__version__)", cwd=tmp_path).strip()


@pytest.mark.parametrize("half", ["resilience", "tracing"])
def test_bare_names_say_what_to_import(half: str) -> None:
    """In the root of the repository the folders are importable by accident: the error names the right import."""
    done = subprocess.run(
        [sys.executable, "-c", f"import {half}"], cwd=ROOT, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 1
    assert f"ImportError: this folder is handrail.{half}: import it by that name" in done.stderr


def test_editable_install_links_the_halves(tmp_path: Path) -> None:
    """After `pip install -e .` a change in resilience/ or tracing/ is what handrail.* imports."""
    tree = copy_of_the_tree(tmp_path / "tree")
    venv = make_venv(tmp_path / "venv", libraries=True)
    pip_install(venv, "--editable", tree)
    (tree / "tracing" / "fresh.py").write_text("WHERE = __file__\n")
    code = "import handrail.resilience, handrail.tracing.fresh as fresh; print(fresh.WHERE)"
    where = run(python_of(venv), "-c", code, cwd=tmp_path).strip()
    assert Path(where).resolve() == (tree / "tracing" / "fresh.py").resolve()
    for half in ("resilience", "tracing"):
        assert (tree / "src" / "handrail" / half).resolve() == (tree / half).resolve()
