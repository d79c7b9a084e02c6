"""Five ways to make a call that can fail, each as its documentation says, with the same three attempts and pauses."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import httpx
import httpx2
import pybreaker
import tenacity

from .load import ASGIApp

__all__ = ["WAYS", "Call", "Stack", "Way"]

PAUSE = 0.01
"""Seconds, of the first pause before a retry: the table is to be made in a minute."""

Call = Callable[[str, str], Awaitable[int]]
"""Method and URL; the status that came, or whatever exception the stack ends with."""


@dataclass(frozen=True)
class Stack:
    """What a service has built for its calls.

    `call` has one client, and all else that the process keeps; `each` makes a client in the call, with what belongs to
    it. `around` is what it puts around the service itself.
    """

    call: Call
    each: Call
    around: Callable[[ASGIApp], ASGIApp] = lambda app: app


@dataclass(frozen=True)
class Way:
    """`make` gets the seconds for which a breaker is to stay open."""

    title: str
    make: Callable[[float], Stack]
    needs: tuple[str, ...] = ()


def _new() -> httpx.AsyncClient:
    return httpx.AsyncClient(limits=httpx.Limits(max_connections=None))


def _handrail(open_for: float) -> Stack:
    import handrail

    def around(app: ASGIApp) -> ASGIApp:
        return handrail.protect(app, breaker_open_for=open_for, backoff_base=PAUSE)

    async def nobody(_scope: object, _receive: object, _send: object) -> None: ...

    around(nobody)
    client = _new()

    async def call(method: str, url: str) -> int:
        return (await client.request(method, url)).status_code

    async def each(method: str, url: str) -> int:
        async with httpx.AsyncClient() as mine:
            return (await mine.request(method, url)).status_code

    return Stack(call, each, around)


def _httpware(open_for: float) -> Stack:
    """Breaker by origin, total timeout, retry with budget: the order of its documentation."""
    httpware = import_module("httpware")  # optional, for type checkers as well

    def new() -> Any:
        stack = [
            httpware.AsyncKeyedCircuitBreaker(reset_timeout=open_for),
            httpware.AsyncTimeout(timeout=30),
            httpware.AsyncRetry(base_delay=PAUSE),
        ]
        return httpware.AsyncClient(middleware=stack, limits=httpx2.Limits(max_connections=None))

    client = new()

    async def call(method: str, url: str) -> int:
        return int((await client.request(method, url)).status_code)

    async def each(method: str, url: str) -> int:
        async with new() as mine:
            return int((await mine.request(method, url)).status_code)

    return Stack(call, each)


def _interlock(open_for: float) -> Stack:
    """Retry around the transport with the breaker of each host; what a status says is raised, so that it is retried."""
    config = import_module("interlock").Config(wait_duration_in_open=open_for)
    guarded = import_module("interlock.integrations.httpx").AsyncCircuitBreakerTransport
    made = import_module("interlock.pipeline")
    retry = import_module("interlock.integrations.tenacity").RetryStrategy
    retried = retry(attempts=3, wait=tenacity.wait_random_exponential(PAUSE, max=5))
    policies = made.Pipeline(made.TimeoutStrategy(30), retried, made.TimeoutStrategy(10))

    def new() -> httpx.AsyncClient:
        wire = httpx.AsyncHTTPTransport(limits=httpx.Limits(max_connections=None))
        return httpx.AsyncClient(transport=guarded(wire, config=config))

    client = new()

    async def call(method: str, url: str) -> int:
        return int(await policies.call(_sent, client, method, url))

    async def each(method: str, url: str) -> int:
        async with new() as mine:
            return int(await policies.call(_sent, mine, method, url))

    return Stack(call, each)


async def _sent(client: httpx.AsyncClient, method: str, url: str) -> int:
    return (await client.request(method, url)).raise_for_status().status_code


def _by_hand(open_for: float) -> Stack:
    """A tenacity around one pybreaker of the module, as such code is mostly written."""
    breaker = pybreaker.CircuitBreaker(fail_max=5, reset_timeout=open_for)
    retry = tenacity.AsyncRetrying(
        stop=tenacity.stop_after_attempt(3),
        wait=tenacity.wait_random_exponential(PAUSE, max=5),
        retry=tenacity.retry_if_exception_type(httpx.HTTPError),
        reraise=True,
    )

    async def attempt(client: httpx.AsyncClient, method: str, url: str) -> int:
        with breaker.calling():
            return await _sent(client, method, url)

    client = _new()

    async def call(method: str, url: str) -> int:
        return await retry.copy()(attempt, client, method, url)

    async def each(method: str, url: str) -> int:
        async with httpx.AsyncClient() as mine:
            return await retry.copy()(attempt, mine, method, url)

    return Stack(call, each)


def _stamina(_open_for: float) -> Stack:
    """It has no breaker."""
    stamina = import_module("stamina")
    stamina.instrumentation.set_on_retry_hooks([])  # it prints where structlog is installed
    retried = stamina.retry(
        on=httpx.HTTPError, attempts=3, timeout=30, wait_initial=PAUSE, wait_max=5, wait_jitter=PAUSE
    )(_sent)
    client = _new()

    async def call(method: str, url: str) -> int:
        return int(await retried(client, method, url))

    async def each(method: str, url: str) -> int:
        async with httpx.AsyncClient() as mine:
            return int(await retried(mine, method, url))

    return Stack(call, each)


WAYS = {
    "handrail": Way("handrail", _handrail),
    "httpware": Way("httpware", _httpware, ("httpware",)),
    "interlock": Way("interlock-cb", _interlock, ("interlock",)),
    "by-hand": Way("tenacity + pybreaker", _by_hand),
    "stamina": Way("stamina", _stamina, ("stamina",)),
}
