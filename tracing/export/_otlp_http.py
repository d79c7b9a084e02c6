"""OTLP over HTTP: the SDK's exporter with all that it is configured by, given bytes, and its answers read.

The SDK takes every answer from 200 to 399 for success and reads none.
"""

from contextlib import suppress
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace.export import SpanExporter

from ._otlp_answer import judged

__all__ = ["HttpSender", "exporter"]

_MOST = 64 * 1024
"""Bytes of an answer that are read."""


class HttpSender(OTLPSpanExporter):
    """Raises AttributeError at its construction where the SDK's exporter is made otherwise than we know."""

    def __init__(self, endpoint: str | None) -> None:
        super().__init__(endpoint=endpoint)
        self._answer: tuple[int, str, bytes] = (0, "", b"")
        client: Any = self._client
        client._transport._session.hooks["response"].append(self._answered)
        _ = client.export, self._metrics.export_operation, self._max_request_size  # used below

    def send(self, request: bytes, count: int) -> tuple[int, str]:
        """Send the request, with the SDK's retries; how many of its `count` spans are lost, and why."""
        if 0 < self._max_request_size < len(request):
            return count, f"a batch of {len(request)} bytes is larger than the exporter's {self._max_request_size}"
        self._answer = (0, "", b"")
        with self._metrics.export_operation(count) as outcome:
            result = self._client.export(request)
            if not result.success:
                outcome.error = result.error
                return count, ""
        return judged(*self._answer, count)

    def _answered(self, response: Any, **_: object) -> None:
        """Read the answer, so much of it: one that breaks off or never ends has said that it took the spans."""
        body, whole = b"", False
        with suppress(Exception):
            body = response.raw.read(_MOST, decode_content=True)
            whole = not response.raw.read(1)
        response._content, response._content_consumed = body, True
        if not whole:
            with suppress(Exception):
                response.raw.close()
        self._answer = (response.status_code, response.headers.get("content-type", ""), body if whole else b"")


def exporter(endpoint: str | None) -> SpanExporter:
    """A sender of bytes; with an SDK that we do not know, its own exporter as it is."""
    try:
        return HttpSender(endpoint)
    except AttributeError:
        return OTLPSpanExporter(endpoint=endpoint)
