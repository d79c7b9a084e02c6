"""Metrics in Prometheus's format: OpenTelemetry's data, by its compatibility specification, in a registry of ours.

Names become `http_server_request_duration_seconds`, counters end in `_total`, the scope is a label, the resource is
`target_info`. The service's default registry is not touched: a metric there may have the same name.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from opentelemetry.sdk.metrics.export import (
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    Sum,
)
from opentelemetry.trace import format_span_id, format_trace_id
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

if TYPE_CHECKING:
    from ._points import Reader

__all__ = ["Families", "page"]

Labels = dict[str, str]

_UNITS = {
    "d": "days", "h": "hours", "min": "minutes", "s": "seconds", "ms": "milliseconds", "us": "microseconds",
    "ns": "nanoseconds", "By": "bytes", "KiBy": "kibibytes", "MiBy": "mebibytes", "GiBy": "gibibytes",
    "KBy": "kilobytes", "MBy": "megabytes", "GBy": "gigabytes", "m": "meters", "V": "volts", "A": "amperes",
    "J": "joules", "W": "watts", "g": "grams", "Cel": "celsius", "Hz": "hertz", "%": "percent",
}  # fmt: skip
_UNFIT = re.compile(r"[^a-zA-Z0-9:]+")
_UNFIT_LABEL = re.compile(r"[^a-zA-Z0-9_]+")
_ANNOTATION = re.compile(r"\{[^}]*\}")


class Families(Collector):
    """Reads `reader()` anew at each scrape."""

    def __init__(self, reader: "Callable[[], Reader | None]") -> None:
        self._reader = reader

    def describe(self) -> Iterable[Family]:
        """Nothing to say before a scrape; a registry asks this on registration."""
        return ()

    def collect(self) -> Iterator[Family]:
        """All metrics as they stand."""
        reader = self._reader()
        if reader is not None:
            yield from families(reader.gather())


def page(reader: "Callable[[], Reader | None]") -> Callable[[str], tuple[bytes, str]]:
    """What answers a scrape: takes the Accept header, gives body and content type."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Families(reader))

    def answer(accept: str) -> tuple[bytes, str]:
        encode, content_type = choose_encoder(accept)
        return encode(registry), content_type

    return answer


def families(data: MetricsData) -> Iterator[Family]:
    """Prometheus's view of the data; a name stands once, whatever scopes it came from."""
    found: dict[str, Family] = {}
    for about in data.resource_metrics:
        target = found.setdefault("target", Family("target", "Target metadata", "info"))
        target.add_sample("target_info", _labels(about.resource.attributes), 1)
        for scoped in about.scope_metrics:
            scope = {"otel_scope_name": scoped.scope.name, "otel_scope_version": scoped.scope.version or ""}
            for metric in scoped.metrics:
                _add(found, metric, scope)
    return iter(found.values())


def _add(found: dict[str, Family], metric: Metric, scope: Labels) -> None:
    data = metric.data
    if isinstance(data, Histogram):
        kind = "histogram"
    elif isinstance(data, Sum):
        kind = "counter" if data.is_monotonic else "gauge"
    elif isinstance(data, Gauge):
        kind = "gauge"
    else:
        return  # an exponential histogram: the text format has no place for it
    name, unit = _name(metric.name, metric.unit or "", kind)
    family = found.get(name)
    if family is None:
        family = found[name] = Family(name, metric.description or "", kind, unit)
    elif family.type != kind:
        return  # the specification: drop what conflicts
    for point in data.data_points:
        labels = scope | _labels(point.attributes or {})
        if isinstance(point, HistogramDataPoint):
            _add_buckets(family, point, labels)
        elif isinstance(point, NumberDataPoint):
            family.add_sample(name + "_total" if kind == "counter" else name, labels, point.value)


def _add_buckets(family: Family, point: HistogramDataPoint, labels: Labels) -> None:
    exemplars = {_bucket(point, one.value): one for one in point.exemplars if one.trace_id and one.span_id}
    running = 0
    for at, (count, bound) in enumerate(zip(point.bucket_counts, (*point.explicit_bounds, math.inf), strict=True)):
        running += count
        exemplar = None
        if at in exemplars:
            one = exemplars[at]
            trace = {"trace_id": format_trace_id(one.trace_id or 0), "span_id": format_span_id(one.span_id or 0)}
            exemplar = Exemplar(trace, one.value, one.time_unix_nano / 1e9)
        family.add_sample(
            f"{family.name}_bucket",
            {**labels, "le": repr(bound) if bound < math.inf else "+Inf"},
            running,
            None,
            exemplar,
        )
    family.add_sample(f"{family.name}_count", labels, point.count)
    family.add_sample(f"{family.name}_sum", labels, point.sum)


def _bucket(point: HistogramDataPoint, value: float) -> int:
    return sum(bound < value for bound in point.explicit_bounds)


def _name(name: str, unit: str, kind: str) -> tuple[str, str]:
    """The family's name, and the unit that it ends in (empty: none)."""
    name = _UNFIT.sub("_", name).strip("_")
    if name[:1].isdigit():
        name = "_" + name
    if kind == "counter":
        name = name.removesuffix("_total")
    unit = _ANNOTATION.sub("", unit)
    if unit == "1":
        word = "ratio" if kind == "gauge" else ""
    else:
        word = "_per_".join(_UNITS.get(part, _UNFIT.sub("_", part)) for part in unit.split("/") if part).strip("_")
    if word and not name.endswith("_" + word):
        name = f"{name}_{word}"
    return name, word


def _labels(attributes: Mapping[str, object]) -> Labels:
    found: Labels = {}
    for key, value in sorted(attributes.items()):
        name = _UNFIT_LABEL.sub("_", key)
        if name[:1].isdigit():
            name = "_" + name
        text = str(value).lower() if isinstance(value, bool) else str(value)
        # Two keys that become one name: both values, as the specification says.
        found[name] = f"{found[name]};{text}" if name in found else text
    return found
