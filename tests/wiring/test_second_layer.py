"""What failed in one request is not remembered in the next, and a second layer stands in the trace."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
import tenacity

from handrail import protect
from handrail.resilience import second
from handrail.tracing.testing import Spans


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    """Nothing was said of any place yet."""
    second._said.clear()
    yield
    second._said.clear()


@pytest.fixture
def nobody() -> Iterator[str]:
    """A URL where connections are refused."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/stock?token=hunter2"


def played(app: Any, times: int) -> None:
    """The same request several times, one after the other in one task."""

    async def main() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://shop") as client:
            for _ in range(times):
                assert (await client.get("/")).status_code == 200

    asyncio.run(main())


async def answer(send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def events(spans: Spans) -> list[str]:
    return [event.name for span in spans.finished for event in span.events if event.name.endswith("second_layer")]


def test_the_next_request_is_no_second_layer(spans: Spans, nobody: str) -> None:
    """A client of an ASGI app in a test makes its requests in one context: what failed in one is forgotten."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async with httpx.AsyncClient() as client:
            with suppress(httpx.ConnectError):
                await client.get(nobody)
        await answer(send)

    played(protect(app, backoff_base=0.0, backoff_cap=0.0), 3)
    assert events(spans) == []


def test_a_second_layer_is_in_the_trace_of_its_request(
    spans: Spans, nobody: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A retry of tenacity over ours is named on the span of the request, and in the log without the query."""

    @tenacity.retry(stop=tenacity.stop_after_attempt(2), wait=tenacity.wait_none(), reraise=True)
    async def stock() -> None:
        async with httpx.AsyncClient() as client:
            await client.get(nobody)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        with suppress(httpx.ConnectError):
            await stock()
        await answer(send)

    played(protect(app, backoff_base=0.0, backoff_cap=0.0), 1)
    (found,) = [
        dict(event.attributes or {}) for span in spans.finished for event in span.events if "second_layer" in event.name
    ]
    assert found["handrail.retry.layer"] == "tenacity"
    assert str(found["handrail.place"]).startswith(f"{__file__}:")
    said = [record.getMessage() for record in caplog.records if "two multiply" in record.getMessage()]
    assert len(said) == 1
    assert "hunter2" not in said[0]


def test_a_retrying_transport_is_named(spans: Spans, nobody: str) -> None:
    """httpx-retries wraps the transport below the client: the same line, made again by a library on the stack."""
    from httpx_retries import Retry, RetryTransport

    async def app(scope: Any, receive: Any, send: Any) -> None:
        retry = Retry(total=1, backoff_factor=0)
        async with httpx.AsyncClient(transport=RetryTransport(retry=retry)) as client:
            with suppress(httpx.ConnectError):
                await client.get(nobody)
        await answer(send)

    played(protect(app, backoff_base=0.0, backoff_cap=0.0), 1)
    layers = [
        event.attributes["handrail.retry.layer"]
        for span in spans.finished
        for event in span.events
        if event.attributes and "second_layer" in event.name
    ]
    assert layers == ["httpx-retries"]
