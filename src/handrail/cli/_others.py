"""Who else makes spans in this service: installed, started here, or used by its code; and what handrail does then."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from . import _installed, _scan
from ._findings import Finding

__all__ = ["Other", "others"]

_AUTO = "auto_instrumentation"
_CONTRIB = "opentelemetry-instrumentation-"
_OWN_FORMAT = (
    "makes traces of its own, in a format of its own: they stay apart from handrail's, and a request is in both"
)
_TRACERS = {
    "ddtrace": ("ddtrace", _OWN_FORMAT),
    "elastic-apm": ("elasticapm", _OWN_FORMAT),
    "newrelic": ("newrelic", _OWN_FORMAT),
    "sentry-sdk": ("sentry_sdk", "errors go to Sentry as before; its transactions stay apart, a request is in both"),
    "logfire": ("logfire", "one span per request and per attempt, with its attributes, in the provider that it sets"),
}
"""By distribution: the module, and what there is to say."""
_SERVER = "no second span of a request: its hooks, captured headers and old metric names are kept, on handrail's span"
_AROUND = "no second span of a request; around handrail, its span stays, and gets the route"
_CHILD = "its spans are below handrail's, in the same trace"
_DOES = {
    "asgi": f"{_SERVER}; around handrail its span is the one, and gets the route",
    "fastapi": _SERVER,
    "starlette": _SERVER,
    "quart": _AROUND,
    "django": _AROUND,
    "httpx": "one span per attempt, below the retries, with its hooks",
    "threading": "the context travels once; both may be on",
    "asyncio": "the context travels once; both may be on",
    "logging": "both write ids into log records, the same ones, under names of their own",
    "requests": f"{_CHILD}; these calls get no timeout, retry or breaker",
    "urllib3": f"{_CHILD}; these calls get no timeout, retry or breaker",
    "aiohttp-client": f"{_CHILD}; these calls get no timeout, retry or breaker",
}
_STARTED = "spans may be made by both: keep one of the two"


@dataclass(frozen=True, slots=True)
class Other:
    """`state`: "active" in processes started here, "used" by the service's code, or "installed"; `where`, if known."""

    name: str
    version: str
    state: str
    where: str
    does: str


def others(environ: Mapping[str, str], folder: Path) -> tuple[list[Other], list[Finding]]:
    """Everyone that is here, and what is worth a word."""
    used = _used(folder)
    found: list[Other] = []
    findings: list[Finding] = []
    for name, (module, does) in _TRACERS.items():
        version = _installed._version(name)
        if version:
            state, where = _state(module, used.get(module))
            found.append(Other(name, version, state, where, does))
    for name, version in _contrib():
        part = name.removeprefix(_CONTRIB)
        state, where = _state("", used.get(f"opentelemetry.instrumentation.{part.replace('-', '_')}"))
        if part == "httpx" and state == "installed":
            continue  # handrail asks for it itself
        found.append(Other(name, version, state, where, _DOES.get(part, _CHILD)))
    for entry in environ.get("PYTHONPATH", "").split(os.pathsep):
        if (launcher := _launcher(entry)) is not None:
            does = _TRACERS[launcher][1] if launcher in _TRACERS else "as each instrumentation that it starts"
            where = f"PYTHONPATH={entry}"
            found.append(Other(launcher, _installed._version(launcher) or "", "active", where, does))
            what = f"{launcher} is active in every Python process started here"
            findings.append(Finding(id="HR020", severity="warning", what=what, where=where, mend=_STARTED))
    findings.extend(_told(other) for other in found if other.name in _TRACERS and other.state != "active")
    return found, findings


def _state(module: str, where: str | None) -> tuple[str, str]:
    if module and module in sys.modules:
        return "active", "started in every Python process here"
    return ("used", where) if where else ("installed", "")


def _told(other: Other) -> Finding:
    used = other.state == "used"
    stands = f"imported by the service: {other.does}" if used else "installed; where it is started, both make spans"
    what = f"{other.name} {other.version} is {stands}"
    if other.name == "logfire":
        mend = "nothing: handrail uses the provider that it sets"
    else:
        mend = "keep it for errors and one of the two for traces" if used else "nothing, if it is not started"
    return Finding(id="HR021", severity="info", what=what, where=other.where or "the environment", mend=mend)


def _launcher(entry: str) -> str | None:
    if _AUTO in entry:
        return "opentelemetry-instrument"
    return next((name for name in ("ddtrace", "newrelic") if name in entry), None)


def _contrib() -> list[tuple[str, str]]:
    """Contrib's packages; not all of them have an entry point."""
    named = ((dist.metadata["Name"], dist.version) for dist in metadata.distributions())
    return sorted({(name, version) for name, version in named if name and name.startswith(_CONTRIB)})


def _used(folder: Path) -> dict[str, str]:
    """What the service's code imports of these: the module, and the first place of it."""
    wanted = {module for module, _ in _TRACERS.values()}
    found: dict[str, str] = {}
    for path in _scan.sources(folder):
        text = path.read_text(encoding="utf-8", errors="replace")
        for module, taken, line in _scan.imported(text):
            parts = module.split(".")
            name = parts[0]
            if module.startswith("opentelemetry.instrumentation"):
                name = ".".join([*parts, taken][:3])
            elif name not in wanted:
                continue
            found.setdefault(name, f"{path.relative_to(folder)}:{line}")
    return found
