"""An exporter that cannot hurt the service: one warning for a dead collector, everything lost is counted."""

import logging
import os
import time
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from ._books import Books
from ._encode import encode
from ._encode_request import Item, join
from ._queue import Encode, Queued
from ._quiet import Quiet
from ._sdk_log import cause, listening, reason
from .health import Lost

__all__ = ["BOTH", "BYTES", "SPANS", "CountedExporter", "GuardedExporter", "Sender", "Writer"]

_log = logging.getLogger("handrail")

BYTES, SPANS, BOTH = (True, False), (False, True), (True, True)


@runtime_checkable
class Sender(Protocol):
    """An exporter that takes a request that is encoded already."""

    def send(self, request: bytes, count: int) -> tuple[int, str]:
        """Send a request of `count` spans: how many of them are lost, and why ("" where the SDK logged it)."""
        ...


@runtime_checkable
class Writer(Protocol):
    """An exporter with an encoding of its own, which is not OTLP protobuf."""

    def write(self, items: Sequence[Item]) -> None:
        """Export spans that are encoded already. Raises where that fails."""
        ...


class CountedExporter(SpanExporter):
    """An exporter that keeps the books; numbers are spans since the start of the process.

    `told` takes them out of the process, see `health.Told`.
    """

    told: Callable[[bool], None] = staticmethod(lambda _end: None)
    encoder: Encode = staticmethod(encode)
    """What encodes a span, where `wants` asks for that."""

    @property
    def exported(self) -> int:
        """Spans that the destination took."""
        raise NotImplementedError

    @property
    def dropped(self) -> int:
        """Spans that are lost: refused, unanswered, or not taken by a full queue."""
        raise NotImplementedError

    @property
    def wants(self) -> tuple[bool, bool]:
        """What `send` is to be given: encoded spans, the spans themselves."""
        return SPANS

    def send(self, batch: Sequence[Queued]) -> None:
        """Export what waited in the queue."""
        self.export([item[3] for item in batch if item[3] is not None])

    def lost(self, count: int, why: str, *, tell: bool = False) -> None:
        """Take note of spans that were lost before they came here; `tell` also logs it, at most once a minute."""
        raise NotImplementedError

    def late(self, seconds: float) -> None:
        """Take note that somebody waited `seconds` for a flush and gave up."""
        raise NotImplementedError

    def give_up(self) -> None:
        """The process ends: what is under way counts as lost."""

    def losses(self) -> list[Lost]:
        """What was lost on the way to each destination, for `health`."""
        return []

    def restart(self) -> None:
        """Count from zero: this is the child of a fork now."""

    def force_flush(self, timeout_millis: int = 30000) -> bool:  # noqa: ARG002  (the SDK's signature)
        """Nothing is held here."""
        return True


class GuardedExporter(CountedExporter):
    """Hands spans to an exporter; never raises, warns at most once a minute, counts.

    `make` is called on the first export, on the exporting thread: importing and building the OTLP
    exporters costs up to a quarter of a second. It is called again after a fork, which neither
    gRPC channels nor shared connections survive. `encoded` says that `make` is likely to give a `Sender`:
    until it is known, spans are kept in both forms. With an `encoder` it gives a `Writer` of that encoding.
    """

    def __init__(
        self,
        make: Callable[[], SpanExporter],
        destination: str,
        *,
        encoded: bool = False,
        encoder: Encode | None = None,
        now: Callable[[], float] = time.monotonic,
        quiet: Quiet | None = None,
    ) -> None:
        self.destination = destination
        self._books = Books(destination)
        self._make = make
        self._wants = BOTH if encoded else SPANS
        self._writes = encoder is not None
        if encoder is not None:
            self.encoder, self._wants = encoder, BYTES
        self._now = now
        self._inner: SpanExporter | None = None
        self._pid = 0
        self._closed = False
        self._waiting = 0
        self._overflow = ""
        self._quiet = quiet or Quiet()
        self._failing = False
        self._late = False

    @property
    def exported(self) -> int:
        """Spans that the destination took."""
        return self._books.exported

    @property
    def dropped(self) -> int:
        """Spans that are lost: refused, unanswered, or not taken by a full queue."""
        return self._books.lost

    @property
    def wants(self) -> tuple[bool, bool]:
        """Encoded spans where the exporter takes them; both forms until that is known."""
        return self._wants

    def send(self, batch: Sequence[Queued]) -> None:
        """Export what waited in the queue."""

        def work() -> tuple[int, str]:
            inner = self._exporter()
            if isinstance(inner, Sender):
                return inner.send(join([item[:3] for item in batch]), len(batch))
            if self._writes and isinstance(inner, Writer):
                inner.write([item[:3] for item in batch])
                return 0, ""
            spans = [item[3] for item in batch if item[3] is not None]
            failed = bool(spans) and inner.export(spans) is not SpanExportResult.SUCCESS
            return len(batch) if failed else len(batch) - len(spans), ""

        self._guarded(len(batch), work)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export one batch; FAILURE where it is lost."""

        def work() -> tuple[int, str]:
            return 0 if self._exporter().export(spans) is SpanExportResult.SUCCESS else len(spans), ""

        return SpanExportResult.FAILURE if self._guarded(len(spans), work) else SpanExportResult.SUCCESS

    def lost(self, count: int, why: str, *, tell: bool = False) -> None:
        """Count. On the thread of a request nothing is logged but with `tell`."""
        self._books.lose(count, why)
        if tell:
            self._tell(why)
        else:
            self._overflow = why

    def late(self, seconds: float) -> None:
        """Say that a flush gave up after `seconds`; what is under way shows as lost until it has arrived."""
        self._late = True
        self._tell(f"no answer within {seconds:g} s")

    def give_up(self) -> None:
        """The process ends: what is under way counts as lost, whatever comes of it."""
        if self._waiting:
            self._books.lose(self._waiting, "no answer before the end")
            self._books.closed = True

    def losses(self) -> list[Lost]:
        """What was lost on the way to the destination."""
        late = self._waiting if self._late and not self._books.closed else 0
        return self._books.losses(late)

    def restart(self) -> None:
        """Count from zero: this is the child of a fork now."""
        self._books = Books(self.destination)
        self._waiting = 0
        self._overflow = ""

    def shutdown(self) -> None:
        """Stop exporting; an export under way gives up its retries."""
        self._closed = True
        if self._waiting:
            self._tell("no answer before the end")
        if self._inner is not None and self._pid == os.getpid():
            with listening(lambda _message: None):
                self._inner.shutdown()

    def _guarded(self, count: int, work: Callable[[], tuple[int, str]]) -> int:
        """Run `work`; how many of the `count` spans are lost."""
        heard: list[str] = []

        def hear(message: str) -> None:
            heard.append(message)
            # The SDK goes on trying for ten seconds; the reader of the log should not wait for that.
            self._tell(reason(message))

        self._waiting += count
        try:
            with listening(hear):
                lost, why = work()
        except Exception as error:  # the exporting thread must survive whatever an exporter raises
            lost, why = count, reason(f"{type(error).__name__}: {error}")
        finally:
            self._waiting -= count
        self._books.deliver(count - lost)
        if lost:
            why = why or cause(heard)
            self._books.lose(lost, why)
            self._tell(why)
        else:
            self._succeeded()
        return lost

    def _exporter(self) -> SpanExporter:
        if self._closed:
            raise RuntimeError("a span came after the end of tracing")
        if self._inner is None or self._pid != os.getpid():
            self._inner = self._make()
            self._pid = os.getpid()
            self._wants = BYTES if self._writes or isinstance(self._inner, Sender) else SPANS
        return self._inner

    def _succeeded(self) -> None:
        self._late = False
        overflow, self._overflow = self._overflow, ""
        if overflow:
            self._tell(overflow)
        elif self._failing:
            self._failing = False
            _log.info("spans reach %s again; %d were lost", self.destination, self.dropped)

    def _tell(self, why: str) -> None:
        self._failing = True
        if not self._quiet.due(self._now()):
            return
        counts = [f"{number} {what}" for number, what in ((self._waiting, "waiting"), (self.dropped, "lost")) if number]
        _log.warning(
            "spans do not reach %s: %s (%s); requests are not affected",
            self.destination,
            why,
            ", ".join(counts) or "none lost yet",
        )
