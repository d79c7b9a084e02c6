"""Load shedding as `protect` puts it around an application: its levels, its metrics, its place in the chain."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import handrail
from handrail import _inbound_load, _wire


@pytest.fixture(autouse=True)
def _off() -> Iterator[None]:
    _wire.switch_off()
    yield
    _wire.switch_off()


class Site:
    """A service with one route that hangs until it is let go."""

    def __init__(self, **settings: Any) -> None:
        self.go = asyncio.Event()
        self.begun = asyncio.Event()
        self.app = handrail.protect(
            Starlette(routes=[Route("/slow", self._slow), Route("/{name}", self._fast)]), **settings
        )
        transport = httpx.ASGITransport(self.app)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://here")

    async def _slow(self, request: Request) -> PlainTextResponse:
        self.begun.set()
        await self.go.wait()
        return PlainTextResponse("slow")

    async def _fast(self, request: Request) -> PlainTextResponse:
        return PlainTextResponse("fast")


def test_protect_refuses_what_is_too_much() -> None:
    """With the settings of `protect`, and with the trace id in the answer."""

    async def main() -> None:
        site = Site(load_max=1, load_queue=0)
        slow = asyncio.create_task(site.client.get("/slow"))
        await site.begun.wait()
        refused = await site.client.get("/other")
        assert (refused.status_code, refused.json()["policy"]) == (503, "load_shedding")
        assert len(refused.json()["trace_id"]) == 32
        site.go.set()
        assert (await slow).status_code == 200
        assert (await site.client.get("/other")).status_code == 200

    asyncio.run(main())


def test_it_can_be_taken_out() -> None:
    """By one setting: then `load_max` means nothing."""

    async def main() -> None:
        site = Site(load_shedding=False, load_max=1, load_queue=0)
        slow = asyncio.create_task(site.client.get("/slow"))
        await site.begun.wait()
        assert (await site.client.get("/other")).status_code == 200
        site.go.set()
        await slow

    asyncio.run(main())


def test_metrics_show_what_is_under_way() -> None:
    """And the limit; a process without a protected application shows nothing of requests."""
    reader = InMemoryMetricReader()
    _inbound_load.observe(MeterProvider([reader], shutdown_on_exit=False).get_meter("test"))

    async def main() -> None:
        site = Site(load_max=7)
        slow = asyncio.create_task(site.client.get("/slow"))
        await site.begun.wait()
        shown = {name: value for name, value in _gauges(reader).items() if "requests" in name}
        assert shown["handrail.server.requests.under_way"] >= 1
        assert shown["handrail.server.requests.waiting"] == 0
        assert shown["handrail.server.requests.limit"] >= 7
        site.go.set()
        await slow

    asyncio.run(main())


def _gauges(reader: InMemoryMetricReader) -> dict[str, float]:
    data = reader.get_metrics_data()
    assert data is not None
    metrics: list[Any] = [
        one for held in data.resource_metrics for scope in held.scope_metrics for one in scope.metrics
    ]
    return {one.name: point.value for one in metrics for point in one.data.data_points}
