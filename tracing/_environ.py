"""Checks of single OTEL_* variables. An empty value is an unset one, as the specification wants."""

import importlib.metadata
import importlib.util
import math
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

_SAMPLERS = (
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
)
MILLISECONDS = "whole milliseconds, at least 1 and at most 86400000, a day"
SECONDS = "seconds, above 0 and at most 1e9"
A_DAY, MOST_SECONDS = 86_400_000, 1e9
"""What a thread or a socket waits has an end: beyond about three centuries, Python raises OverflowError."""
LONGEST_NAME = 255
NAME = f"at most {LONGEST_NAME} characters, all of them visible or spaces"
_PROPAGATORS = ("tracecontext", "baggage", "none")


class Environ:
    """The variables, and the problems found in them so far."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.problems: list[tuple[str, object, str]] = []

    def get(self, name: str) -> str | None:
        """The stripped value, or None where it is unset or empty."""
        return self._environ.get(name, "").strip() or None

    def blank(self, name: str) -> bool:
        """Whether it is set, to nothing."""
        return name in self._environ and self.get(name) is None

    def names(self, like: re.Pattern[str]) -> list[str]:
        """The variables that are set and whose whole name is `like` this."""
        return sorted(name for name in self._environ if like.fullmatch(name))

    def problem(self, name: str, allowed: str, *, hidden: bool = False) -> None:
        """Note that the value of `name` is not among what is `allowed`; one that is `hidden` is not shown."""
        self.problems.append((name, "[hidden]" if hidden else self._environ.get(name, ""), allowed))

    def boolean(self, name: str) -> bool:
        """True only for "true", in any case."""
        value = (self.get(name) or "false").lower()
        if value not in ("true", "false"):
            self.problem(name, "true or false")
        return value == "true"

    def number(self, name: str, allowed: str, *, low: float, high: float = math.inf, whole: bool) -> float | None:
        """A number from `low` to `high`, or None where it is unset or not that."""
        value = self.get(name)
        if value is None:
            return None
        try:
            number = int(plain(value)) if whole else float(plain(value))
        except ValueError:
            number = math.nan
        if not low <= number <= high:
            self.problem(name, allowed)
            return None
        return number

    def url(self, name: str, *, bare_host: bool) -> str | None:
        """An http(s) URL; with `bare_host` also host:port, which gRPC takes."""
        value = self.get(name)
        if value is None:
            return None
        if bare_host and "://" not in value:
            value = "http://" + value
        try:
            parts = urlsplit(value)
            good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:  # port out of range, brackets that do not close
            good = False
        if good:
            return value
        self.problem(name, "a URL such as http://localhost:4318" + (" or host:port" if bare_host else ""))
        return None


def plain(number: str) -> str:
    """`number` as it is; ValueError for what Python reads as a number and nobody writes as one: 1_0, other digits."""
    if not number.isascii() or "_" in number:
        raise ValueError(number)
    return number


def is_name(text: str) -> bool:
    """Whether this may be the name of a service: it stands in every span, log line and list of a backend."""
    return 0 < len(text) <= LONGEST_NAME and text.isprintable()


def importable(module: str) -> bool:
    """Whether `module` is installed; its parents are imported, the module is not."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def sampler(env: Environ) -> None:
    """OTEL_TRACES_SAMPLER and its ratio."""
    name = (env.get("OTEL_TRACES_SAMPLER") or "parentbased_always_on").lower()
    if name not in _SAMPLERS:
        env.problem("OTEL_TRACES_SAMPLER", "one of: " + ", ".join(_SAMPLERS))
    elif name.endswith("traceidratio"):
        env.number("OTEL_TRACES_SAMPLER_ARG", "a number from 0 to 1", low=0, high=1, whole=False)


def propagators(env: Environ) -> None:
    """OTEL_PROPAGATORS: an unknown name would make the OpenTelemetry API itself fail at import."""
    words = [word.strip() for word in (env.get("OTEL_PROPAGATORS") or "").split(",") if word.strip()]
    unknown = [word for word in words if word.lower() not in _PROPAGATORS]
    if unknown:
        installed = {entry.name for entry in importlib.metadata.entry_points(group="opentelemetry_propagator")}
        if not installed.issuperset(unknown):
            allowed = sorted(installed.union(_PROPAGATORS))
            env.problem("OTEL_PROPAGATORS", "a list of what is installed: " + ", ".join(allowed))


def batch_limits(env: Environ) -> None:
    """OTEL_BSP_*: milliseconds and counts, all at least 1, a batch no larger than the queue."""
    for name in ("OTEL_BSP_SCHEDULE_DELAY", "OTEL_BSP_EXPORT_TIMEOUT"):
        env.number(name, MILLISECONDS, low=1, high=A_DAY, whole=True)
    queue = env.number("OTEL_BSP_MAX_QUEUE_SIZE", "a whole number, at least 1", low=1, whole=True)
    batch = env.number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "a whole number, at least 1", low=1, whole=True)
    if (batch or 512) > (queue or 2048):
        name = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE" if batch else "OTEL_BSP_MAX_QUEUE_SIZE"
        env.problem(name, f"a batch ({batch or 512:g}) no larger than the queue ({queue or 2048:g})")


def otlp_transport(env: Environ) -> None:
    """OTEL_EXPORTER_OTLP_* that the exporters read themselves and would stumble over at the first span."""
    for prefix in ("OTEL_EXPORTER_OTLP_", "OTEL_EXPORTER_OTLP_TRACES_"):
        env.number(prefix + "TIMEOUT", SECONDS, low=1e-3, high=MOST_SECONDS, whole=False)
        if env.get(prefix + "COMPRESSION") not in (None, "gzip", "deflate", "none"):
            env.problem(prefix + "COMPRESSION", "gzip, deflate or none")
