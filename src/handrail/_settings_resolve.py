"""Lays argument, environment, file and default over each other, and notes where each value came from."""

import re
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar, cast

from ._settings_chaos import ChaosSettings
from ._settings_file import SettingsFile, read
from ._settings_origins import OriginTables
from ._settings_places import state_folder, working_folder
from ._settings_telling import TELLING, telling
from ._settings_values import Kind, Problem, Value, from_object, from_text
from .resilience._ranges import BOUNDS
from .resilience.inbound.settings import InboundSettings
from .resilience.replay.settings import IdempotencySettings
from .resilience.service import ServiceSettings
from .resilience.settings import ResilienceSettings
from .settings import Overrides, Resolution, Settings
from .tracing._environ import LONGEST_NAME
from .tracing.settings import TracingSettings, from_environ

__all__ = ["KINDS", "PREFIX", "Resolver"]

PREFIX = "HANDRAIL_"
DEFAULT = "default"
ORIGINS = "origins"
RESERVED = frozenset({"HANDRAIL_JAEGER"})
"""Names of ours that are not settings: where the tests find Jaeger."""

_KUBERNETES = re.compile(r".*_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)")
"""Every pod gets such variables for each service of its namespace, and one may be called handrail."""

_KIND_OF: Mapping[type, Kind] = {
    bool: Kind.BOOL,
    int: Kind.COUNT,
    float: Kind.SECONDS,
    str: Kind.TEXT,
    tuple: Kind.LIST,
}
_RESILIENCE: Mapping[str, Kind] = {spec.name: _KIND_OF[type(spec.default)] for spec in fields(ResilienceSettings)} | {
    "breaker_failure_rate": Kind.RATE,
    "breaker_slow_rate": Kind.RATE,
    "retry_budget": Kind.RATE,
    "throttle": Kind.NUMBER,
}
_SERVICE: Mapping[str, Kind] = {spec.name: _KIND_OF[type(spec.default)] for spec in fields(ServiceSettings)}
_IDEMPOTENCY: Mapping[str, Kind] = {spec.name: _KIND_OF[type(spec.default)] for spec in fields(IdempotencySettings)}
_INBOUND: Mapping[str, Kind] = {spec.name: _KIND_OF[type(spec.default)] for spec in fields(InboundSettings)} | {
    "priority_routes": Kind.WORDS
}
_CHAOS: Mapping[str, Kind] = {
    "chaos": Kind.SWITCH,
    "chaos_faults": Kind.FAULTS,
    "chaos_secret": Kind.TEXT,
    "chaos_seed": Kind.COUNT,
}

KINDS: Mapping[str, Kind] = {
    "enabled": Kind.BOOL,
    "problem_details": Kind.BOOL,
    "service_name": Kind.TEXT,
    "traces_dir": Kind.PATH,
    "traces_max_bytes": Kind.COUNT,
    "flush_timeout": Kind.SECONDS,
    "queue_max_bytes": Kind.COUNT,
    **TELLING,
    **_RESILIENCE,
    **_SERVICE,
    **_IDEMPOTENCY,
    **_INBOUND,
    **_CHAOS,
    ORIGINS: Kind.ORIGINS,
}
"""Every setting by its flat name."""

_PLAIN: Mapping[str, str] = {name: name for name in KINDS}
_VARIABLES: Mapping[str, str] = {name: PREFIX + name.upper() for name in KINDS}

G = TypeVar("G", ServiceSettings, IdempotencySettings, InboundSettings)

_BOWED = "default, fitted to "

_STORE_BYTES = 64 * 1024 * 1024
_MIN_STORE = 64 * 1024
_FLUSH_TIMEOUT = 1.5  # a server needs some tenths for its own end, and all of it is to take less than 2 s
_QUEUE_BYTES = 16 * 1024 * 1024
_MIN_QUEUE = 64 * 1024
_MAX_FLUSH = 60.0


class Resolver:
    """One pass over all sources; used once."""

    def __init__(self, arguments: Overrides, environ: Mapping[str, str], cwd: Path | None) -> None:
        self._arguments: Mapping[str, object] = dict(arguments)
        self._environ = environ
        self._cwd = working_folder() if cwd is None else cwd
        self._file = SettingsFile() if self._cwd is None else read(self._cwd)
        self._problems: list[Problem] = []
        self._broken: set[str] = set()
        self._values: dict[str, Value] = {}
        self._written: dict[str, object] = {}
        self._origins: dict[str, str] = dict.fromkeys(KINDS, DEFAULT)
        self._tables = OriginTables(KINDS)

    def resolve(self) -> Resolution:
        """Read the sources from the weakest to the strongest, then check what they come to."""
        self._problems.extend(self._file.problems)
        self._take_file()
        self._take_environment()
        self._take_arguments()
        resilience = self._resilience()
        self._problems.extend(self._tables.problems(resilience))
        tracing = self._tracing()
        settings = Settings(
            enabled=bool(self._values.get("enabled", True)),
            problem_details=bool(self._values.get("problem_details", True)),
            resilience=resilience,
            service=self._checked(ServiceSettings, _SERVICE),
            idempotency=self._checked(IdempotencySettings, _IDEMPOTENCY),
            inbound=self._checked(InboundSettings, _INBOUND),
            faults=self._faults(),
            tracing=tracing,
            state=state_folder(self._environ),
            per_origin=self._tables.rules(),
            origins=self._origins | self._tables.sources(),
        )
        return Resolution(settings=settings, problems=tuple(self._problems), file=self._file)

    def _take_file(self) -> None:
        label = self._file.name or ""
        for name, value in self._file.values.items():
            if name in KINDS:
                self._take(name, name, value, label)
            else:
                self._unknown(name, value, label, _PLAIN)

    def _take_environment(self) -> None:
        for variable in sorted(key for key in self._environ if key.startswith(PREFIX)):
            text = self._environ[variable].strip()
            if not text or variable in RESERVED:
                continue
            name = variable.removeprefix(PREFIX).lower()
            if _VARIABLES.get(name) == variable:
                self._take(name, variable, text, f"environment {variable}")
            elif not _KUBERNETES.fullmatch(variable):
                self._unknown(variable, text, "environment", _VARIABLES)

    def _take_arguments(self) -> None:
        for name, value in self._arguments.items():
            if name in KINDS:
                self._take(name, name, value, "argument")
            else:
                self._unknown(name, value, "argument", _PLAIN)

    def _take(self, name: str, shown: str, value: object, origin: str) -> None:
        if name == ORIGINS:
            self._problems.extend(self._tables.take(shown, value, origin))
            self._origins[name] = origin
            return
        kind = KINDS[name]
        in_environment = origin.startswith("environment")
        try:
            taken = from_text(kind, str(value)) if in_environment else from_object(kind, value)
        except ValueError as error:
            self._broken.add(name)
            self._problems.append(Problem(shown, value, str(error), "environment" if in_environment else origin))
        else:
            self._values[name] = taken
            self._written[name] = value
            self._origins[name] = origin

    def _unknown(self, name: str, value: object, origin: str, known: Mapping[str, str]) -> None:
        """`known` gives for each flat name the way it is written at that place."""
        from difflib import get_close_matches  # only where something is wrong

        flat = name.removeprefix(PREFIX).lower().replace("-", "_")
        near = get_close_matches(flat, known, n=1, cutoff=0.7)
        hint = f"did you mean {known[near[0]]}?" if near else "`handrail doctor` lists them"
        self._problems.append(Problem(name, value, f"no such setting; {hint}", origin))

    def _resilience(self) -> ResilienceSettings:
        chosen: dict[str, Any] = {name: self._values[name] for name in _RESILIENCE if name in self._values}
        settings = self._bow(ResilienceSettings(**chosen))
        for name, value, allowed in settings.problems():
            others = [other for other in _RESILIENCE if other != name and re.search(rf"\b{other}\b", allowed)]
            # A value that could not be read was replaced by its default: comparing it would mislead.
            # One that bows is wrong only where its bound is, and that is said already.
            if self._broken.isdisjoint([name, *others]) and not self._origins[name].startswith(_BOWED):
                partners = [f" ({self._origins[other]})" for other in others]
                text = f"must be {allowed}{''.join(partners)}"
                self._out_of_range(name, value, text)
        return settings

    def _checked(self, kind: type[G], names: Mapping[str, Kind]) -> G:
        """A group of settings of which none depends on another."""
        chosen: dict[str, Any] = {name: self._values[name] for name in names if name in self._values}
        settings = kind(**chosen)
        for name, value, allowed in settings.problems():
            self._out_of_range(name, value, f"must be {allowed}")
        return settings

    def _faults(self) -> ChaosSettings:
        chosen: dict[str, Any] = {name: self._values[name] for name in _CHAOS if name in self._values}
        settings = ChaosSettings(**chosen)
        for name, value, allowed in settings.problems(self._environ):
            self._written[name] = value  # a secret is not shown
            self._out_of_range(name, value, allowed)
        return settings

    def _bow(self, settings: ResilienceSettings) -> ResilienceSettings:
        """Let a default give way to what was chosen: `total_timeout = 5` alone is no contradiction.

        A longer attempt than the default total stays one: nobody can tell which of them is meant.
        """
        for name, bound, better, factor in BOUNDS:
            limit = better(getattr(settings, name), factor * getattr(settings, bound))
            if self._origins[name] == DEFAULT and limit != getattr(settings, name):
                change: dict[str, Any] = {name: limit}
                settings = replace(settings, **change)
                self._origins[name] = _BOWED + bound
        return settings

    def _tracing(self) -> TracingSettings:
        name = str(
            self._values.get("service_name") or _visible(self._file.project or (self._cwd.name if self._cwd else ""))
        )
        store_max_bytes = cast("int", self._values.get("traces_max_bytes", _STORE_BYTES))
        flush_timeout = cast("float", self._values.get("flush_timeout", _FLUSH_TIMEOUT))
        if store_max_bytes < _MIN_STORE:
            self._out_of_range("traces_max_bytes", store_max_bytes, f"must be at least {_MIN_STORE} bytes")
        if not 0 <= flush_timeout <= _MAX_FLUSH:
            self._out_of_range("flush_timeout", flush_timeout, f"must be from 0 to {_MAX_FLUSH:g} seconds")
        queue_max_bytes = cast("int", self._values.get("queue_max_bytes", _QUEUE_BYTES))
        if queue_max_bytes < _MIN_QUEUE:
            self._out_of_range("queue_max_bytes", queue_max_bytes, f"must be at least {_MIN_QUEUE} bytes")
        told, wrong = telling(self._values)
        for key, bad, allowed in wrong:
            self._out_of_range(key, bad, allowed)
        settings, problems = from_environ(
            self._environ,
            service_name=name or "unknown_service",
            store=self._store(),
            store_max_bytes=store_max_bytes,
            flush_timeout=flush_timeout,
        )
        self._problems.extend(
            Problem(key, value, allowed if allowed.startswith("needs ") else f"must be {allowed}", "environment")
            for key, value, allowed in problems
        )
        settings = replace(settings, queue_max_bytes=queue_max_bytes, telling=told)
        return self._named(settings, name)

    def _named(self, settings: TracingSettings, name: str) -> TracingSettings:
        """An argument wins over `OTEL_SERVICE_NAME`; that wins over all the rest."""
        if self._origins["service_name"] == "argument":
            return replace(settings, service_name=name)
        if self._environ.get("OTEL_SERVICE_NAME", "").strip():
            self._origins["service_name"] = "environment OTEL_SERVICE_NAME"
        elif name and settings.service_name != name:
            self._origins["service_name"] = "environment OTEL_RESOURCE_ATTRIBUTES"
        elif self._origins["service_name"] == DEFAULT and self._file.project:
            self._origins["service_name"] = "pyproject.toml [project].name"
        elif self._origins["service_name"] == DEFAULT:
            self._origins["service_name"] = "default (folder name)"
        return settings

    def _out_of_range(self, name: str, value: object, allowed: str) -> None:
        """Under the name and with the value that stand there: what was read of it may look different."""
        origin, _, variable = self._origins[name].partition(f" {PREFIX}")
        shown = PREFIX + variable if variable else name
        self._problems.append(Problem(shown, self._written.get(name, value), allowed, origin))

    def _store(self) -> Path:
        chosen = self._values.get("traces_dir")
        if isinstance(chosen, Path):
            try:
                chosen = chosen.expanduser()
            except RuntimeError:
                self._out_of_range("traces_dir", str(chosen), "~ means nothing here: no home folder is known")
            return (self._cwd or Path()) / chosen
        return state_folder(self._environ) / "traces"


def _visible(name: str) -> str:
    """Nobody chose the name of a folder as that of a service: what it could not be is left out."""
    return "".join(letter for letter in name if letter.isprintable())[:LONGEST_NAME].strip()
