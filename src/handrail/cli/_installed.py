"""What else is installed: versions that fit, other tracers, other distributions."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata

from ._findings import Finding

__all__ = ["Library", "clients", "libraries", "tracers"]

CLIENTS = ("httpx", "httpx2")
_SERVICE = ("fastapi", "litestar", "quart", "django", "uvicorn", "gunicorn", "hypercorn", "granian")
_TRACERS = ("ddtrace", "elastic-apm", "logfire", "newrelic", "sentry-sdk")
_AUTO = "auto_instrumentation"


@dataclass(frozen=True, slots=True)
class Library:
    """A distribution: its version or None where it is missing, and what handrail asks for or ""."""

    name: str
    version: str | None
    required: str


def libraries() -> tuple[list[Library], list[Finding]]:
    """What handrail needs, then the clients, frameworks and servers that are there."""
    from packaging.requirements import Requirement

    found: list[Library] = []
    findings: list[Finding] = []
    for requirement in map(Requirement, metadata.requires("handrail") or ()):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        library = Library(requirement.name, _version(requirement.name), str(requirement.specifier))
        found.append(library)
        if library.version is None or not requirement.specifier.contains(library.version, prereleases=True):
            findings.append(
                Finding(
                    id="HR040",
                    severity="error",
                    what=f"{library.name} is {library.version or 'missing'}; handrail needs {library.required}",
                    where=f"the environment of {metadata.distribution('handrail').locate_file('')}",
                    mend=f"pip install '{requirement}'",
                )
            )
    found.sort(key=lambda library: library.name)
    optional = (Library(name, _version(name), "") for name in (*CLIENTS, *_SERVICE))
    return [*found, *(library for library in optional if library.version is not None)], findings


def clients() -> list[Finding]:
    """Whether there is a client library whose calls can be protected."""
    if any(_version(name) for name in CLIENTS):
        return []
    what = "no HTTP client is installed that handrail protects: outbound calls get no timeout, retry or breaker"
    return [Finding(id="HR041", severity="warning", what=what, where="the environment", mend="pip install httpx")]


def tracers(environ: Mapping[str, str]) -> tuple[list[tuple[str, str, str]], list[Finding]]:
    """Others that instrument: (name, version, "active" or "installed")."""
    findings: list[Finding] = []
    found = [(name, version, "installed") for name in _TRACERS if (version := _version(name))]
    found.extend(_instrumentations())
    path = environ.get("PYTHONPATH", "").split(os.pathsep)
    active = [part for part in path if _AUTO in part or "ddtrace" in part or "newrelic" in part]
    for part in active:
        name = "opentelemetry-instrument" if _AUTO in part else next(n for n in ("ddtrace", "newrelic") if n in part)
        found.append((name, _version(name) or "", "active"))
        findings.append(
            Finding(
                id="HR020",
                severity="warning",
                what=f"{name} is active in every Python process started here",
                where=f"PYTHONPATH={part}",
                mend="spans may be made by both: keep one of the two",
            )
        )
    findings.extend(_installed_tracer(name, version) for name, version, _ in found if name in _TRACERS)
    findings.extend(_distributions(environ))
    return found, findings


def _installed_tracer(name: str, version: str) -> Finding:
    return Finding(
        id="HR021",
        severity="info",
        what=f"{name} {version} is installed; where the service starts it, both make spans",
        where="the environment",
        mend="nothing, if it is not started; else keep one of the two",
    )


def _instrumentations() -> list[tuple[str, str, str]]:
    ours = {"opentelemetry-instrumentation-httpx"}
    names = {entry.dist.name: entry.dist.version for entry in _entries("opentelemetry_instrumentor") if entry.dist}
    return [(name, version, "installed") for name, version in sorted(names.items()) if name not in ours]


def _distributions(environ: Mapping[str, str]) -> list[Finding]:
    names = sorted({entry.name for entry in _entries("opentelemetry_distro")})
    if len(names) < 2 or environ.get("OTEL_PYTHON_DISTRO") == "handrail":
        return []
    return [
        Finding(
            id="HR022",
            severity="warning",
            what=f"opentelemetry-instrument takes the first of several distributions: {', '.join(names)}",
            where="the environment",
            mend="set OTEL_PYTHON_DISTRO=handrail and OTEL_PYTHON_CONFIGURATOR=handrail",
        )
    ]


def _entries(group: str) -> metadata.EntryPoints:
    return metadata.entry_points(group=group)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
