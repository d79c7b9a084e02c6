"""Where spans go: does the collector take them, can the store be written? Nothing is left behind."""

import http.client
import os
import shutil
import socket
import ssl
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ..tracing.export import health
from ..tracing.redact import destination as without_secret
from ..tracing.settings import TracingSettings
from ._findings import Finding

__all__ = ["TIMEOUT", "collector", "lost", "store", "without_secret"]

TIMEOUT = 2.0
"""Seconds for each step of asking the collector."""

VARIABLES = frozenset(
    {
        "OTEL_TRACES_EXPORTER",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "OTEL_EXPORTER_OTLP_PROTOCOL",
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    }
)
"""Where one of them cannot be used, nobody knows which collector is meant."""

_GRPC_PORT = 4317
_SHOWN = 5
"""Entries about lost spans."""

_HINTS = {
    401: "set the credentials in OTEL_EXPORTER_OTLP_HEADERS",
    403: "set the credentials in OTEL_EXPORTER_OTLP_HEADERS",
    404: "OTLP over HTTP usually ends in /v1/traces: set OTEL_EXPORTER_OTLP_ENDPOINT to the base URL",
    405: "this is not an OTLP port: Jaeger's is 4318, its web page is on 16686",
    415: "the port speaks another protocol: set OTEL_EXPORTER_OTLP_PROTOCOL",
}


def collector(settings: TracingSettings, environ: Mapping[str, str]) -> Finding | None:
    """Send an export request that holds no span; None where the collector takes it."""
    url = settings.endpoint
    if url is None or "otlp" not in settings.exporters:
        return None
    parts = urlsplit(url)
    host = parts.hostname or "localhost"
    try:
        if settings.protocol == "grpc":
            with socket.create_connection((host, parts.port or _GRPC_PORT), TIMEOUT):
                return None
        status = _post(url, environ)
    except (OSError, http.client.HTTPException) as error:
        return _unreachable(url, _reason(error), _MAYBE_GRPC if _other_protocol(error, parts.port) else _ABSENT)
    if status < 300:
        return None
    return _unreachable(url, f"it answers {status}", _HINTS.get(status, "see the collector's log"))


_ABSENT = "start the collector, or correct OTEL_EXPORTER_OTLP_ENDPOINT"
_MAYBE_GRPC = (
    "this port may speak gRPC: set OTEL_EXPORTER_OTLP_PROTOCOL=grpc (pip install 'handrail[grpc]'), "
    "or name the collector's port for OTLP over HTTP, usually 4318"
)


def _other_protocol(error: Exception, port: int | None) -> bool:
    """Somebody is there, and hangs up on HTTP."""
    if isinstance(error, http.client.HTTPException | ConnectionResetError | BrokenPipeError):
        return True
    return port == _GRPC_PORT and not isinstance(error, ConnectionRefusedError | socket.gaierror)


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer in {TIMEOUT:g} s"
    if isinstance(error, socket.gaierror):
        return "the host name is not known"
    if isinstance(error, ConnectionResetError):
        return "the connection was closed without an answer"
    if isinstance(error, http.client.HTTPException):
        return "what answers does not speak HTTP"
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def _unreachable(url: str, why: str, mend: str) -> Finding:
    what = f"the collector does not take spans: {why}"
    return Finding(id="HR010", severity="error", what=what, where=without_secret(url), mend=mend)


def _post(url: str, environ: Mapping[str, str]) -> int:
    parts = urlsplit(url)
    host = parts.hostname or "localhost"
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        trusted = _either(environ, "CERTIFICATE") or None
        context = ssl.create_default_context(cafile=trusted)
        connection = http.client.HTTPSConnection(host, parts.port, timeout=TIMEOUT, context=context)
    else:
        connection = http.client.HTTPConnection(host, parts.port, timeout=TIMEOUT)
    try:
        # An empty protobuf message is a valid export request without spans.
        headers = {"Content-Type": "application/x-protobuf", **_headers(environ)}
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", target, body=b"", headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def _either(environ: Mapping[str, str], name: str) -> str:
    return environ.get(f"OTEL_EXPORTER_OTLP_TRACES_{name}") or environ.get(f"OTEL_EXPORTER_OTLP_{name}", "")


def _headers(environ: Mapping[str, str]) -> dict[str, str]:
    pairs = (pair.partition("=") for pair in _either(environ, "HEADERS").split(",") if "=" in pair)
    return {unquote(name.strip()): unquote(value.strip()) for name, _, value in pairs}


def store(settings: TracingSettings) -> Finding | None:
    """Whether a file could be made in the local store, and whether its bound fits on the disk."""
    if "local" not in settings.exporters:
        return None
    folder = settings.store
    base = next(path for path in (folder, *folder.parents) if path.exists())
    problem = _unwritable(base)
    if problem is not None:
        return Finding(
            id="HR011",
            severity="error",
            what=f"the local store cannot be written: {problem}",
            where=str(folder),
            mend="set HANDRAIL_TRACES_DIR to a folder that the service may write",
        )
    free = shutil.disk_usage(base).free
    if free < settings.store_max_bytes:
        return Finding(
            id="HR014",
            severity="warning",
            what=f"the disk has {free >> 20} MiB left, the local store may take {settings.store_max_bytes >> 20} MiB",
            where=str(folder),
            mend="free some space, or lower HANDRAIL_TRACES_MAX_BYTES",
        )
    return None


def lost(settings: TracingSettings) -> list[Finding]:
    """What processes that share the settings have lost, the newest few: they say it beside the local store."""
    return [
        Finding(
            id="HR015",
            severity="warning",
            what=f"{entry.count} {'span' if entry.count == 1 else 'spans'} lost since {_clock(entry.since)}, "
            f"last at {_clock(entry.last)}, {entry.exported} arrived: {entry.reason}",
            where=f"{entry.destination}, from {entry.service or 'a process'}, "
            f"{'pid' if entry.alive else 'ended, pid'} {entry.pid}",
            mend="see what the reason says; for bursts raise OTEL_BSP_MAX_QUEUE_SIZE or HANDRAIL_QUEUE_MAX_BYTES",
        )
        for entry in health.lost(settings.store)[:_SHOWN]
    ]


def _clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _unwritable(base: Path) -> str | None:
    if not base.is_dir():
        return f"{base} is not a folder"
    if not os.access(base, os.W_OK | os.X_OK):
        return f"no right to write in {base}"
    try:
        # Rights alone do not say that the disk takes a byte.
        with tempfile.TemporaryFile(dir=base) as probe:
            probe.write(b"\0")
    except OSError as error:
        return f"{error.strerror} in {base}"
    return None
