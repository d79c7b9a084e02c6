"""A mixed load from outside: orders, threads, streams, event feeds and websockets, so many at a time."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

import httpx
from websockets.asyncio.client import connect

__all__ = ["Load"]

MIX = ("order", "order", "plain", "order", "stream", "order", "feed", "order", "live", "plain")
"""What the requests are, in turn."""


@dataclass
class Load:
    """Asks `front` for `requests`, `concurrent` at a time; `halfway` is called once, in the middle."""

    front: str
    requests: int
    concurrent: int
    halfway: Callable[[], Awaitable[None]]
    traces: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    async def run(self) -> None:
        numbers = iter(range(self.requests))
        limits = httpx.Limits(max_connections=self.concurrent)
        async with httpx.AsyncClient(base_url=self.front, limits=limits, timeout=60, trust_env=False) as client:
            await asyncio.gather(*(self._one_after_another(client, numbers) for _ in range(self.concurrent)))

    async def _one_after_another(self, client: httpx.AsyncClient, numbers: Iterator[int]) -> None:
        for number in numbers:
            if number == self.requests // 2:
                await self.halfway()
            kind = MIX[number % len(MIX)]
            try:
                self.traces.append(await (self._live(number) if kind == "live" else self._get(client, kind, number)))
            except Exception as error:
                self.failures.append(f"{kind}: {error!r}")

    async def _get(self, client: httpx.AsyncClient, kind: str, number: int) -> str:
        path = {"order": "orders"}.get(kind, kind)
        answer = (await client.get(f"/{path}/{number}")).raise_for_status()
        if kind in ("stream", "feed"):
            assert answer.text.count("\n") >= 3
            return answer.headers["x-trace-id"]
        return str(answer.json()["trace_id"])

    async def _live(self, number: int) -> str:
        async with connect(f"{self.front.replace('http', 'ws')}/live/{number}", open_timeout=60, proxy=None) as socket:
            trace_id = ""
            for _ in range(2):
                await socket.send("next")
                trace_id = str(await socket.recv())
            return trace_id
