"""Metrics leave on a thread of their own; a collector that is dead, or takes no metrics, hurts nobody.

Like the spans: one warning a minute at most, an end within its bound. A collector that does not know metrics at
all (Jaeger answers 404) is asked again every ten minutes, and that is said once.
"""

import importlib
import logging
import os
import re
import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, MetricExporter, MetricExportResult, MetricsData

from .. import redact
from ..export._quiet import Quiet, of_collector
from ..export._sdk_log import cause, listening
from ..settings import Metering

if TYPE_CHECKING:
    from ._points import Reader

__all__ = ["Destination", "Pump", "destinations"]

_log = logging.getLogger("handrail")

_PAUSE = 600.0
_UNKNOWN_HERE = re.compile(r"answered (404|405|501|UNIMPLEMENTED)\b")
"""What a collector without metrics says, over HTTP and gRPC."""


class Destination:
    """One exporter, made at the first export on the exporting thread, and again after a fork; never raises."""

    def __init__(
        self,
        make: Callable[[], MetricExporter],
        name: str,
        *,
        asked: bool = True,
        timeout: float = 30.0,
        now: Callable[[], float] = time.monotonic,
        quiet: Quiet | None = None,
    ) -> None:
        self.name = name
        self._make = make
        self._asked = asked
        self._timeout = timeout
        self._now = now
        self._inner: MetricExporter | None = None
        self._pid = 0
        self._quiet = quiet or Quiet()
        self._paused_until = -1.0
        self._failing = False
        self._refused = False
        self._closed = False

    def export(self, data: MetricsData) -> bool:
        """Hand everything over; False where it did not arrive."""
        if self._now() < self._paused_until:
            return False
        heard: list[str] = []

        def hear(message: str) -> None:
            heard.append(message)

        try:
            with listening(hear):
                done = self._exporter().export(data, timeout_millis=self._timeout * 1000) is MetricExportResult.SUCCESS
        except Exception as error:  # the exporting thread must survive whatever an exporter raises
            heard.append(f"{type(error).__name__}: {error}")
            done = False
        if done:
            if self._failing:
                self._failing = self._refused = False
                _log.info("metrics reach %s again", self.name)
        else:
            self._failed(cause(heard))
        return done

    def shutdown(self, *, waiting: bool = False) -> None:
        """Stop; an export under way on another thread gives up its retries. `waiting`: nobody waits for it."""
        if waiting and not self._closed:
            self._failed("no answer before the end")
        self._closed = True
        if self._inner is not None and self._pid == os.getpid():
            with listening(lambda _message: None):
                self._inner.shutdown()

    def _exporter(self) -> MetricExporter:
        if self._inner is None or self._pid != os.getpid():
            self._inner = self._make()
            self._pid = os.getpid()
        return self._inner

    def _failed(self, why: str) -> None:
        if self._closed:
            return  # said when it was closed
        self._failing = True
        now = self._now()
        if _UNKNOWN_HERE.search(why):
            self._paused_until = now + _PAUSE
            if not self._refused:
                self._refused = True
                level = logging.WARNING if self._asked else logging.INFO
                _log.log(
                    level,
                    "%s takes no metrics (%s): none are sent (said once). Jaeger takes spans alone; "
                    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT names a collector for metrics, OTEL_METRICS_EXPORTER=none "
                    "sends none",
                    self.name,
                    why,
                )
        elif self._quiet.due(now):
            _log.warning("metrics do not reach %s: %s; requests are not affected", self.name, why)


class Pump:
    """Collects and exports every `interval` seconds, and when asked to, on a daemon thread."""

    def __init__(self, reader: "Reader", destinations: list[Destination], interval: float) -> None:
        self._reader = reader
        self._destinations = destinations
        self._interval = interval
        self._stopped = False
        self._start()
        if hasattr(os, "register_at_fork"):
            again = weakref.WeakMethod(self._start)

            def in_child() -> None:
                start = again()
                if start is not None:
                    start()

            os.register_at_fork(after_in_child=in_child)

    # Made anew in a forked child.
    _lock: threading.Lock
    _wake: threading.Event
    _done: threading.Event
    _thread: threading.Thread
    _arrived: bool

    def flush(self, seconds: float) -> bool:
        """Export now; False where that was not done within `seconds`, or did not arrive."""
        return self.wait(self.ask(), seconds) and self._arrived

    def wait(self, done: threading.Event, seconds: float) -> bool:
        """Wait for what `ask` returned. Who gave up once does not wait again at the end."""
        in_time = done.wait(seconds)
        self._given_up = None if in_time else done
        return in_time

    def ask(self) -> threading.Event:
        """Export now, and set what is returned once that is done. Starts no thread, so it works at exit too."""
        with self._lock:
            if not self._thread.is_alive():
                self._done.set()
            elif self._done.is_set():
                self._done = threading.Event()
            done = self._done
        self._wake.set()
        return done

    def shutdown(self, seconds: float) -> None:
        """Export the rest and stop, within `seconds`."""
        if self._stopped:
            return
        self._stopped = True
        stuck = self._given_up is not None and not self._given_up.is_set()
        late = not self.ask().wait(0 if stuck else seconds)
        for destination in self._destinations:
            destination.shutdown(waiting=late and seconds > 0)

    def _start(self) -> None:
        if self._stopped:
            return
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._done = threading.Event()
        self._done.set()
        self._arrived = True
        self._given_up = None
        self._thread = threading.Thread(target=self._run, name="handrail-metrics", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with suppress_instrumentation():  # the exporter's own calls are nobody's CLIENT spans
            while True:
                self._wake.wait(self._interval)
                self._wake.clear()
                with self._lock:
                    done = self._done
                try:
                    self._export()
                except Exception:  # a callback of the service, say; the next round may go well
                    self._arrived = False
                    _log.exception("collecting metrics failed")
                done.set()
                if self._stopped:
                    return

    def _export(self) -> None:
        data = self._reader.gather()
        if data.resource_metrics:
            self._arrived = all([destination.export(data) for destination in self._destinations])  # noqa: C419  (each gets it)


def destinations(settings: Metering) -> list[Destination]:
    """What `settings` names. The collector last: while it is dead, the console should not wait for it."""
    found = []
    if "console" in settings.exporters:
        found.append(Destination(lambda: ConsoleMetricExporter(out=sys.stdout), "the console"))
    if "otlp" in settings.exporters:
        if settings.protocol == "grpc":
            # Its import runs futures, which an exiting interpreter refuses: not as late as the first export.
            importlib.import_module("opentelemetry.exporter.otlp.proto.grpc.metric_exporter")
        endpoint = settings.endpoint or "the default OTLP endpoint"
        found.append(
            Destination(
                lambda: _otlp(settings),
                redact.destination(endpoint),
                quiet=of_collector(endpoint),
                asked=settings.asked,
                timeout=settings.timeout,
            )
        )
    return found


def _otlp(settings: Metering) -> MetricExporter:
    if settings.protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcExporter

        return GrpcExporter(endpoint=settings.endpoint)
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpExporter

    return HttpExporter(endpoint=settings.endpoint)
