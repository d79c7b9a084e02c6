"""The exporters that the settings ask for, each guarded: none of them can hurt the service, all of them are counted."""

import importlib
import sys
from collections.abc import Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SpanExporter, SpanExportResult

from .. import redact
from ..settings import LOCAL, TracingSettings
from ._guarded import CountedExporter, GuardedExporter
from ._queue import Encode, Queued
from ._quiet import of_collector
from .health import Lost

__all__ = ["build"]


class _Several(CountedExporter):
    """Every exporter gets every span; each is guarded by itself."""

    def __init__(self, exporters: Sequence[GuardedExporter]) -> None:
        self._exporters = exporters

    @property
    def wants(self) -> tuple[bool, bool]:
        wants = [exporter.wants for exporter in self._exporters]
        return any(encoded for encoded, _ in wants), any(kept for _, kept in wants)

    def send(self, batch: Sequence[Queued]) -> None:
        for exporter in self._exporters:
            exporter.send(batch)

    def lost(self, count: int, why: str, *, tell: bool = False) -> None:
        for exporter in self._exporters:
            exporter.lost(count, why, tell=tell)

    def restart(self) -> None:
        for exporter in self._exporters:
            exporter.restart()

    def give_up(self) -> None:
        for exporter in self._exporters:
            exporter.give_up()

    def losses(self) -> list[Lost]:
        return [lost for exporter in self._exporters for lost in exporter.losses()]

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
    names = sorted(settings.exporters, key=lambda name: name == "otlp")
    exporters = [_one(name, settings, alone=len(names) == 1) for name in names]
    return exporters[0] if len(exporters) == 1 else _Several(exporters)


def _one(name: str, settings: TracingSettings, *, alone: bool) -> GuardedExporter:
    if name == LOCAL:
        encoder: Encode | None = None
        if alone:  # spans are encoded once, as they end: beside a collector for that
            from ..local.span import encode as encoder
        return GuardedExporter(lambda: _local(settings), f"the local store {settings.store}", encoder=encoder)
    if name == "console":
        return GuardedExporter(lambda: ConsoleSpanExporter(out=sys.stdout), "the console")
    if name == "otlp":
        if settings.protocol == "grpc":
            # Its import runs futures, which an exiting interpreter refuses: not as late as the first export.
            importlib.import_module("opentelemetry.exporter.otlp.proto.grpc.trace_exporter")
        destination = settings.endpoint or "the default OTLP endpoint"
        shared = of_collector(destination)
        return GuardedExporter(lambda: _otlp(settings), redact.destination(destination), encoded=True, quiet=shared)
    raise ValueError(f"no exporter is called {name!r}: otlp, console or {LOCAL}")


def _local(settings: TracingSettings) -> SpanExporter:
    from ..local.store import LocalSpanExporter

    return LocalSpanExporter(settings.store, max_bytes=settings.store_max_bytes)


def _otlp(settings: TracingSettings) -> SpanExporter:
    if settings.protocol == "grpc":
        from ._otlp_grpc import exporter as grpc

        return grpc(settings.endpoint)
    from ._otlp_http import exporter as http

    return http(settings.endpoint)
