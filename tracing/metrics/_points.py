"""What the cells hold, as the SDK's public data classes; and the reader that puts both in one export."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from opentelemetry.sdk.metrics import (
    Counter,
    Exemplar,
    Histogram,
    ObservableCounter,
)
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    HistogramDataPoint,
    Metric,
    MetricReader,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.metrics.export import Histogram as HistogramData
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from .. import semconv
from ._cells import BOUNDS, Series, Table
from ._cells import Exemplar as Sampled
from ._http import ClientTable, ServerTable, client_attributes, server_attributes, under_way

if TYPE_CHECKING:
    from opentelemetry.util.types import AttributeValue

    from ..settings import Temporality

__all__ = ["Ours", "Reader"]

K = TypeVar("K")
Attributes = dict[str, "AttributeValue"]

_CUMULATIVE = AggregationTemporality.CUMULATIVE
_DELTA = AggregationTemporality.DELTA
_UNTOLD = cast("float", None)
"""min and max are optional in OTLP, and say nothing about a process that runs for weeks."""


class Ours:
    """The cells of one process, and the scope and resource that they are exported under."""

    def __init__(
        self, server: ServerTable, client: ClientTable, version: str, resource: Callable[[], Resource]
    ) -> None:
        self.server = server
        self.client = client
        self.resource = resource
        self.scope = InstrumentationScope(semconv.SCOPE, version, semconv.SCHEMA_URL)


class Reader(MetricReader):
    """Collects on demand: what the SDK's instruments hold and, with `ours`, what the cells hold.

    One for each destination: it remembers what it has given, for delta temporality and for exemplars, which are
    given once. With `keep_exemplars` they stay until newer ones come, as whoever scrapes expects it.
    """

    def __init__(
        self, ours: Ours | None, temporality: "Temporality" = "cumulative", *, keep_exemplars: bool = False
    ) -> None:
        super().__init__(preferred_temporality=_preferred(temporality))
        self._ours = ours
        self._keep = keep_exemplars
        self._kind = _CUMULATIVE if temporality == "cumulative" else _DELTA
        self._received: list[MetricsData] = []
        self._given: dict[str, dict[Any, Series]] = {}
        self._last = 0

    def gather(self) -> MetricsData:
        """Everything as it stands now; empty where nothing was measured yet."""
        self._received.clear()
        self.collect()
        theirs = [one for data in self._received for one in data.resource_metrics]
        ours = self._ours
        if ours is None:
            return MetricsData(theirs)
        found = self._cells(ours)
        if not found:
            return MetricsData(theirs)
        if not theirs:
            resource = ours.resource()
            scope = ScopeMetrics(ours.scope, found, semconv.SCHEMA_URL)
            return MetricsData([ResourceMetrics(resource, [scope], resource.schema_url)])
        first, *rest = theirs
        # A scope must stand once: of two that are equal, the stock encoder sends the last alone.
        rarer = [metric for scope in first.scope_metrics if scope.scope == ours.scope for metric in scope.metrics]
        others = [scope for scope in first.scope_metrics if scope.scope != ours.scope]
        scopes = [ScopeMetrics(ours.scope, [*found, *rarer], semconv.SCHEMA_URL), *others]
        return MetricsData([ResourceMetrics(first.resource, scopes, first.schema_url), *rest])

    def _receive_metrics(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **_kwargs: object) -> None:  # noqa: ARG002  (the SDK's signature)
        self._received.append(metrics_data)

    def shutdown(self, timeout_millis: float = 30_000, **_kwargs: object) -> None:
        """Nothing is held here."""

    def _cells(self, ours: Ours) -> list[Metric]:
        now = time.time_ns()
        server, client = ours.server.table, ours.client.table
        ended = server.series()
        begun = server.begun()  # after what has ended: never below zero
        found = [
            self._histogram(semconv.METRIC_SERVER_DURATION, server, ended, server_attributes, now),
            _active(under_way(begun, ((key, sum(one.counts)) for key, one in ended.items())), server.since, now),
            self._histogram(semconv.METRIC_CLIENT_DURATION, client, client.series(), client_attributes, now),
        ]
        self._last = now
        return [metric for metric in found if metric.data.data_points]

    def _histogram(
        self,
        named: tuple[str, str, str],
        table: Table[Any],
        series: Mapping[K, Series],
        describe: "Callable[[K], Attributes]",
        now: int,
    ) -> Metric:
        name, unit, about = named
        given = self._given.get(name, {})
        delta = self._kind is _DELTA
        since = max(self._last, table.since) if delta else table.since
        points = []
        for attributes, one in _told(series, describe):
            before = given.get(tuple(attributes.items())) if delta else None
            counts, total = one.counts, one.total
            if before is not None:
                counts = [count - old for count, old in zip(counts, before.counts, strict=True)]
                total -= before.total
            if any(counts):
                points.append(
                    HistogramDataPoint(
                        attributes, since, now, sum(counts), total, counts, BOUNDS, _UNTOLD, _UNTOLD,
                        _exemplars(one.exemplars, 0 if self._keep else self._last),
                    )
                )  # fmt: skip
        if delta:
            self._given[name] = {tuple(attributes.items()): one for attributes, one in _told(series, describe)}
        return Metric(name, about, unit, HistogramData(points, self._kind))


def _told(series: Mapping[K, Series], describe: "Callable[[K], Attributes]") -> "list[tuple[Attributes, Series]]":
    """Each attribute set once: several keys may be told as the same surplus."""
    found: dict[tuple[Any, ...], tuple[dict[str, AttributeValue], Series]] = {}
    for key, one in series.items():
        attributes = describe(key)
        told = found.setdefault(tuple(attributes.items()), (attributes, one))[1]
        if told is not one:
            told.counts = [mine + new for mine, new in zip(told.counts, one.counts, strict=True)]
            told.total += one.total
    return list(found.values())


def _exemplars(latest: Sequence[Sampled | None], after: int) -> list[Exemplar]:
    return [
        Exemplar({}, seconds, when, span_id, trace_id)
        for seconds, when, trace_id, span_id in filter(None, latest)
        if when > after
    ]


def _active(counts: Mapping[tuple[str, str], int], since: int, now: int) -> Metric:
    name, unit, about = semconv.METRIC_SERVER_ACTIVE
    points = [
        NumberDataPoint({semconv.HTTP_METHOD: method, semconv.URL_SCHEME: scheme}, since, now, count)
        for (method, scheme), count in counts.items()
    ]
    return Metric(name, about, unit, Sum(points, _CUMULATIVE, is_monotonic=False))


def _preferred(temporality: "Temporality") -> dict[type, AggregationTemporality]:
    """The OTLP exporter's table; what can go down is cumulative in each of them."""
    delta: tuple[type, ...] = ()
    if temporality == "delta":
        delta = (Counter, Histogram, ObservableCounter)
    elif temporality == "lowmemory":
        delta = (Counter, Histogram)
    return dict.fromkeys(delta, _DELTA)
