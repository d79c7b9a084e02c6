"""The SDK's own log lines about exporting, turned into one clear reason.

Its exporters write two to four lines for each failed batch. While one of our exports runs, the
lines of that thread come here instead; exporters that a service set up itself keep theirs.
"""

import logging
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from .. import redact

__all__ = ["cause", "listening", "reason"]

_EXPORTERS = (
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.exporter.otlp.proto.http.metric_exporter",
    "opentelemetry.exporter.otlp.proto.grpc.exporter",
    "opentelemetry.exporter.otlp.common.http",
    "urllib3.connectionpool",
)

Hear = Callable[[str], None]

_REASONS = (
    (re.compile(r"Connection refused|ECONNREFUSED", re.IGNORECASE), "connection refused"),
    (re.compile(r"getaddrinfo|Name or service not known|name resolution|DNS", re.IGNORECASE), "host name not found"),
    (re.compile(r"timed out|DEADLINE_EXCEEDED|due to timeout, max retries", re.IGNORECASE), "no answer in time"),
    (re.compile(r"batch code: (\d{3}), reason: (.*)", re.DOTALL), r"answered \1 \2"),
    (re.compile(r"error code: StatusCode\.(\w+), error details: (.*)", re.DOTALL), r"answered \1: \2"),
    (re.compile(r"Transient error (?:StatusCode\.)?(.+?) encountered", re.DOTALL), r"answered \1"),
)


def reason(message: str) -> str:
    """The SDK's message in a few words; at most 200 characters on one line."""
    for pattern, text in _REASONS:
        found = pattern.search(message)
        if found is not None:
            message = found.expand(text)
            break
    return redact.text(" ".join(message.split()))[:200]


def cause(messages: Sequence[str]) -> str:
    """The reason among what was heard during one export: the last words are often only that it gave up."""
    known = (message for message in messages if any(pattern.search(message) for pattern, _ in _REASONS))
    return reason(next(known, messages[-1])) if messages else "export failed"


@contextmanager
def listening(hear: Hear) -> Iterator[None]:
    """Hand what the SDK's exporters log on this thread to `hear`, and keep it out of the log."""
    for name in _EXPORTERS:
        filters = logging.getLogger(name).filters
        if _hush not in filters:
            # Before the SDK's own, which lets a line through once in 20 s, whatever it was about.
            filters.insert(0, _hush)
    outer = getattr(_hush.here, "hear", None)
    _hush.here.hear = hear
    try:
        yield
    finally:
        _hush.here.hear = outer


class _Hush(logging.Filter):
    def __init__(self) -> None:
        super().__init__()
        self.here = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        hear: Hear | None = getattr(self.here, "hear", None)
        if hear is None:
            return True
        if record.levelno >= logging.WARNING:
            hear(record.getMessage())
        return False


_hush = _Hush()
