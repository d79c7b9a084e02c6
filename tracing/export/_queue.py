"""What waits for the exporter: encoded spans, bounded by number and by memory, without a lock."""

from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from ..spans._light import LightSpan
from ._encode import encode

__all__ = ["Encode", "Limits", "Queue", "Queued"]

Encode = Callable[[ReadableSpan], bytes]

Queued = tuple[bytes, Resource, InstrumentationScope | None, ReadableSpan | None, int]
"""(the encoded span or b"", its resource, its scope, the span itself where somebody wants it, size in bytes)"""

_OVERHEAD = 200
"""Bytes that an encoded span takes beyond its own: a tuple, and the heads of two objects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much may wait, and for how long. `delay` and `idle` are in seconds, `size` and `batch` in spans.

    A batch also ends at `batch_bytes`: collectors refuse gRPC messages beyond 4 MiB unless told otherwise.
    """

    size: int = 2048
    size_bytes: int = 16 * 1024 * 1024
    batch: int = 512
    batch_bytes: int = 2 * 1024 * 1024
    delay: float = 5.0
    idle: float = 0.5

    @classmethod
    def from_environ(cls, environ: Mapping[str, str], *, size_bytes: int, delay: float = 5.0) -> "Limits":
        """OTEL_BSP_*, of the OpenTelemetry specification. What is no positive number counts as unset.

        `delay` is the default of OTEL_BSP_SCHEDULE_DELAY, in seconds.
        """

        def number(name: str, default: int) -> int:
            text = (environ.get(f"OTEL_BSP_{name}") or "").strip()
            return int(text) if text.isascii() and text.isdigit() and int(text) else default

        size = number("MAX_QUEUE_SIZE", 2048)
        return cls(
            size=size,
            size_bytes=size_bytes,
            batch=min(size, number("MAX_EXPORT_BATCH_SIZE", 512)),
            delay=number("SCHEDULE_DELAY", round(delay * 1000)) / 1000,
        )


class Queue:
    """Many threads put, one takes. `encodes` and `keeps`: whether bytes, spans or both are wanted; OTLP by default.

    The number of bytes is two counters, each written without a lock: what is lost between two threads is put right
    as soon as the queue is empty.
    """

    def __init__(self, limits: Limits, encoder: Encode = encode) -> None:
        self.limits = limits
        self.encoder = encoder
        self.encodes = True
        self.keeps = True
        self.items: deque[Queued] = deque()
        self.added = 0
        self._taken = 0

    def __len__(self) -> int:
        return len(self.items)

    @property
    def full(self) -> str:
        """Which bound is reached, in words; empty where there is room."""
        if len(self.items) >= self.limits.size:
            return "OTEL_BSP_MAX_QUEUE_SIZE"
        return "queue_max_bytes" if self.added - self._taken >= self.limits.size_bytes else ""

    def put(self, span: ReadableSpan) -> bool:
        """Encode and append; False where the queue is full. Raises what the encoder raises."""
        items, limits = self.items, self.limits
        if len(items) >= limits.size or self.added - self._taken >= limits.size_bytes:
            return False
        body = self.encoder(span) if self.encodes else b""
        resource: Resource
        scope: InstrumentationScope | None
        if span.__class__ is LightSpan:
            origin = span._origin
            resource, scope = origin.resource, origin.scope
        else:
            resource, scope = span.resource, span.instrumentation_scope
        if self.keeps:
            size = len(body) + _weight(span)
            self.added += size
            items.append((body, resource, scope, span, size))
        else:
            size = len(body) + _OVERHEAD
            self.added += size
            items.append((body, resource, scope, None, size))
        return True

    def take(self) -> list[Queued]:
        """The oldest spans, at most a batch; empty where nothing waits."""
        items, limits = self.items, self.limits
        batch: list[Queued] = []
        size = 0
        with suppress(IndexError):  # empty, or emptied at the end of the process
            while len(batch) < limits.batch and (not batch or size + items[0][4] <= limits.batch_bytes):
                batch.append(items.popleft())
                size += batch[-1][4]
        self._taken += size
        if not items:
            self._taken = self.added
        return batch


def _weight(span: ReadableSpan) -> int:
    """About what a span takes in memory."""
    found = 1000 + _texts(span.attributes)
    for event in span.events:
        found += 500 + _texts(event.attributes)
    return found + sum(500 + _texts(link.attributes) for link in span.links)


def _texts(attributes: Mapping[str, object] | None) -> int:
    found = 0
    for value in (attributes or {}).values():
        found += 150 + (len(value) if isinstance(value, (str, bytes, tuple, list)) else 0)
    return found
