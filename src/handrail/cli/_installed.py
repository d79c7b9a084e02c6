"""What else is installed: versions that fit, and other distributions of OpenTelemetry."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata

from ._findings import Finding

__all__ = ["Library", "clients", "distributions", "libraries"]

CLIENTS = ("httpx", "httpx2", "aiohttp", "requests", "urllib3")
_AIOHTTP = ">=3.12"
"""Older ones have no client middlewares, and are left alone."""
_SERVICE = ("fastapi", "litestar", "quart", "django", "uvicorn", "gunicorn", "hypercorn", "granian")


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
    """Whether there is a client library whose calls can be protected, and one that is too old for it."""
    from packaging.specifiers import SpecifierSet

    aiohttp = _version("aiohttp")
    if aiohttp is not None and not SpecifierSet(_AIOHTTP).contains(aiohttp, prereleases=True):
        what = f"aiohttp is {aiohttp}: its calls get no timeout, retry or breaker from handrail"
        mend = f"pip install 'aiohttp{_AIOHTTP}'"
        return [Finding(id="HR042", severity="warning", what=what, where="the environment", mend=mend)]
    if any(_version(name) for name in CLIENTS):
        return []
    what = "no HTTP client is installed that handrail protects: outbound calls get no timeout, retry or breaker"
    return [Finding(id="HR041", severity="warning", what=what, where="the environment", mend="pip install httpx")]


def distributions(environ: Mapping[str, str]) -> list[Finding]:
    """Whether several compete for `opentelemetry-instrument`."""
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
