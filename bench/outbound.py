"""An outbound call that goes well: plain httpx, contrib's span, a stack made by hand, and ours; to one origin or many.

Everything of httpx runs; only the connection pool below its transport answers by itself.
"""

import itertools
import os
from collections.abc import Awaitable, Callable

import httpcore
import httpx
import pybreaker
import tenacity
from opentelemetry import trace
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.trace import SpanProcessor

from .providers import everything
from .work import Contender, Work

__all__ = ["BARE", "CONTENDERS", "AnsweringPool", "all_of_it", "contrib", "pipeline"]

MANY = (100, 10_000)
"""Numbers of origins besides one."""

Once = Callable[[], Awaitable[object]]


class AnsweringPool:
    """Answers like a peer on a connection that is already there."""

    async def handle_async_request(self, _request: httpcore.Request) -> httpcore.Response:
        return httpcore.Response(
            200,
            headers=[(b"content-type", b"application/json"), (b"content-length", b"11")],
            content=b'{"ok":true}',
            extensions={"http_version": b"HTTP/1.1"},
        )

    async def aclose(self) -> None:
        """Nothing is open."""


def _plain(origins: int = 1) -> Once:
    transport = httpx.AsyncHTTPTransport()
    transport._pool = AnsweringPool()  # type: ignore[assignment] # the wire is what is left out
    client = httpx.AsyncClient(transport=transport)
    hosts = itertools.cycle(f"http://payment{number}.example.test:8003/charges/" for number in range(origins))
    numbers = itertools.cycle(range(4001))  # as in `load`: nobody's cache answers
    return lambda: client.get(f"{next(hosts)}{next(numbers)}")


def _hand_made() -> Once:
    get = _plain()
    breaker = pybreaker.CircuitBreaker(fail_max=5, reset_timeout=30)
    retry = tenacity.AsyncRetrying(
        stop=tenacity.stop_after_attempt(3),
        wait=tenacity.wait_random_exponential(0.1, max=5),
        retry=tenacity.retry_if_exception_type(httpx.TransportError),
        reraise=True,
    )

    async def attempt() -> object:
        with breaker.calling():
            return await get()

    async def call() -> object:
        return await retry.copy()(attempt)

    return call


def contrib() -> None:
    """Its spans, without its metrics."""
    HTTPXClientInstrumentor().instrument(meter_provider=NoOpMeterProvider())


def _attempt_span() -> None:
    from handrail.tracing import outbound, propagation

    propagation.install()  # as `provider.start` does
    outbound.install(httpx)


def all_of_it() -> None:
    """As `import handrail.auto` does."""
    from handrail import _wire

    _wire.switch_on({})


def pipeline() -> None:
    """All policies, and tracing off."""
    os.environ["OTEL_SDK_DISABLED"] = "true"
    all_of_it()


def _work(switch_on: Callable[[], None], calls: Callable[[], Once] = _plain) -> Callable[[SpanProcessor], Work]:
    def make(processor: SpanProcessor) -> Work:
        trace.set_tracer_provider(everything(processor))
        switch_on()
        return Work(calls())

    return make


def _to_many(origins: int) -> list[Contender]:
    def calls() -> Once:
        return _plain(origins)

    bare = f"{BARE}-{origins}"
    return [
        Contender(bare, f"httpx alone, {origins} origins", _work(lambda: None, calls)),
        Contender(f"call-contrib-{origins}", "contrib httpx, no metrics", _work(contrib, calls), bare),
        Contender(f"call-pipeline-{origins}", "handrail without tracing", _work(pipeline, calls), bare),
        Contender(f"call-ours-{origins}", "handrail, all of it", _work(all_of_it, calls), bare),
    ]


BARE = "call-bare"

CONTENDERS = [
    Contender(BARE, "httpx alone", _work(lambda: None)),
    Contender("call-contrib", "contrib httpx, no metrics", _work(contrib), BARE),
    Contender("call-stack", "contrib httpx + tenacity + pybreaker", _work(contrib, _hand_made), BARE),
    Contender("call-span", "handrail's CLIENT span", _work(_attempt_span), BARE),
    Contender("call-pipeline", "handrail without tracing: all policies", _work(pipeline), BARE),
    Contender("call-ours", "handrail: span and all policies", _work(all_of_it), BARE),
    *itertools.chain.from_iterable(map(_to_many, MANY)),
]
