"""What is left of an error when its request is over."""

import asyncio
import gc
import weakref
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from handrail import breakers, protect
from handrail.tracing.testing import Spans

PEER = "http://stock.test:8001"


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Nothing but counting references frees memory."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("uncollected")
def test_an_answered_refusal_is_no_work_for_the_collector(spans: Spans) -> None:
    """When the answer is out the error goes, with its traceback and every frame between the refusal and the answer.

    In an outage each request is refused: cycles of some hundred objects each made the collector half of the cost.
    """
    died: list[weakref.ref[Exception]] = []

    async def app(_scope: Any, _receive: Any, _send: Any) -> None:
        try:
            async with httpx.AsyncClient() as client:
                await client.get(PEER)
        except Exception as error:
            died.append(weakref.ref(error))
            raise

    async def main() -> int:
        transport = httpx.ASGITransport(protect(app))
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            return (await client.get("/")).status_code

    protect(app)
    breakers().of(PEER).isolate()
    assert asyncio.run(main()) == 503
    assert spans.finished
    assert [error() for error in died] == [None]
