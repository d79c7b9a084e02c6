"""Who uses the replicas in the trial: a load balancer that follows readiness, its load, and long streams."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator

import httpx
import websockets
from websockets.exceptions import ConnectionClosed

from tests.drain.replica import Replica

__all__ = ["Balancer", "listen", "load", "talk"]

POLLED_EVERY = 0.2
SLOW = 0.05
"""The share of requests that take 1 to 2 s."""
PATIENCE = 60.0
MOST_AT_ONCE = 200


class Balancer:
    """Sends requests to replicas that say that they are ready, in turn, over connections that it keeps."""

    def __init__(self, replicas: list[Replica]) -> None:
        self.replicas = replicas
        self.ready: set[Replica] = set()
        self.seen: Counter[str] = Counter()
        """How requests ended: `answered`, or what was wrong."""
        self.answered: set[str] = set()
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
        self._clients = {
            replica: httpx.AsyncClient(base_url=replica.url, timeout=PATIENCE, limits=limits, trust_env=False)
            for replica in replicas
        }
        self._turn = 0

    async def follow(self) -> None:
        """Ask all replicas for their readiness, for ever; each question on a connection of its own, as probes are."""
        async with httpx.AsyncClient(timeout=PATIENCE, headers={"connection": "close"}, trust_env=False) as client:
            while True:
                for replica in self.replicas:
                    try:
                        ready = (await client.get(f"{replica.url}/readyz")).status_code == 200
                    except httpx.TransportError:
                        ready = False
                    (self.ready.add if ready else self.ready.discard)(replica)
                await asyncio.sleep(POLLED_EVERY)  # noqa: TID251 (this is its pace)

    async def until_ready(self, replica: Replica) -> None:
        """Wait until it was seen to be ready."""
        ends = time.monotonic() + PATIENCE
        while replica not in self.ready:
            assert time.monotonic() < ends, f"never ready:\n{replica.log.read_text('utf-8', 'replace')}"
            await asyncio.sleep(POLLED_EVERY / 4)  # noqa: TID251 (a look now and then)

    async def send(self, request_id: str, method: str, seconds: float) -> None:
        """One request, never repeated."""
        ready = [replica for replica in self.replicas if replica in self.ready]
        if not ready:
            self.seen["nobody was ready"] += 1
            return
        self._turn += 1
        client = self._clients[ready[self._turn % len(ready)]]
        try:
            answer = await client.request(method, "/orders", params={"id": request_id, "seconds": seconds})
        except httpx.TransportError as error:
            self.seen[f"{type(error).__name__}: {error}"] += 1
            return
        if answer.status_code == 200 and answer.text == request_id:
            self.answered.add(request_id)
            self.seen["answered"] += 1
        else:
            self.seen[f"{answer.status_code} {answer.text[:80]}"] += 1

    async def close(self) -> None:
        """End all connections."""
        for client in self._clients.values():
            await client.aclose()


async def load(balancer: Balancer, rate: float, stop: asyncio.Event) -> None:
    """So many requests a second, until `stop`; returns when the last has ended.

    Those that would be too many at once are left out: a client that is starved of its processor must not choke on them.
    """
    async with asyncio.TaskGroup() as group:
        ids = _ids()
        began, due = time.monotonic(), 0
        under_way: set[asyncio.Task[None]] = set()
        while not stop.is_set():
            while due < (time.monotonic() - began) * rate:
                due += 1
                if len(under_way) >= MOST_AT_ONCE:
                    continue
                seconds = random.uniform(1, 2) if random.random() < SLOW else 0.0
                task = group.create_task(balancer.send(next(ids), random.choice(("GET", "POST")), seconds))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            await asyncio.sleep(1 / rate)  # noqa: TID251 (this is its pace)


def _ids() -> Iterator[str]:
    run = f"{random.getrandbits(32):08x}"
    number = 0
    while True:
        number += 1
        yield f"{run}-{number}"


async def listen(replica: Replica, open_: asyncio.Event) -> str:
    """An event stream, to its end: `told` where its body was complete."""
    events = 0
    try:
        async with (
            httpx.AsyncClient(timeout=PATIENCE, trust_env=False) as client,
            client.stream("GET", f"{replica.url}/events", params={"id": replica.port}) as answer,
        ):
            async for _ in answer.aiter_text():
                events += 1
                open_.set()
    except httpx.TransportError as error:
        return f"stream broken after {events} events: {error}"
    return "stream told"


async def talk(replica: Replica, open_: asyncio.Event) -> str:
    """A websocket, to its end: `told` where it was closed with 1012 or 1001."""
    try:
        async with websockets.connect(f"ws://127.0.0.1:{replica.port}/socket?id={replica.port}") as connection:
            await connection.send("hello")
            assert await connection.recv() == "hello"
            open_.set()
            await connection.recv()
    except ConnectionClosed as error:
        code = error.rcvd.code if error.rcvd is not None else None
        return "socket told" if code in (1001, 1012) else f"socket closed with {code}"
    return "socket: something else came"
