"""Exporters that cannot hurt the service: one warning for a dead collector, everything lost is counted."""

import importlib
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SpanExporter, SpanExportResult

from ._sdk_log import listening, on_overflow, reason
from .settings import LOCAL, TracingSettings

__all__ = ["CountedExporter", "GuardedExporter", "build"]

_log = logging.getLogger("handrail")

_QUIET_FOR = 60.0
"""Seconds between two warnings about the same destination."""


class CountedExporter(SpanExporter):
    """An exporter that keeps the books; numbers are spans since the start of the process."""

    @property
    def exported(self) -> int:
        """Spans that the destination took."""
        raise NotImplementedError

    @property
    def dropped(self) -> int:
        """Spans that are lost: refused, unanswered, or pushed out of a full queue."""
        raise NotImplementedError

    def late(self, seconds: float) -> None:
        """Take note that somebody waited `seconds` for a flush and gave up."""
        raise NotImplementedError

    def force_flush(self, timeout_millis: int = 30000) -> bool:  # noqa: ARG002  (the SDK's signature)
        """Nothing is held here."""
        return True


class GuardedExporter(CountedExporter):
    """Hands spans to an exporter; never raises, warns at most once a minute, counts.

    `make` is called on the first export, on the exporting thread: importing and building the OTLP
    exporters costs up to a quarter of a second. It is called again after a fork, which neither
    gRPC channels nor shared connections survive.
    """

    def __init__(
        self, make: Callable[[], SpanExporter], destination: str, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.destination = destination
        self._exported = 0
        self._dropped = 0
        self._make = make
        self._now = now
        self._inner: SpanExporter | None = None
        self._pid = 0
        self._closed = False
        self._waiting = 0
        self._overflow = 0
        self._silent_until = -1.0
        self._failing = False
        on_overflow(self._pushed_out)

    @property
    def exported(self) -> int:
        """Spans that the destination took."""
        return self._exported

    @property
    def dropped(self) -> int:
        """Spans that are lost: refused, unanswered, or pushed out of a full queue."""
        return self._dropped

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export one batch; FAILURE where it is lost."""
        heard: list[str] = []

        def hear(message: str) -> None:
            heard.append(message)
            # The SDK goes on trying for ten seconds; the reader of the log should not wait for that.
            self._tell(reason(message))

        self._waiting += len(spans)
        try:
            with listening(hear):
                result = self._exporter().export(spans)
        except Exception as error:  # the exporting thread must survive whatever an exporter raises
            heard.append(f"{type(error).__name__}: {error}")
            result = SpanExportResult.FAILURE
        finally:
            self._waiting -= len(spans)
        if result is SpanExportResult.SUCCESS:
            self._succeeded(len(spans))
        else:
            self._dropped += len(spans)
            self._tell(reason(heard[-1]) if heard else "export failed")
        return result

    def late(self, seconds: float) -> None:
        """Say that a flush gave up after `seconds`."""
        self._tell(f"no answer within {seconds:g} s")

    def shutdown(self) -> None:
        """Stop exporting; an export under way gives up its retries."""
        self._closed = True
        if self._waiting:
            self._tell("no answer before the end")
        if self._inner is not None and self._pid == os.getpid():
            with listening(lambda _message: None):
                self._inner.shutdown()

    def _exporter(self) -> SpanExporter:
        if self._closed:
            raise RuntimeError("a span came after the end of tracing")
        if self._inner is None or self._pid != os.getpid():
            self._inner = self._make()
            self._pid = os.getpid()
        return self._inner

    def _succeeded(self, count: int) -> None:
        self._exported += count
        pushed_out, self._overflow = self._overflow, 0
        if pushed_out:
            self._tell("more spans than the queue holds (OTEL_BSP_MAX_QUEUE_SIZE)")
        elif self._failing:
            self._failing = False
            _log.info("spans reach %s again; %d were lost", self.destination, self._dropped)

    def _pushed_out(self) -> None:
        # On the thread of a request: only count. The exporting thread knows why the queue is full.
        self._dropped += 1
        self._overflow += 1

    def _tell(self, why: str) -> None:
        self._failing = True
        now = self._now()
        if now < self._silent_until:
            return
        self._silent_until = now + _QUIET_FOR
        counts = [
            f"{number} {what}" for number, what in ((self._waiting, "waiting"), (self._dropped, "lost")) if number
        ]
        _log.warning(
            "spans do not reach %s: %s (%s); requests are not affected",
            self.destination,
            why,
            ", ".join(counts) or "none lost yet",
        )


class _Several(CountedExporter):
    """Every exporter gets every span; each is guarded by itself."""

    def __init__(self, exporters: Sequence[GuardedExporter]) -> None:
        self._exporters = exporters

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        results = [exporter.export(spans) for exporter in self._exporters]
        return max(results, key=lambda result: result.value)

    def shutdown(self) -> None:
        for exporter in self._exporters:
            exporter.shutdown()

    def late(self, seconds: float) -> None:
        self._exporters[-1].late(seconds)

    @property
    def exported(self) -> int:
        return min(exporter.exported for exporter in self._exporters)

    @property
    def dropped(self) -> int:
        return max(exporter.dropped for exporter in self._exporters)


def build(settings: TracingSettings) -> CountedExporter | None:
    """The exporter for `settings`, or None where no spans are to leave (none named, or disabled).

    Raises ValueError for an exporter that `TracingSettings` does not know.
    """
    if settings.disabled or not settings.exporters:
        return None
    # The collector last: while it is dead, the others should not wait for it.
    exporters = [_one(name, settings) for name in sorted(settings.exporters, key=lambda name: name == "otlp")]
    return exporters[0] if len(exporters) == 1 else _Several(exporters)


def _one(name: str, settings: TracingSettings) -> GuardedExporter:
    if name == LOCAL:
        return GuardedExporter(lambda: _local(settings), f"the local store {settings.store}")
    if name == "console":
        return GuardedExporter(lambda: ConsoleSpanExporter(out=sys.stdout), "the console")
    if name == "otlp":
        if settings.protocol == "grpc":
            # Its import runs futures, which an exiting interpreter refuses: not as late as the first export.
            importlib.import_module("opentelemetry.exporter.otlp.proto.grpc.trace_exporter")
        return GuardedExporter(lambda: _otlp(settings), settings.endpoint or "the default OTLP endpoint")
    raise ValueError(f"no exporter is called {name!r}: otlp, console or {LOCAL}")


def _local(settings: TracingSettings) -> SpanExporter:
    from .local import LocalSpanExporter

    return LocalSpanExporter(settings.store, max_bytes=settings.store_max_bytes)


def _otlp(settings: TracingSettings) -> SpanExporter:
    if settings.protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter

        return GrpcExporter(endpoint=settings.endpoint)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter

    return HttpExporter(endpoint=settings.endpoint)
