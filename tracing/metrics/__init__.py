"""Metrics of this process: whose provider holds them, where they go, and what the layers tell them.

Where the service set a MeterProvider of its own, ours are ordinary instruments in it: its readers and views apply,
and there is one set. Where it has none, one of ours becomes the global one, so that the service's own instruments
leave in the same export; the HTTP metrics are then added up by hand (`_cells`), and a second set of the
same names, which other instrumentation would record, is dropped.
"""

import functools
import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from opentelemetry import metrics as api

from .. import semconv
from .._quietly import told
from ..lifecycle import at_end
from ..measure import ClientMeasure, ServerMeasure
from ..others import _metrics as _others_metrics
from ..provider import version
from ..settings import TracingSettings
from ._http import ClientInstruments, ClientTable, ServerInstruments, ServerTable

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter, MeterProvider
    from opentelemetry.sdk.metrics import MeterProvider as SdkMeterProvider
    from opentelemetry.sdk.resources import Resource
    from prometheus_client.registry import Collector

    from ._export import Pump
    from ._points import Reader

__all__ = ["Metrics", "collector", "start"]

_log = logging.getLogger("handrail")

_HTTP = (semconv.METRIC_SERVER_DURATION, semconv.METRIC_SERVER_ACTIVE, semconv.METRIC_CLIENT_DURATION)

_current: "Metrics | None" = None
_built: "SdkMeterProvider | None" = None
"""The provider that we made the global one: it stays that, also where handrail is switched off and on again."""


class Metrics:
    """What `start` found or made. `server` and `client` are told about requests; None of both: nobody listens."""

    def __init__(
        self,
        *,
        ours: bool,
        server: ServerMeasure | None = None,
        client: ClientMeasure | None = None,
        pump: "Pump | None" = None,
        scraped: "Reader | None" = None,
        leave: Callable[[], None] = lambda: None,
    ) -> None:
        self.ours = ours
        self.server = server
        self.client = client
        self.scraped = scraped
        """What the Prometheus endpoint reads; None where none is asked for."""
        self._pump = pump
        self._leave = leave

    @property
    def meter(self) -> "Meter":
        """For what is rare: instruments of the global provider, whosever it is."""
        return api.get_meter(semconv.SCOPE, version(), schema_url=semconv.SCHEMA_URL)

    def ask(self) -> "Callable[[float], bool]":
        """Begin an export now; what is returned waits for its end, at most some seconds."""
        if self._pump is None:
            return lambda _seconds: True
        pump, done = self._pump, self._pump.ask()
        return lambda seconds: pump.wait(done, seconds)

    def flush(self, seconds: float) -> bool:
        """Export now; False where that was not done within `seconds`, or did not arrive."""
        return self._pump is None or self._pump.flush(seconds)

    def shutdown(self, seconds: float) -> None:
        """Export the rest and stop, within `seconds`. A provider that is not ours stays up."""
        if self._pump is not None:
            self._pump.shutdown(seconds)
        leave, self._leave = self._leave, lambda: None
        leave()


def start(settings: TracingSettings, resource: "Callable[[], Resource | None]" = lambda: None) -> Metrics:
    """Use the provider that the service set, or build one where metrics have somewhere to go.

    `resource` is asked at each export: it is that of the spans, which changes with a fork. Never raises.
    """
    global _current
    try:
        _current = _started(settings, resource)
    except Exception as error:  # as for the spans
        told("there are no metrics, for their provider cannot be made", error)
        _current = Metrics(ours=False)
    _others_metrics.listening(to="nobody" if _current.server is None else "ours" if _current.ours else "theirs")
    return _current


def _started(settings: TracingSettings, resource: "Callable[[], Resource | None]") -> Metrics:
    if settings.disabled or not settings.telling.metrics:
        return Metrics(ours=False)
    present = api.get_meter_provider()
    if not _is_nobodys(present) and present is not _built:
        return _in_theirs(present, settings)
    if not settings.metering.exporters and not settings.telling.prometheus_path:
        return Metrics(ours=False)
    return _in_ours(settings, resource)


def _is_nobodys(provider: "MeterProvider") -> bool:
    # The API has no public name for the provider that stands in until one is set.
    return type(provider).__name__ == "_ProxyMeterProvider"


def _in_theirs(provider: Any, settings: TracingSettings) -> Metrics:
    if isinstance(provider, api.NoOpMeterProvider):
        return Metrics(ours=False)
    meter = provider.get_meter(semconv.SCOPE, version(), schema_url=semconv.SCHEMA_URL)
    scraped = None
    if settings.telling.prometheus_path:
        from ._points import Reader

        scraped = Reader(None)
        try:
            provider.add_metric_reader(scraped)
        except AttributeError:
            scraped = None
            _log.warning(
                "%s has no metrics to show: the service's %s takes no further reader",
                settings.telling.prometheus_path,
                type(provider).__name__,
            )
    return Metrics(ours=False, server=ServerInstruments(meter), client=ClientInstruments(meter), scraped=scraped)


def _in_ours(settings: TracingSettings, resource: "Callable[[], Resource | None]") -> Metrics:
    from opentelemetry.sdk.resources import Resource

    from ._export import Pump, destinations
    from ._points import Ours, Reader

    made = resource() or Resource.create({"service.name": settings.service_name})
    provider = _provider(made)
    if provider is None:
        return _in_theirs(api.get_meter_provider(), settings)
    server = ServerTable(exemplars=settings.metering.exemplars)
    client = ClientTable(exemplars=settings.metering.exemplars)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=server.table.reset)
        os.register_at_fork(after_in_child=client.table.reset)
    cells = Ours(server, client, version(), lambda: resource() or made)
    readers: list[Reader] = []
    pump = scraped = None
    targets = destinations(settings.metering)
    if targets:
        readers.append(Reader(cells, settings.metering.temporality))
        pump = Pump(readers[0], targets, settings.metering.interval)
    if settings.telling.prometheus_path:
        readers.append(scraped := Reader(cells, keep_exemplars=True))
    for reader in readers:
        provider.add_metric_reader(reader)

    def leave() -> None:
        for reader in readers:
            provider.remove_metric_reader(reader)

    found = Metrics(ours=True, server=server, client=client, pump=pump, scraped=scraped, leave=leave)
    at_end(functools.partial(found.shutdown, settings.flush_timeout))
    return found


def _provider(resource: "Resource") -> "SdkMeterProvider | None":
    """Ours, as the global one; None where the service was quicker."""
    global _built
    if _built is not None and api.get_meter_provider() is _built:
        return _built
    from opentelemetry.sdk.metrics import MeterProvider as SdkMeterProvider
    from opentelemetry.sdk.metrics.view import DropAggregation, View

    # Ours do not pass through the SDK; whoever records these names there, records them a second time.
    doubles = [View(instrument_name=name, aggregation=DropAggregation()) for name, _, _ in _HTTP]
    provider = SdkMeterProvider(resource=resource, shutdown_on_exit=False, views=doubles)
    api.set_meter_provider(provider)
    if api.get_meter_provider() is not provider:
        return None
    _built = provider
    return provider


def collector() -> "Collector":
    """What shows this process's metrics in a Prometheus registry of the service: `REGISTRY.register(collector())`.

    Needs a `prometheus_path`, or there is nothing to read from, and the collector is empty.
    """
    from ._prometheus import Families

    return Families(lambda: _current.scraped if _current is not None else None)
