"""Limits and single flight as `protect` puts them in: inside the SERVER span, and not at all when they are off."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from opentelemetry.sdk.trace import ReadableSpan

from handrail import _inbound_limits, protect
from handrail._wire import current
from handrail.resilience.errors import CircuitOpen
from handrail.resilience.inbound.limits import Limits
from handrail.resilience.inbound.single_flight import SingleFlight
from handrail.tracing.testing import Spans

Answers = list[httpx.Response]


class Gate:
    """Opens when so many requests have come."""

    def __init__(self) -> None:
        self.left = 0
        self.open = asyncio.Event()

    def come(self) -> None:
        self.left -= 1
        if not self.left:
            self.open.set()


gates: dict[FastAPI, Gate] = {}


def service(**settings: Any) -> FastAPI:
    """An app that answers when all that were asked at once have come."""
    app = FastAPI()

    @app.post("/up/{name}")
    async def up(name: str, request: Request) -> int:
        return len(await request.body())

    @app.get("/items/{name}")
    async def items(name: str) -> str:
        await gates[app].open.wait()
        return name

    @app.get("/fails/{name}")
    async def fails(name: str) -> str:
        await gates[app].open.wait()
        raise CircuitOpen("circuit open", target="http://stock", retry_after=1.5)

    protect(app, **settings)
    return app


async def ask(app: FastAPI, *requests: tuple[str, dict[str, str]]) -> Answers:
    """All of them at once."""
    gate = gates[app] = Gate()
    gate.left = len(requests)

    async def counted(scope: Any, receive: Any, send: Any) -> None:
        gate.come()
        await app(scope, receive, send)

    transport = httpx.ASGITransport(counted, client=("10.0.0.9", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        return await asyncio.gather(*[client.get(path, headers=headers) for path, headers in requests])


def trace_of(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"{span.context.trace_id:032x}"


def events(spans: Spans, name: str) -> list[tuple[str, str, dict[str, Any]]]:
    """(name of the span, its trace, what the event says), for each event of a name."""
    return [
        (span.name, trace_of(span), dict(event.attributes or {}))
        for span in spans.finished
        for event in span.events
        if event.name == name
    ]


@pytest.mark.parametrize("told", ["length", "chunked"])
def test_a_refused_body_is_told_on_the_span_of_its_request(told: str, spans: Spans) -> None:
    """The problem has the span's trace id, the span its route and the policy."""
    app = service(body_max=10)

    async def pieces() -> AsyncIterator[bytes]:
        yield b"x" * 11

    async def main() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop") as client:
            return await client.post("/up/a", content=b"x" * 11 if told == "length" else pieces())

    answer = asyncio.run(main())
    assert answer.status_code == 413
    assert answer.headers["connection"] == "close"
    ((name, trace, said),) = events(spans, "handrail.request.refused")
    assert name == "POST /up/{name}"
    assert answer.json()["trace_id"] == trace
    assert said["handrail.policy"] == "body_max"
    assert said["handrail.request.refused.reason"] == ("declared" if told == "length" else "counted")


def test_without_tracing_the_headers_are_found_all_the_same(monkeypatch: pytest.MonkeyPatch, spans: Spans) -> None:
    """Nobody has looked for them further out then."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    app = service(body_max=10, client_max=1, trusted_proxies=("*",))

    async def main() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop") as client:
            assert (await client.post("/up/a", content=b"x" * 11)).status_code == 413
        one, other = ("/items/a", {"x-forwarded-for": "10.0.0.1"}), ("/items/a", {"x-forwarded-for": "10.0.0.2"})
        assert [answer.status_code for answer in await ask(app, one, other, one)] == [200, 200, 429]

    asyncio.run(main())
    process = current()
    assert process is not None
    assert process.settings.tracing.disabled


@pytest.mark.parametrize(("proxies", "statuses"), [((), [200, 429, 429]), (("10.0.0.9",), [200, 200, 429])])
def test_a_client_behind_a_trusted_proxy_is_who_the_proxy_says(
    proxies: tuple[str, ...], statuses: list[int], spans: Spans
) -> None:
    """Behind one that is not trusted all are one: anybody could write that header."""
    app = service(client_max=1, trusted_proxies=proxies)
    one, other = ("/items/a", {"x-forwarded-for": "10.0.0.1"}), ("/items/a", {"x-forwarded-for": "10.0.0.2"})
    assert [answer.status_code for answer in asyncio.run(ask(app, one, other, one))] == statuses


def test_the_callers_of_keys_are_the_clients(spans: Spans) -> None:
    """`idempotency_callers` says which headers tell one from another."""
    app = service(client_max=1, idempotency_callers=("x-tenant",))
    one, other = ("/items/a", {"x-tenant": "a"}), ("/items/a", {"x-tenant": "b"})
    assert [answer.status_code for answer in asyncio.run(ask(app, one, other, one))] == [200, 200, 429]


def test_what_is_off_is_not_there(spans: Spans) -> None:
    """No layer at all; by default the limits are there and single flight is not."""

    async def inner(_scope: Any, _receive: Any, _send: Any) -> None:
        raise AssertionError

    def made() -> tuple[object, object]:
        process = current()
        assert process is not None
        limited, _ = _inbound_limits.limits(inner, process, lambda: None, str)
        return limited, _inbound_limits.single_flight(inner, process, lambda: None)

    service()
    limited, shared = made()
    assert isinstance(limited, Limits)
    assert shared is inner
    service(headers_max=0, body_max=0, body_timeout=0.0, single_flight_routes=("/items/*",))
    limited, shared = made()
    assert limited is inner
    assert isinstance(shared, SingleFlight)


def test_each_of_those_that_share_has_its_own_span_with_the_route_and_the_trace(spans: Spans) -> None:
    """Three requests, one run: two say whose answer they got."""
    app = service(single_flight_routes=("/items/*",))
    answers = asyncio.run(ask(app, *[("/items/a", {"x-request-id": str(number)}) for number in range(3)]))
    assert [answer.json() for answer in answers] == ["a"] * 3
    shared = events(spans, "handrail.request.shared")
    assert [name for name, _, _ in shared] == ["GET /items/{name}"] * 2
    (first,) = {trace_of(span) for span in spans.finished} - {trace for _, trace, _ in shared}
    assert {said["handrail.request.shared.trace"] for _, _, said in shared} == {first}


def test_an_error_of_a_dependency_is_an_honest_503_for_all(spans: Spans) -> None:
    """FastAPI answers it with a 500 from within its except block: there the layers outside look, for the run's request;
    the others have its error itself.
    """
    app = service(single_flight_routes=("/fails/*",))
    answers = asyncio.run(ask(app, *[("/fails/a", {})] * 5))
    assert [answer.status_code for answer in answers] == [503] * 5
    assert [answer.headers["retry-after"] for answer in answers] == ["2"] * 5
    assert {answer.json()["type"] for answer in answers} == {"urn:handrail:problem:circuit-breaker"}
    assert len({answer.json()["trace_id"] for answer in answers}) == 5


def test_deadlines_and_attempts_of_callers_keep_nobody_apart(spans: Spans) -> None:
    """Headers by other names too: they differ for each request."""
    app = service(single_flight_routes=("/items/*",), timeout_header="x-time-left", attempt_header="x-try")
    asked = [("/items/a", {"x-time-left": str(5000 + number), "x-try": str(1 + number)}) for number in range(3)]
    asyncio.run(ask(app, *asked))
    assert len(events(spans, "handrail.request.shared")) == 2
