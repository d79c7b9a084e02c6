"""The HTTP metrics: `ServerMeasure` and `ClientMeasure`, over cells of ours or over somebody's instruments.

Names, units, attributes and buckets are those of the stable HTTP conventions (http-metrics). Methods outside the
known ones are `_OTHER`, routes are templates or absent, so what a stranger sends makes no new series.
"""

import time
from bisect import bisect_left
from collections.abc import Iterable

from opentelemetry.metrics import Meter
from opentelemetry.trace import Span, set_span_in_context
from opentelemetry.util.types import AttributeValue

from .. import semconv
from ._cells import BOUNDS, Table

__all__ = [
    "OVERFLOW",
    "ClientInstruments",
    "ClientKey",
    "ClientTable",
    "ServerInstruments",
    "ServerKey",
    "ServerTable",
    "client_attributes",
    "server_attributes",
]

Attributes = dict[str, AttributeValue]

ServerKey = tuple[str, str, str | None, int, str | None, str]
"""Method, scheme, route, status (0: none), error.type, protocol version."""

ClientKey = tuple[str, str, str, int | None, int, str | None, str]
"""Method, scheme, host, port, status (0: none), error.type, protocol version."""

OVERFLOW = "\0"
"""Stands in a key in place of route or host: the limit of attribute sets is reached."""

_SURPLUS: Attributes = {"otel.metric.overflow": True}


def _known(method: str) -> str:
    return method if method in semconv.KNOWN_METHODS else semconv.OTHER_METHOD


class ServerTable:
    """`ServerMeasure` by hand. `exemplars` says whether sampled requests leave their trace id."""

    def __init__(self, *, exemplars: bool = True) -> None:
        self.table: Table[ServerKey] = Table(lambda key: (key[0], key[1], OVERFLOW, 0, None, ""))
        self._exemplars = exemplars

    def begin(self, method: str, scheme: str) -> None:
        """A request starts."""
        begun = self.table.here.begun
        pair = (method, scheme)
        if pair in begun:
            begun[pair] += 1
        else:
            pair = (_known(method), scheme)
            begun[pair] = begun.get(pair, 0) + 1

    def end(
        self,
        method: str,
        scheme: str,
        route: str | None,
        status: int,
        error_type: str | None,
        version: str,
        seconds: float,
        span: Span,
    ) -> None:
        """The request ends."""
        cell = self.table.here.cells.get((method, scheme, route, status, error_type, version))
        if cell is None:
            cell = self.table.cell((_known(method), scheme, route, status, error_type, version))
        at = bisect_left(BOUNDS, seconds)
        cell.counts[at] += 1
        cell.total += seconds
        if cell.exemplars[at] is None and self._exemplars:
            context = span.get_span_context()
            if context.trace_flags & 1:
                cell.exemplars[at] = (seconds, time.time_ns(), context.trace_id, context.span_id)


class ClientTable:
    """`ClientMeasure` by hand."""

    def __init__(self, *, exemplars: bool = True) -> None:
        self.table: Table[ClientKey] = Table(lambda _key: ("", "", OVERFLOW, None, 0, None, ""))
        self._exemplars = exemplars

    def end(
        self,
        method: str,
        scheme: str,
        host: str,
        port: int | None,
        status: int,
        error_type: str | None,
        version: str,
        seconds: float,
        span: Span,
    ) -> None:
        """An attempt ends."""
        cell = self.table.here.cells.get((method, scheme, host, port, status, error_type, version))
        if cell is None:
            cell = self.table.cell((_known(method), scheme, host, port, status, error_type, version))
        cell.add(seconds, span if self._exemplars else None)


class ServerInstruments:
    """`ServerMeasure` over a meter that the service set up: its readers and views decide what is kept."""

    def __init__(self, meter: Meter) -> None:
        name, unit, about = semconv.METRIC_SERVER_DURATION
        self._duration = meter.create_histogram(name, unit, about, explicit_bucket_boundaries_advisory=BOUNDS)
        self._active = meter.create_up_down_counter(*semconv.METRIC_SERVER_ACTIVE)

    def begin(self, method: str, scheme: str) -> None:
        """A request starts."""
        self._active.add(1, {semconv.HTTP_METHOD: _known(method), semconv.URL_SCHEME: scheme})

    def end(
        self,
        method: str,
        scheme: str,
        route: str | None,
        status: int,
        error_type: str | None,
        version: str,
        seconds: float,
        span: Span,
    ) -> None:
        """The request ends."""
        method = _known(method)
        # The span is named: what is current by now belongs to the work after the response.
        context = set_span_in_context(span)
        self._active.add(-1, {semconv.HTTP_METHOD: method, semconv.URL_SCHEME: scheme}, context)
        attributes = server_attributes((method, scheme, route, status, error_type, version))
        self._duration.record(seconds, attributes, context)


class ClientInstruments:
    """`ClientMeasure` over a meter that the service set up."""

    def __init__(self, meter: Meter) -> None:
        name, unit, about = semconv.METRIC_CLIENT_DURATION
        self._duration = meter.create_histogram(name, unit, about, explicit_bucket_boundaries_advisory=BOUNDS)

    def end(
        self,
        method: str,
        scheme: str,
        host: str,
        port: int | None,
        status: int,
        error_type: str | None,
        version: str,
        seconds: float,
        span: Span,
    ) -> None:
        """An attempt ends."""
        attributes = client_attributes((_known(method), scheme, host, port, status, error_type, version))
        self._duration.record(seconds, attributes, set_span_in_context(span))


def server_attributes(key: ServerKey) -> Attributes:
    """The attributes of a series of http.server.request.duration."""
    method, scheme, route, status, error_type, version = key
    if route == OVERFLOW:
        return _SURPLUS
    told: Attributes = {semconv.HTTP_METHOD: method, semconv.URL_SCHEME: scheme}
    if route is not None:
        told[semconv.HTTP_ROUTE] = route
    return _answered(told, status, error_type, version)


def client_attributes(key: ClientKey) -> Attributes:
    """The attributes of a series of http.client.request.duration."""
    method, scheme, host, port, status, error_type, version = key
    if host == OVERFLOW:
        return _SURPLUS
    told: Attributes = {semconv.HTTP_METHOD: method, semconv.URL_SCHEME: scheme, semconv.SERVER_ADDRESS: host}
    if port is not None:
        told[semconv.SERVER_PORT] = port
    return _answered(told, status, error_type, version)


def _answered(told: Attributes, status: int, error_type: str | None, version: str) -> Attributes:
    if status:
        told[semconv.HTTP_STATUS] = status
    if error_type is not None:
        told[semconv.ERROR_TYPE] = error_type
    if version:
        told[semconv.PROTOCOL_VERSION] = version
    return told


def under_way(begun: dict[tuple[str, str], int], ended: Iterable[tuple[ServerKey, int]]) -> dict[tuple[str, str], int]:
    """Requests by method and scheme that have begun and not ended."""
    found = dict(begun)
    for key, count in ended:
        pair = (key[0], key[1])
        found[pair] = found.get(pair, 0) - count
    return found
