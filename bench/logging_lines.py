"""A line of the standard library's logging within a span, formatted and written to nowhere."""

import io
import logging
from collections.abc import Callable

from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import use_span

from .providers import everything
from .work import Contender, Work

__all__ = ["CONTENDERS"]


class _Nowhere(io.TextIOBase):
    def write(self, text: str) -> int:
        """Take it and drop it."""
        return len(text)


def _nothing() -> None:
    pass


def _correlated() -> None:
    from handrail.tracing import logs

    logs.install("bench")


def _json() -> None:
    from handrail.tracing import logs

    logs.install("bench", json=True)


def _work(switch_on: Callable[[], None]) -> Callable[[SpanProcessor], Work]:
    def make(processor: SpanProcessor) -> Work:
        handler = logging.StreamHandler(_Nowhere())
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
        log = logging.getLogger("orders")
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        log.propagate = False
        switch_on()
        span = everything(processor).get_tracer("bench").start_span("GET /items/{id}")

        async def once() -> None:
            with use_span(span):
                for number in range(10):
                    log.info("order %d of %s", number, "somebody")

        return Work(once, told=lambda: "ten lines within a span")

    return make


CONTENDERS = [
    Contender("line", "a log line", _work(_nothing), units=10),
    Contender("line-ids", "trace ids on a log line", _work(_correlated), "line", units=10),
    Contender("line-json", "the line as JSON, with its ids", _work(_json), "line", units=10),
]
