"""Gathers all that `handrail doctor` says, without printing a word."""

import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from math import inf
from pathlib import Path
from typing import cast

from .. import _settings_resolve as resolve
from .._settings_values import Kind
from ..resilience.origins import Key, OriginRule
from ..settings import Resolution, Settings
from . import _answers_probe, _app, _inbound, _installed, _others, _probe, _scan, _shared_probe
from ._chaos_note import chaos
from ._findings import SEVERITIES, Finding
from ._origins import OriginView, asked, patterns
from ._unguarded import unguarded

__all__ = ["EXAMPLE", "Report", "gather"]

EXAMPLE = "http://example.test"
"""The origin whose pipeline is shown; every origin gets one of the same make."""


_SECRET = frozenset({"shared_state", "idempotency_store"})
"""Settings that may hold a password."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything found. `as_json` is the stable form, see `handrail.cli.doctor`.

    `app` is what was imported; `unusable` names the variable for which nobody knows where spans would go, or is "";
    `origins` are the patterns with settings of their own, `origin` the one that was asked for;
    `shared` is None where breakers are not shared, `answers` where keys of requests mean nothing; `inbound` are the
    layers around the application.
    """

    cwd: str
    app: str | None
    settings: Settings
    policies: tuple[str, ...]
    libraries: tuple[_installed.Library, ...]
    others: tuple[_others.Other, ...]
    variables: Mapping[str, str]
    findings: tuple[Finding, ...]
    origins: tuple[OriginView, ...] = ()
    origin: OriginView | None = None
    unusable: str = ""
    shared: _shared_probe.Shared | None = None
    answers: _answers_probe.Answers | None = None
    inbound: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether something is wrong enough for exit code 1."""
        return any(finding.severity == "error" for finding in self.findings)

    def value(self, name: str) -> object:
        """A setting as it may be shown."""
        found = self.settings.value(name)
        if name == "chaos_secret" and found:
            return "(set, not shown)"
        return _probe.without_secret(found) if name in _SECRET and isinstance(found, str) else found

    def as_json(self) -> dict[str, object]:
        """Plain values for `json.dumps`."""
        tracing = self.settings.tracing
        endpoint = None if self.unusable else tracing.endpoint
        return {
            "schema": 1,
            "ok": not self.failed,
            "handrail": metadata.version("handrail"),
            "python": platform.python_version(),
            "executable": sys.executable,
            "cwd": self.cwd,
            "app": self.app,
            "settings": [
                {"name": name, "value": _plain(self.value(name), kind), "origin": self.settings.origins[name]}
                for name, kind in resolve.KINDS.items()
            ],
            "inbound": list(self.inbound),
            "pipeline": list(self.policies),
            "origins": [_origin(view) for view in self.origins],
            "origin": None if self.origin is None else _origin(self.origin),
            "shared_state": None if self.shared is None else asdict(self.shared),
            "idempotency": None if self.answers is None else asdict(self.answers),
            "tracing": {
                "service_name": tracing.service_name,
                "exporters": list(tracing.exporters),
                "protocol": tracing.protocol,
                "endpoint": None if endpoint is None else _probe.without_secret(endpoint),
                "store": str(tracing.store),
                "disabled": tracing.disabled,
                "variables": dict(self.variables),
            },
            "libraries": [asdict(library) for library in self.libraries],
            "instrumentation": [asdict(other) for other in self.others],
            "findings": [asdict(finding) for finding in self.findings],
        }


def gather(environ: Mapping[str, str], cwd: Path, app: str | None = None, origin: Key | None = None) -> Report:
    """Look at everything once. Asks the collector and the stores. With `app` it is imported: its code runs.

    `origin`: also what the settings come to for that one.
    """
    from ..settings import resolve as resolve_settings

    found = resolve_settings({}, environ, cwd)
    app_findings: list[Finding] = []
    if app is not None:
        in_force, app_findings = _app.settings_of(app, cwd, found.problems)
        found = found if in_force is None else replace(found, settings=in_force)
    unusable = next((problem.name for problem in found.problems if problem.name in _probe.VARIABLES), "")
    libraries, library_findings = _installed.libraries()
    others, other_findings = _others.others(environ, cwd)
    shared, shared_findings = _shared_probe.shared(found)
    answers, answers_findings = _answers_probe.answers(found)
    findings = [
        *_settings(found, cwd),
        *app_findings,
        *(_spans(found.settings, environ, known=not unusable) if found.settings.enabled else ()),
        *unguarded(found.settings.tracing),
        *shared_findings,
        *answers_findings,
        *chaos(found.settings),
        *other_findings,
        *_installed.distributions(environ),
        *_scan.shadows(cwd),
        *_scan.imports(cwd),
        *library_findings,
        *_installed.clients(),
    ]
    findings.sort(key=lambda finding: (SEVERITIES.index(finding.severity), finding.id))
    return Report(
        cwd=str(cwd),
        app=app,
        settings=found.settings,
        policies=_policies(found),
        inbound=_inbound.layers(found.settings),
        origins=patterns(found.settings),
        origin=None if origin is None else asked(found.settings, origin),
        libraries=tuple(libraries),
        others=tuple(others),
        variables=_otel(environ),
        findings=tuple(findings),
        unusable=unusable,
        shared=shared,
        answers=answers,
    )


def _policies(found: Resolution) -> tuple[str, ...]:
    """The policies, outermost first; none where they cannot be built."""
    from ..resilience.defaults import standard
    from ..resilience.policy import Tools

    if found.settings.resilience.problems() or not found.settings.enabled:
        return ()
    return tuple(repr(policy) for policy in standard(EXAMPLE, found.settings.resilience, Tools()).policies)


def _settings(found: Resolution, cwd: Path) -> list[Finding]:
    stops = ": the service does not start with it" if found.settings.enabled else ""
    out = [
        Finding(
            id="HR001",
            severity="error",
            what=f"{problem.setting} cannot be used{stops}",
            where=problem.origin,
            mend=problem.allowed,
        )
        for problem in found.problems
    ]
    if found.file.shadowed:
        out.append(
            Finding(
                id="HR002",
                severity="warning",
                what="handrail.toml wins; [tool.handrail] in pyproject.toml does nothing",
                where=str(cwd / "pyproject.toml"),
                mend="keep one of the two",
            )
        )
    if not found.settings.enabled:
        out.append(
            Finding(
                id="HR003",
                severity="warning",
                what="handrail is switched off: no tracing, no policies",
                where=found.settings.origins["enabled"],
                mend="set enabled to true, or take the setting away",
            )
        )
    if found.file.ignored is not None and not any(problem.name == "pyproject.toml" for problem in found.problems):
        out.append(
            Finding(
                id="HR004",
                severity="warning",
                what=f"the file {found.file.ignored}; handrail goes on without it",
                where=str(cwd / "pyproject.toml"),
                mend="correct the file",
            )
        )
    return out


def _spans(settings: Settings, environ: Mapping[str, str], *, known: bool) -> list[Finding]:
    """`known`: whether it is known where spans are meant to go."""
    tracing = settings.tracing
    if tracing.disabled or not tracing.exporters:
        where = "OTEL_SDK_DISABLED" if tracing.disabled else "OTEL_TRACES_EXPORTER"
        what = "tracing is switched off: no spans leave this process"
        return [Finding(id="HR012", severity="warning", what=what, where=where, mend=f"take {where} away")]
    collector = _probe.collector(tracing, environ) if known else None
    store = _probe.store(tracing)
    out = [finding for finding in (collector, store) if finding]
    out += _probe.lost(tracing)
    written = store is None or store.severity != "error"
    if tracing.exporters == ("local",) and known and written:
        out.append(
            Finding(
                id="HR013",
                severity="info",
                what="no collector is set: spans go to the local store, `handrail traces` shows them",
                where=str(tracing.store),
                mend="for Jaeger set OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318",
            )
        )
    return out


def _otel(environ: Mapping[str, str]) -> dict[str, str]:
    """The OTEL_* variables that are set; what may hold a secret is not shown."""
    out: dict[str, str] = {}
    for name in sorted(environ):
        if name.startswith("OTEL_") and environ[name].strip():
            value = environ[name]
            if "HEADERS" in name or "KEY" in name:
                value = "(set, not shown)"
            out[name] = _probe.without_secret(value) if "://" in value else value
    return out


def _origin(view: OriginView) -> dict[str, object]:
    values = [
        {"name": one.name, "value": _plain(one.value, resolve.KINDS[one.name]), "origin": one.origin}
        for one in view.settings
    ]
    return {"origin": view.origin, "fits": list(view.fits), "settings": values, "pipeline": list(view.pipeline)}


def _plain(value: object, kind: Kind) -> object:
    """JSON knows no infinity, no tuple and no path."""
    if kind is Kind.ORIGINS:
        rules = cast("tuple[OriginRule, ...]", value)
        return {rule.pattern: {name: _plain(one, resolve.KINDS[name]) for name, one in rule.values} for rule in rules}
    if isinstance(value, tuple):
        return dict(value) if kind is Kind.RATES else list(value)
    if isinstance(value, float) and value == inf:
        return "inf"
    return str(value) if isinstance(value, Path) else value
