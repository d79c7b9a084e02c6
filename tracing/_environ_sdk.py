"""Checks of OTEL_* variables that are no settings of ours: those that OpenTelemetry reads itself and stumbles over.

Some of these raise at the import of the SDK, some at the first request, some log a traceback and count as unset.
"""

import re
from importlib.metadata import entry_points

from ._environ import Environ

_LIMITS = (
    "OTEL_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_SPAN_EVENT_COUNT_LIMIT",
    "OTEL_SPAN_LINK_COUNT_LIMIT",
    "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT",
)
_LIMIT = "a whole number, at least 0"
_PLUGINS = ("context", "id_generator", "tracer_provider", "meter_provider", "logger_provider")
_DETECTORS = "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS"
_EXCLUDED = re.compile(r"OTEL_PYTHON_([A-Z0-9_]+_)?EXCLUDED_URLS")
_PAIRS = "a list of key=value, separated by commas"
_HEADERS = ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_METRICS_HEADERS")


def checked(env: Environ) -> None:
    """Note the problems of all of them."""
    _limits(env)
    _plugins(env)
    _excluded_urls(env)
    _pairs(env)


def _limits(env: Environ) -> None:
    """The SDK takes "unset" for no limit, and an empty value for a mistake, which it is by no specification."""
    for name in _LIMITS:
        value = env.get(name)
        if value is None and env.blank(name):
            env.problem(name, f"{_LIMIT}; unset the variable for the default (OpenTelemetry refuses an empty one)")
        elif value is not None and value.lower() != "unset":
            env.number(name, _LIMIT, low=0, whole=True)


def _plugins(env: Environ) -> None:
    """What is looked up among the entry points: a name that nobody installed is a StopIteration there."""
    for kind in _PLUGINS:
        name = f"OTEL_PYTHON_{kind.upper()}"
        value = env.get(name)
        if value is None and not (env.blank(name) and kind.endswith("_provider")):
            continue
        installed = _installed(kind)
        if value not in installed:
            env.problem(name, "unset or one of what is installed: " + ", ".join(sorted(installed)))
    wanted = {word.strip() for word in (env.get(_DETECTORS) or "").split(",") if word.strip()} - {"*"}
    if wanted and not wanted <= (installed := _installed("resource_detector")):
        env.problem(_DETECTORS, "* or a list of what is installed: " + ", ".join(sorted(installed)))


def _installed(kind: str) -> set[str]:
    return {entry.name for entry in entry_points(group=f"opentelemetry_{kind}")}


def _excluded_urls(env: Environ) -> None:
    """Regular expressions, which contrib joins to one."""
    for name in env.names(_EXCLUDED):
        try:
            re.compile("|".join(word.strip() for word in (env.get(name) or "").split(",")))
        except (re.error, OverflowError, RecursionError) as error:
            env.problem(name, f"a list of regular expressions, separated by commas: {error}")


def _pairs(env: Environ) -> None:
    """Lists whose members OpenTelemetry drops, with a log line, where they are no pairs."""
    if not _paired(env.get("OTEL_RESOURCE_ATTRIBUTES")):
        env.problem("OTEL_RESOURCE_ATTRIBUTES", _PAIRS)
    for name in _HEADERS:
        if not _paired(env.get(name)):
            env.problem(name, _PAIRS, hidden=True)  # a token, as a rule


def _paired(value: str | None) -> bool:
    members = (member.partition("=") for member in (value or "").split(",") if member.strip())
    return all(key.strip() and equals for key, equals, _ in members)
