"""The public names: what `__all__` says, no more and no less, and what importing them brings along."""

import importlib
import pkgutil
import subprocess
import sys
from types import ModuleType

import pytest

import handrail

FRAMEWORKS = (
    "starlette",
    "fastapi",
    "litestar",
    "quart",
    "django",
    "httpx",
    "httpx2",
    "uvicorn",
    "hypercorn",
    "granian",
)
SWITCHES_ON = ("handrail.auto", "handrail.__main__", "handrail._sitecustomize")
MODULES = [
    name
    for name in ["handrail", *(m.name for m in pkgutil.walk_packages(handrail.__path__, "handrail."))]
    if not name.startswith(SWITCHES_ON)
]


@pytest.mark.parametrize("name", MODULES)
def test_all_names_exist(name: str) -> None:
    """Every name in `__all__` can be imported, and is there once."""
    module = importlib.import_module(name)
    exported = list(getattr(module, "__all__", ()))
    assert len(set(exported)) == len(exported)
    assert [each for each in exported if not hasattr(module, each)] == []


def defines_something(module: ModuleType) -> bool:
    own = (getattr(value, "__module__", "") == module.__name__ for value in vars(module).values())
    return any(own)


def test_public_modules_state_their_names() -> None:
    """A module without an underscore that defines a class or function says in `__all__` what it promises."""
    public = [name for name in MODULES if not any(part.startswith("_") for part in name.split("."))]
    modules = [importlib.import_module(name) for name in public]
    assert [m.__name__ for m in modules if defines_something(m) and not hasattr(m, "__all__")] == []


@pytest.mark.parametrize("code", ["import handrail", "from handrail import protect", "import handrail.auto"])
def test_importing_brings_no_framework(code: str) -> None:
    """Importing handrail imports no web framework, server or HTTP client: a service pays for its own alone."""
    check = f"{code}; import sys; print([name for name in {FRAMEWORKS!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, timeout=200, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
