"""The same call that goes well through httpware and interlock-cb, each as its own documentation puts it together.

Both are optional here: who is not installed is left out, and the bench says so (`pip install httpware interlock-cb`).
httpware stands on httpx2, so handrail is measured beside it on httpx2 as well.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from importlib import import_module

import httpcore2
import httpx
import httpx2
from opentelemetry import trace
from opentelemetry.instrumentation.httpx import HTTPX2ClientInstrumentor
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.trace import SpanProcessor

from .outbound import BARE, AnsweringPool, all_of_it, contrib, pipeline
from .providers import everything
from .work import Contender, Work

__all__ = ["CONTENDERS"]

Once = Callable[[], Awaitable[object]]

URL = "http://payment.example.test:8003/charges/"


class _Pool2:
    """Answers like a peer on a connection that is already there."""

    async def handle_async_request(self, _request: httpcore2.Request) -> httpcore2.Response:
        return httpcore2.Response(
            200,
            headers=[(b"content-type", b"application/json"), (b"content-length", b"11")],
            content=b'{"ok":true}',
            extensions={"http_version": b"HTTP/1.1"},
        )

    async def aclose(self) -> None:
        """Nothing is open."""


def _client2() -> httpx2.AsyncClient:
    transport = httpx2.AsyncHTTPTransport()
    transport._pool = _Pool2()  # type: ignore[assignment] # the wire is what is left out
    return httpx2.AsyncClient(transport=transport)


def _calls(get: Callable[[str], Awaitable[object]]) -> Once:
    numbers = itertools.cycle(range(4001))  # as in `load`: nobody's cache answers
    return lambda: get(f"{URL}{next(numbers)}")


def _plain2() -> Once:
    return _calls(_client2().get)


def _httpware() -> Once:
    """Breaker by origin, total timeout, bulkhead, retry with budget, in the order that its documentation gives."""
    httpware = import_module("httpware")  # optional, for type checkers as well
    calls: dict[asyncio.AbstractEventLoop, Once] = {}

    def once() -> Awaitable[object]:
        loop = asyncio.get_running_loop()  # its breaker refuses to work in a second one
        if loop not in calls:
            stack = [
                httpware.AsyncKeyedCircuitBreaker(),
                httpware.AsyncTimeout(timeout=30),
                httpware.AsyncBulkhead(max_concurrent=1000),
                httpware.AsyncRetry(),
            ]
            calls[loop] = _calls(httpware.AsyncClient(httpx2_client=_client2(), middleware=stack).get)
        return calls[loop]()

    return once


def _interlock() -> Once:
    """Retry, bulkhead, and the breaker of the host in the transport; a timeout around all and around each attempt."""
    guarded = import_module("interlock.integrations.httpx").AsyncCircuitBreakerTransport
    retried = import_module("interlock.integrations.tenacity").RetryStrategy(attempts=3)
    made = import_module("interlock.pipeline")
    transport = httpx.AsyncHTTPTransport()
    transport._pool = AnsweringPool()  # type: ignore[assignment] # the wire is what is left out
    client = httpx.AsyncClient(transport=guarded(transport))
    policies = made.Pipeline(made.TimeoutStrategy(30), retried, made.BulkheadStrategy(1000), made.TimeoutStrategy(10))
    return _calls(lambda url: policies.call(client.get, url))


def _contrib2() -> None:
    HTTPX2ClientInstrumentor().instrument(meter_provider=NoOpMeterProvider())


def _work(switch_on: Callable[[], None], calls: Callable[[], Once]) -> Callable[[SpanProcessor], Work]:
    def make(processor: SpanProcessor) -> Work:
        trace.set_tracer_provider(everything(processor))
        switch_on()
        return Work(calls())

    return make


def _nothing() -> None:
    pass


BARE2 = "call2-bare"
HTTPWARE = ("httpware",)
INTERLOCK = ("interlock",)

CONTENDERS = [
    Contender(BARE2, "httpx2 alone", _work(_nothing, _plain2)),
    Contender("call2-pipeline", "handrail on httpx2, no tracing", _work(pipeline, _plain2), BARE2),
    Contender("call2-ours", "handrail on httpx2: span and all policies", _work(all_of_it, _plain2), BARE2),
    Contender("httpware", "httpware: all its policies", _work(_nothing, _httpware), BARE2, needs=HTTPWARE),
    Contender("httpware-span", "the same + contrib httpx2", _work(_contrib2, _httpware), BARE2, needs=HTTPWARE),
    Contender(
        "interlock", "interlock-cb: the same policies as ours", _work(_nothing, _interlock), BARE, needs=INTERLOCK
    ),
    Contender("interlock-span", "the same + contrib httpx", _work(contrib, _interlock), BARE, needs=INTERLOCK),
]
