"""Exporters that cannot hurt the service: one warning for a dead collector, everything lost is counted.

The SDK's exporters log two to four lines for each failed batch; their lines are held back while
one of ours is exporting, and the last of them becomes the reason in our own warning.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SpanExporter, SpanExportResult

from .settings import LOCAL, TracingSettings

__all__ = ["GuardedExporter", "build"]

_log = logging.getLogger("handrail")
_SDK_LOGGERS = (
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.exporter.otlp.proto.grpc.exporter",
    "opentelemetry.exporter.otlp.common.http",
    "urllib3.connectionpool",
)
_QUIET_FOR = 60.0
"""Seconds between two warnings about the same destination."""


class _Hush(logging.Filter):
    """Holds back what the SDK says on a thread that is inside one of our exports."""

    def __init__(self) -> None:
        super().__init__()
        self.here = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        heard: list[str] | None = getattr(self.here, "heard", None)
        if heard is None:
            return True
        heard.append(record.getMessage())
        return False


_hush = _Hush()


class GuardedExporter(SpanExporter):
    """Hands spans to `inner`; never raises, never says more than a line a minute, counts.

    `exported` and `dropped` are numbers of spans since the start of the process.
    """

    def __init__(self, inner: SpanExporter, destination: str, *, now: Callable[[], float] = time.monotonic) -> None:
        self.inner = inner
        self.destination = destination
        self.exported = 0
        self.dropped = 0
        self._now = now
        self._silent_until = 0.0
        self._untold = 0
        for name in _SDK_LOGGERS:
            logging.getLogger(name).addFilter(_hush)  # adding it twice is the same as once

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export one batch; FAILURE where it is lost."""
        heard: list[str] = []
        _hush.here.heard = heard
        try:
            result = self.inner.export(spans)
        except Exception as error:
            heard.append(f"{type(error).__name__}: {error}")
            result = SpanExportResult.FAILURE
        finally:
            _hush.here.heard = None
        if result is SpanExportResult.SUCCESS:
            self.exported += len(spans)
            self._untold = 0
            return result
        self.dropped += len(spans)
        self._tell(len(spans), heard)
        return result

    def _tell(self, lost: int, heard: list[str]) -> None:
        self._untold += lost
        now = self._now()
        if now < self._silent_until:
            return
        self._silent_until = now + _QUIET_FOR
        _log.warning(
            "cannot export spans to %s: %s; %d lost (%d in all), requests are not affected",
            self.destination,
            _reason(heard),
            self._untold,
            self.dropped,
        )
        self._untold = 0

    def shutdown(self) -> None:
        """Stop exporting; an export under way gives up its retries."""
        self.inner.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Nothing is held here."""
        return self.inner.force_flush(timeout_millis)


class _Several(SpanExporter):
    """Every exporter gets every span; each is guarded by itself."""

    def __init__(self, exporters: Sequence[GuardedExporter]) -> None:
        self._exporters = exporters

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        results = [exporter.export(spans) for exporter in self._exporters]
        return max(results, key=lambda result: result.value)

    def shutdown(self) -> None:
        for exporter in self._exporters:
            exporter.shutdown()

    @property
    def exported(self) -> int:
        return min(exporter.exported for exporter in self._exporters)

    @property
    def dropped(self) -> int:
        return max(exporter.dropped for exporter in self._exporters)


def build(settings: TracingSettings) -> GuardedExporter | _Several | None:
    """The exporter for `settings`, or None where no spans are to leave ("none", or disabled)."""
    if settings.disabled or not settings.exporters:
        return None
    exporters = [_one(name, settings) for name in settings.exporters]
    return exporters[0] if len(exporters) == 1 else _Several(exporters)


def _one(name: str, settings: TracingSettings) -> GuardedExporter:
    if name == LOCAL:
        from .local import LocalSpanExporter

        return GuardedExporter(
            LocalSpanExporter(settings.store, max_bytes=settings.store_max_bytes), f"the local store {settings.store}"
        )
    if name == "console":
        return GuardedExporter(ConsoleSpanExporter(), "the console")
    if name != "otlp":
        raise ValueError(f"no exporter is called {name!r}: otlp, console or {LOCAL}")
    return GuardedExporter(_otlp(settings), settings.endpoint or "the default OTLP endpoint")


def _otlp(settings: TracingSettings) -> SpanExporter:
    # Imported here: 150 ms for HTTP, 236 ms for gRPC over bare Python.
    if settings.protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as Grpc

        return Grpc(endpoint=settings.endpoint)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(endpoint=settings.endpoint)


def _reason(heard: list[str]) -> str:
    return heard[0].strip() if heard else "export failed"
