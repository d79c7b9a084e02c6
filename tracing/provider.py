"""The tracer that handrail's spans come from: the service's own provider where it set one, else one of ours.

`start` belongs after the service's own set-up (application start or first request), since OpenTelemetry lets
nobody replace a provider.
"""

import functools
import importlib.metadata
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.trace import ProxyTracerProvider, TracerProvider

from . import propagation, semconv
from ._quietly import told
from .lifecycle import Flusher, at_end
from .settings import LOCAL, TracingSettings
from .spans.tracer import LightTracer, light

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider as SdkTracerProvider

    from .export._guarded import CountedExporter

__all__ = ["Tracing", "start"]

Stop = Callable[[float], None]


class Tracing:
    """What `start` found or made. `ours` says whether handrail built the provider, and so ends it."""

    def __init__(
        self,
        provider: TracerProvider,
        *,
        ours: bool,
        stop: Stop | None = None,
        exporter: "CountedExporter | None" = None,
    ) -> None:
        self.provider = provider
        self.ours = ours
        self.tracer: LightTracer = light(provider.get_tracer(semconv.SCOPE, version(), semconv.SCHEMA_URL))
        self._stop = stop
        force_flush = getattr(provider, "force_flush", None)
        self._flusher = Flusher(force_flush, exporter) if force_flush is not None else None
        self._exporter = exporter

    @property
    def exported(self) -> int:
        """Spans of this process that their destination took; 0 where the exporter is not ours."""
        return 0 if self._exporter is None else self._exporter.exported

    @property
    def dropped(self) -> int:
        """Spans of this process that are lost: refused, unanswered, or more than the queue holds."""
        return 0 if self._exporter is None else self._exporter.dropped

    def flush(self, seconds: float) -> bool:
        """Export what is queued; False if that was not done within `seconds`, or spans were lost.

        The SDK's own limit does not hold (a dead collector keeps it for 12 s and more), so the wait is ours.
        """
        if self._flusher is None or self._flusher(seconds):
            return True
        if self._exporter is not None:
            self._exporter.told(True)  # a server may end by its signal now, without a word
        return False

    def shutdown(self, seconds: float) -> None:
        """Export what is queued and stop, within about `seconds`. A provider that is not ours stays up."""
        stop, self._stop = self._stop, None
        if stop is not None:
            # A flush that is stuck has had its time already.
            stop(0 if self._flusher is not None and self._flusher.stuck else seconds)


def start(settings: TracingSettings) -> Tracing:
    """Use the provider that the service set, or build one and make it the global one.

    Never raises: a provider that cannot be had is logged once, as an error, and there are no spans then.
    """
    if settings.disabled:
        return Tracing(trace.NoOpTracerProvider(), ours=False)
    try:
        return _started(settings)
    except Exception as error:  # whatever OpenTelemetry, a plugin of it or the service's own provider raises
        told("there are no spans, for their provider cannot be made", error)
        return Tracing(trace.NoOpTracerProvider(), ours=False)


def _started(settings: TracingSettings) -> Tracing:
    present = trace.get_tracer_provider()
    if isinstance(present, ProxyTracerProvider):
        provider, stop, exporter = _build(settings)
        trace.set_tracer_provider(provider)
        present = trace.get_tracer_provider()
        if present is provider:
            propagation.install()
            made = Tracing(provider, ours=True, stop=stop, exporter=exporter)
            at_end(functools.partial(made.shutdown, settings.flush_timeout))
            return made
        stop(0)  # the service set its own between the two lines above
    propagation.install()
    return Tracing(present, ours=False)


def _build(settings: TracingSettings) -> "tuple[SdkTracerProvider, Stop, CountedExporter | None]":
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider as SdkTracerProvider

    resource = Resource.create(
        {
            "service.name": settings.service_name,
            "telemetry.distro.name": semconv.SCOPE,
            "telemetry.distro.version": version(),
        }
    )
    provider = SdkTracerProvider(resource=resource, shutdown_on_exit=False)
    from .export._batch import Batch
    from .export._queue import Limits
    from .export.build import build
    from .export.health import Told

    exporter = build(settings)
    if exporter is None:
        return provider, lambda _seconds: None, None
    # A file costs nothing to write to, and whoever reads it is waiting for it.
    delay = 0.5 if settings.exporters == (LOCAL,) else 5.0
    exporter.told = Told(settings.store, settings.service_name, exporter.losses)
    batch = Batch(
        exporter,
        Limits.from_environ(os.environ, size_bytes=settings.queue_max_bytes, delay=delay),
        flush_timeout=settings.flush_timeout,
        after=exporter.told,
    )
    provider.add_span_processor(batch)
    return provider, batch.stop, exporter


def version() -> str:
    """The installed version of handrail."""
    try:
        return importlib.metadata.version("handrail")
    except importlib.metadata.PackageNotFoundError:  # run from a source tree that is not installed
        return "0"
