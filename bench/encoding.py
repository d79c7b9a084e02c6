"""Spans to the bytes that a collector is sent, in batches of 512: the stock encoder and ours."""

from collections.abc import Callable
from itertools import cycle

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.trace import SpanKind, Tracer, set_span_in_context

from .load import AGENTS
from .produced import Collect
from .work import Contender, Work

__all__ = ["CONTENDERS", "encode_batch"]

TracerOf = Callable[[TracerProvider], Tracer]

BATCH = 512
BATCHES = 7
"""Prepared ones: no batch of a count is encoded twice."""


def _spans(processor: SpanProcessor, tracer_of: TracerOf) -> list[ReadableSpan]:
    """What 3,584 different requests leave behind, as `inbound` makes them."""
    collect = Collect()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(collect)
    provider.add_span_processor(processor)
    tracer = tracer_of(provider)
    above = set_span_in_context(provider.get_tracer("caller").start_span("caller"))
    for number in range(BATCH * BATCHES):
        span = tracer.start_span(
            "GET /items/{id}",
            above,
            SpanKind.SERVER,
            {
                "http.request.method": "GET",
                "url.path": f"/items/{number}",
                "url.scheme": "http",
                "network.protocol.version": "1.1",
                "url.query": f"page={number}&fields=name,price",
                "server.address": "orders.example.test",
                "server.port": 8000,
                "network.peer.address": f"10.0.{number % 7}.{number % 11}",
                "client.address": f"10.0.{number % 7}.{number % 11}",
                "network.peer.port": 32768 + number,
                "user_agent.original": AGENTS[number % len(AGENTS)].decode(),
            },
        )
        span.set_attribute("http.response.status_code", 200)
        span.set_attribute("http.route", "/items/{id}")
        span.end()
    return collect.ended


def _work(encode: Callable[[list[ReadableSpan]], bytes], tracer_of: TracerOf) -> Callable[[SpanProcessor], Work]:
    def make(processor: SpanProcessor) -> Work:
        spans = _spans(processor, tracer_of)
        batches = cycle([spans[at : at + BATCH] for at in range(0, len(spans), BATCH)])

        async def once() -> object:
            return encode(next(batches))

        return Work(once, told=lambda: _told(encode(spans), _stock(spans)))

    return make


def _stock(spans: list[ReadableSpan]) -> bytes:
    message: bytes = encode_spans(spans).SerializeToString()
    return message


def encode_batch(spans: list[ReadableSpan]) -> bytes:
    """What our batch processor does to spans, one at a time and then together."""
    from handrail.tracing.export._encode import encode
    from handrail.tracing.export._encode_request import join

    return join([(encode(span), span.resource, span.instrumentation_scope) for span in spans])


def _told(message: bytes, stock: bytes) -> str:
    same = "the stock encoder's message, byte for byte" if message == stock else "NOT the stock encoder's message"
    return f"{len(message) / (BATCH * BATCHES):.0f} bytes a span, {same}"


def _sdk(provider: TracerProvider) -> Tracer:
    return provider.get_tracer("bench")


def _light(provider: TracerProvider) -> Tracer:
    from handrail.tracing.spans.tracer import light

    return light(provider.get_tracer("bench"))


CONTENDERS = [
    Contender("encode-stock", "stock encode_spans, 512 spans of the SDK", _work(_stock, _sdk), step=2, units=BATCH),
    Contender("encode-ours", "handrail's encoder, the same spans", _work(encode_batch, _sdk), step=2, units=BATCH),
    Contender("encode-ours-own", "handrail's encoder, its own spans", _work(encode_batch, _light), step=2, units=BATCH),
]
