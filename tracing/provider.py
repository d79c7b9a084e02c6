"""The tracer that handrail's spans come from: the service's own provider where it set one, else one of ours.

`start` belongs after the service's own set-up (application start or first request), since OpenTelemetry lets
nobody replace a provider.
"""

import atexit
import importlib.metadata
import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.trace import ProxyTracerProvider, Tracer, TracerProvider

from . import propagation, semconv
from .settings import TracingSettings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider as SdkTracerProvider

__all__ = ["Tracing", "start"]

_log = logging.getLogger("handrail")


class Tracing:
    """What `start` found or made. `ours` says whether handrail built the provider, and so ends it."""

    def __init__(self, provider: TracerProvider, *, ours: bool, stop: Callable[[float], None] | None = None) -> None:
        self.provider = provider
        self.ours = ours
        self.tracer: Tracer = provider.get_tracer(semconv.SCOPE, version(), semconv.SCHEMA_URL)
        self._stop = stop
        self._lock = threading.Lock()
        self._flushing: threading.Thread | None = None

    def flush(self, seconds: float) -> bool:
        """Export what is queued; False if that was not done within `seconds`.

        The SDK's own limit does not hold (a dead collector keeps it for 12 s and more), so the wait is ours.
        """
        force_flush = getattr(self.provider, "force_flush", None)
        if force_flush is None:
            return True
        with self._lock:
            thread = self._flushing
            if thread is None or not thread.is_alive():
                arguments = (force_flush, int(seconds * 1000))
                thread = threading.Thread(target=_quietly, args=arguments, name="handrail-flush", daemon=True)
                thread.start()
                self._flushing = thread
        thread.join(seconds)
        return not thread.is_alive()

    def shutdown(self, seconds: float) -> None:
        """Export what is queued and stop, within about `seconds`. A provider that is not ours stays up."""
        stop, self._stop = self._stop, None
        if stop is not None:
            stop(seconds)


def start(settings: TracingSettings) -> Tracing:
    """Use the provider that the service set, or build one and make it the global one."""
    if settings.disabled:
        return Tracing(trace.NoOpTracerProvider(), ours=False)
    present = trace.get_tracer_provider()
    if isinstance(present, ProxyTracerProvider):
        provider, stop = _build(settings)
        trace.set_tracer_provider(provider)
        present = trace.get_tracer_provider()
        if present is provider:
            propagation.install()
            made = Tracing(provider, ours=True, stop=stop)
            atexit.register(made.shutdown, settings.flush_timeout)
            return made
        stop(0)  # the service set its own between the two lines above
    propagation.install()
    return Tracing(present, ours=False)


def _build(settings: TracingSettings) -> "tuple[SdkTracerProvider, Callable[[float], None]]":
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
    from ._batch import Batch
    from .export import build

    exporter = build(settings)
    if exporter is None:
        return provider, lambda _seconds: None
    batch = Batch(exporter)
    provider.add_span_processor(batch)
    return provider, batch.stop


def _quietly(force_flush: Callable[[int], bool], limit: int) -> None:
    try:
        force_flush(limit)
    except Exception:
        _log.exception("the tracer provider of the service failed to flush")


def version() -> str:
    """The installed version of handrail."""
    try:
        return importlib.metadata.version("handrail")
    except importlib.metadata.PackageNotFoundError:  # run from a source tree that is not installed
        return "0"
