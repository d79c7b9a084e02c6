"""Looks at the service's folder as text: what it imports, and which names it hides. Runs none of it."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from ._findings import Finding

__all__ = ["imported", "imports", "shadows", "sources"]

_CLIENTS = {name: name for name in ("curl_cffi", "httplib2", "niquests", "pycurl", "treq")}
_RETRIES = {
    "aiohttp_retry": "aiohttp-retry",
    "backoff": "backoff",
    "httpx_retries": "httpx-retries",
    "retrying": "retrying",
    "stamina": "stamina",
    "tenacity": "tenacity",
}
_IMPORT = re.compile(r"^[ \t]*(?:import[ \t]+(\w[\w., \t]*)|from[ \t]+([\w.]+)[ \t]+import[ \t]+(\w+)?)", re.MULTILINE)
_SKIP = frozenset({"__pycache__", "build", "dist", "node_modules", "site-packages", "test", "tests", "venv"})
_MAX_FILES = 500
_MAX_BYTES = 1_000_000

_NEEDED = (
    "anyio",
    "click",
    "handrail",
    "httpx",
    "httpx2",
    "opentelemetry",
    "pybreaker",
    "rich",
    "starlette",
    "tenacity",
    "wrapt",
)


def imports(folder: Path) -> list[Finding]:
    """Imports of retry libraries and of HTTP clients that are not protected, the first place of each."""
    found: dict[str, str] = {}
    for path in sources(folder):
        text = path.read_text(encoding="utf-8", errors="replace")
        for module, _, line in imported(text):
            name = module.partition(".")[0]
            if name in _CLIENTS or name in _RETRIES:
                found.setdefault(name, f"{path.relative_to(folder)}:{line}")
    return [_imported(name, where) for name, where in sorted(found.items())]


def imported(text: str) -> Iterator[tuple[str, str, int]]:
    """(dotted module, first name that is taken from it or "", line) of each import, as far as lines tell."""
    for match in _IMPORT.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        if match[2]:
            yield match[2], match[3] or "", line
        else:
            for part in match[1].split(","):
                if words := part.split():
                    yield words[0], "", line


def _imported(name: str, where: str) -> Finding:
    if name in _RETRIES:
        return Finding(
            id="HR023",
            severity="info",
            what=f"{_RETRIES[name]} is imported: its retries multiply with ours (3 x 3 are 9 attempts)",
            where=where,
            mend="take it away from calls made through httpx, or set attempts = 1",
        )
    return Finding(
        id="HR042",
        severity="warning",
        what=f"{_CLIENTS[name]} is imported: its calls get no timeout, retry or breaker from handrail",
        where=where,
        mend="make these calls through httpx, aiohttp or requests",
    )


def sources(folder: Path) -> Iterator[Path]:
    """Python files of the service, a bounded number of them; no tests, no environments."""
    left = _MAX_FILES
    todo = [folder]
    while todo and left:
        try:
            entries = sorted(todo.pop().iterdir())
        except OSError:
            continue
        for entry in entries:
            if entry.name.startswith(".") or entry.name in _SKIP or entry.is_symlink():
                continue
            if entry.is_dir():
                # An environment or a repository of its own inside the folder is not the service.
                if not (entry / "pyvenv.cfg").exists() and not (entry / ".git").exists():
                    todo.append(entry)
            elif entry.suffix == ".py" and left and _readable(entry):
                left -= 1
                yield entry


def _readable(path: Path) -> bool:
    try:
        with path.open("rb"):
            return path.stat().st_size <= _MAX_BYTES
    except OSError:
        return False


def shadows(folder: Path) -> list[Finding]:
    """Modules in the folder that hide one of ours or the standard library's.

    Servers put the service's folder first on `sys.path`. A folder without `__init__.py` hides
    nothing: an installed package of that name is found first.
    """
    found: list[Finding] = []
    for name in sorted({*_NEEDED, *sys.stdlib_module_names}):
        path = next((path for path in (folder / f"{name}.py", folder / name / "__init__.py") if path.is_file()), None)
        if path is None:
            continue
        ours = name in _NEEDED
        where = str(path.relative_to(folder))
        hidden = f"module {name!r}, which handrail needs" if ours else f"standard library's module {name!r}"
        found.append(
            Finding(
                id="HR030" if ours else "HR031",
                severity="error" if ours else "warning",
                what=f"{where} hides the {hidden}",
                where=str(path),
                mend="give the file another name",
            )
        )
    return found
