"""Whether there is a collector to send the demo's spans to: the one that is set, or a Jaeger on its usual ports."""

import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

__all__ = ["Collector", "find"]

UI_PORT, OTLP_PORT = 16686, 4318


@dataclass(frozen=True, slots=True)
class Collector:
    """`environ` holds the OTEL_* variables that lead to it."""

    host: str
    environ: dict[str, str]

    def trace_url(self, trace_id: str) -> str:
        """Where Jaeger shows a trace."""
        return f"http://{self.host}:{UI_PORT}/trace/{trace_id}"


def find(environ: Mapping[str, str]) -> Collector | None:
    """The collector that OTEL_EXPORTER_OTLP_* names, else a Jaeger that listens on this machine, else None."""
    wanted = {name: value for name, value in environ.items() if name.startswith("OTEL_EXPORTER_OTLP_") and value}
    endpoint = wanted.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or wanted.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    if endpoint:
        return Collector(urlsplit(endpoint).hostname or "127.0.0.1", wanted)
    if _listens(OTLP_PORT) and _listens(UI_PORT):
        return Collector("127.0.0.1", {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{OTLP_PORT}"})
    return None


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.5):
        return True
    return False
