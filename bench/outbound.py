"""An outbound call that goes well: plain httpx, contrib's span, a hand-made stack, handrail.

Everything of httpx runs; only the connection pool below its transport answers by itself.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import httpcore
import httpx
import pybreaker
import tenacity
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor

from handrail import _wire

from .measure import Variant

__all__ = ["BASE", "MINE", "PEERS", "variants"]

BASE = "plain httpx"
CONTRIB = "contrib httpx"
STACK = "contrib httpx + tenacity + pybreaker"
MINE = "handrail"
PEERS = (CONTRIB, STACK)

URL = "http://payment.example.test:8003/charges"


class _Pool:
    """Answers like a peer on a connection that is already there."""

    async def handle_async_request(self, _request: httpcore.Request) -> httpcore.Response:
        return httpcore.Response(
            200,
            headers=[(b"content-type", b"application/json"), (b"content-length", b"11")],
            content=b'{"ok":true}',
            extensions={"http_version": b"HTTP/1.1"},
        )

    async def aclose(self) -> None:
        pass


def _client() -> httpx.AsyncClient:
    transport = httpx.AsyncHTTPTransport()
    transport._pool = _Pool()  # type: ignore[assignment] # the wire is what is left out
    return httpx.AsyncClient(transport=transport)


def _plain() -> Callable[[], Awaitable[object]]:
    client = _client()
    return lambda: client.get(URL)


def _hand_made() -> Callable[[], Awaitable[object]]:
    client = _client()
    breaker = pybreaker.CircuitBreaker(fail_max=5, reset_timeout=30)
    retry = tenacity.AsyncRetrying(
        stop=tenacity.stop_after_attempt(3),
        wait=tenacity.wait_random_exponential(0.1, max=5),
        retry=tenacity.retry_if_exception_type(httpx.TransportError),
        reraise=True,
    )

    async def attempt() -> httpx.Response:
        with breaker.calling():
            return await client.get(URL)

    async def call() -> object:
        return await retry.copy()(attempt)

    return call


@contextmanager
def _instrumented() -> Iterator[None]:
    HTTPXClientInstrumentor().instrument()
    try:
        yield
    finally:
        HTTPXClientInstrumentor().uninstrument()


@contextmanager
def _handrail() -> Iterator[None]:
    _wire.switch_on({})
    try:
        yield
    finally:
        _wire.switch_off()


def variants() -> list[Variant]:
    """Each switches its own patches on for its turn and off after it."""
    rows: list[tuple[str, Callable[[], Awaitable[object]], Callable[[], AbstractContextManager[object]]]] = [
        (BASE, _plain(), nullcontext),
        (CONTRIB, _plain(), _instrumented),
        (STACK, _hand_made(), _instrumented),
        (MINE, _plain(), _handrail),
    ]
    return [Variant(name, call, around) for name, call, around in rows]
