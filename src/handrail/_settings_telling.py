"""The settings of `handrail.tracing.settings.Telling`: their kinds, and the checks that need more than a kind."""

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, cast

from ._settings_values import Kind, Rates, Value
from .tracing._environ import importable
from .tracing.settings import Telling

__all__ = ["TELLING", "telling"]

_CHOICES: Mapping[str, tuple[str, ...]] = {"inbound_trace": ("continue", "link"), "log_format": ("keep", "json")}
_KIND_OF: Mapping[type, Kind] = {bool: Kind.BOOL, float: Kind.SECONDS, str: Kind.TEXT, tuple: Kind.LIST}

TELLING: Mapping[str, Kind] = {spec.name: _KIND_OF[type(spec.default)] for spec in fields(Telling)} | {
    "route_sampling": Kind.RATES
}
"""Each by its flat name."""

_MAX_BLOCKED = 60.0

Problem = tuple[str, object, str]


def telling(values: Mapping[str, Value]) -> tuple[Telling, list[Problem]]:
    """What is chosen, and what is wrong with it: (name, value, allowed). A wrong value counts as not chosen."""
    chosen: dict[str, Any] = {}
    problems: list[Problem] = []
    for name in TELLING:
        if name not in values:
            continue
        value = values[name]
        allowed = _CHECKS[name](value) if name in _CHECKS else None
        if allowed is None:
            chosen[name] = value
        else:
            problems.append((name, value, allowed))
    return Telling(**chosen), problems


def _choice(name: str) -> Callable[[Value], str | None]:
    return lambda value: None if value in _CHOICES[name] else f"must be {' or '.join(_CHOICES[name])}"


def _proxies(value: Value) -> str | None:
    for word in cast("tuple[str, ...]", value):
        try:
            _ = word == "*" or ipaddress.ip_network(word)
        except ValueError:
            return f"must be IP addresses, networks such as 10.0.0.0/8, or *: {word!r} is none"
    return None


def _paths(value: Value) -> str | None:
    words = cast("tuple[str, ...] | Rates", value)
    for word in words:
        pattern = word if isinstance(word, str) else word[0]
        if not pattern.startswith("/"):
            return "must begin with /" if len(words) == 1 else f"each must begin with /, {pattern!r} does not"
    return None


def _scraped(path: str) -> str | None:
    if path and not importable("prometheus_client"):
        return "needs pip install 'handrail[prometheus]'"
    return _paths((path,)) if path else None


_CHECKS: Mapping[str, Callable[[Value], str | None]] = {
    "inbound_trace": _choice("inbound_trace"),
    "log_format": _choice("log_format"),
    "trusted_proxies": _proxies,
    "exclude_routes": _paths,
    "route_sampling": _paths,
    "prometheus_path": lambda value: _scraped(str(value)),
    "blocked_loop": lambda value: (
        None if 0 <= cast("float", value) <= _MAX_BLOCKED else "must be from 0 (off) to 60 seconds"
    ),
}
