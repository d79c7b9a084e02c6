"""What can go wrong with a peer, and what is counted then. Each scenario runs in a process of its own."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import httpx

from .fault_peer import OK, Peer, Seen, fine, lost, peer, reply
from .fault_ways import Call, Stack
from .load import Message

__all__ = ["SCENARIOS", "Scenario"]


@dataclass(frozen=True)
class Scenario:
    """`run` says what came out in a few words; a breaker stays open for `open_for` seconds."""

    title: str
    counted: str
    run: Callable[[Stack], Awaitable[str]]
    open_for: float = 30.0


async def _goes_well(call: Call, method: str, url: str) -> bool:
    try:
        return await call(method, url) < 400
    except Exception:  # whatever a stack ends with, the caller has no answer
        return False


async def _many(call: Call, method: str, url: str, *, total: int, at_once: int) -> int:
    """How many went well."""
    numbers = iter(range(total))

    async def caller() -> int:
        return sum([await _goes_well(call, method, url) for _ in numbers])

    return sum(await asyncio.gather(*[caller() for _ in range(at_once)]))


async def _dead(stack: Stack) -> str:
    async with peer() as other:
        other.answer = lost
        await _many(stack.call, "GET", other.url, total=1000, at_once=20)
        return f"{len(other.seen)}"


async def _new_client_each(stack: Stack) -> str:
    async with peer() as other:
        other.answer = lost
        await _many(stack.each, "GET", other.url, total=100, at_once=1)
        return f"{len(other.seen)}"


async def _neighbour(stack: Stack) -> str:
    async with peer() as ill, peer() as well:
        ill.answer = lost
        await _many(stack.call, "GET", ill.url, total=30, at_once=1)
        return f"{await _many(stack.call, 'GET', well.url, total=100, at_once=1)}"


async def _sick(stack: Stack) -> str:
    async def two_of_five(seen: Seen) -> bytes | None:
        return reply(503) if seen.number % 5 in (0, 2) else OK

    async with peer() as other:
        other.answer = two_of_five
        went_well = await _many(stack.call, "GET", other.url, total=1000, at_once=20)
        return f"{went_well}, by {len(other.seen)} requests"


async def _short_of_time(stack: Stack) -> str:
    async with peer() as other:

        async def slow(_seen: Seen) -> bytes | None:
            await asyncio.sleep(1)
            return OK

        async def app(_scope: Message, _receive: object, send: Callable[[Message], Awaitable[None]]) -> None:
            status = await stack.call("GET", other.url)
            await send({"type": "http.response.start", "status": status, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        await stack.call("GET", other.url)  # what is imported at the first call takes none of the caller's time
        other.seen.clear()
        other.answer = slow
        inside = httpx.ASGITransport(stack.around(app))
        async with httpx.AsyncClient(transport=inside, base_url="http://service") as client:
            start = time.monotonic()
            answer = await client.get("/", headers={"x-envoy-expected-rq-timeout-ms": "300"})
            took = time.monotonic() - start
        heard = other.seen[0].headers if other.seen else {}
        told = "told" if "x-envoy-expected-rq-timeout-ms" in heard else "not told"
        return f"{took:.2f} s ({answer.status_code}), {told}"


def _charges(*headers: str) -> Callable[[Stack], Awaitable[str]]:
    async def run(stack: Stack) -> str:
        charged: dict[str, None] = {}

        async def charge(seen: Seen) -> bytes | None:
            key = seen.headers.get("idempotency-key") if headers else None
            charged[key or str(seen.number)] = None
            return None if seen.number % 5 == 4 else reply(200, *headers)

        async with peer() as other:
            other.answer = charge
            went_well = await _many(stack.call, "POST", other.url, total=100, at_once=1)
        return f"{len(charged)} charges, {100 - went_well} failed"

    return run


async def _opened(stack: Stack, other: Peer, open_for: float) -> None:
    other.answer = lost
    await _many(stack.call, "GET", other.url, total=30, at_once=1)
    await asyncio.sleep(open_for * 1.4)  # the time may be swayed by chance
    other.seen.clear()
    other.answered = 0


async def _again(pause: float) -> AsyncIterator[int]:
    """A breaker may be open for longer: where the calls that opened it took their time, one of them was a probe."""
    for number in range(50):
        yield number
        await asyncio.sleep(pause)


async def _stampede(stack: Stack) -> str:
    async with peer() as other:
        await _opened(stack, other, SHORT)
        before: list[Seen] = []

        async def healed(seen: Seen) -> bytes | None:
            if not other.answered:
                before.append(seen)
            await asyncio.sleep(0.1)
            return OK

        other.answer = healed
        async for _ in _again(SHORT):
            await asyncio.gather(*[_goes_well(stack.call, "GET", other.url) for _ in range(200)])
            if before:
                break
        return f"{len(before)}"


async def _cancelled(stack: Stack) -> str:
    async with peer() as other:
        await _opened(stack, other, SHORT)

        arrived = asyncio.Event()

        async def hangs(_seen: Seen) -> bytes | None:
            arrived.set()
            await asyncio.sleep(3600)
            return None

        other.answer = hangs
        async for _ in _again(SHORT):
            probe = asyncio.ensure_future(_goes_well(stack.call, "GET", other.url))
            there = asyncio.ensure_future(arrived.wait())
            await asyncio.wait([probe, there], timeout=60, return_when=asyncio.FIRST_COMPLETED)
            there.cancel()
            if arrived.is_set():
                probe.cancel()
                await asyncio.wait([probe])
                break
            await probe
        other.answer = fine
        return f"{await _many(stack.call, 'GET', other.url, total=5, at_once=1)} of 5"


async def _told_when(stack: Stack) -> str:
    async def busy(seen: Seen) -> bytes | None:
        return OK if seen.number else reply(503, "retry-after: 1")

    async with peer() as other:
        other.answer = busy
        went_well = await _goes_well(stack.call, "GET", other.url)
        if len(other.seen) < 2:
            return "not asked again"
        return f"{other.seen[1].at - other.seen[0].at:.2f} s" + ("" if went_well else ", failed")


SHORT = 0.3
"""Seconds for which a breaker stays open where the scenario waits for its end."""

SCENARIOS = {
    "dead": Scenario("peer is dead; 1,000 GETs, 20 at a time", "requests that reach it", _dead),
    "client-each": Scenario("the same, 100 GETs, a client for each", "requests that reach it", _new_client_each),
    "neighbour": Scenario("and a healthy peer at another port; 100 GETs", "answered", _neighbour),
    "sick": Scenario("2 of 5 answers are 503; 1,000 GETs, 20 at a time", "answered", _sick),
    "deadline": Scenario("caller has 0.3 s, peer takes 1 s", "caller waits; peer is told the time", _short_of_time),
    "charges": Scenario("100 POSTs, every fifth answer is lost", "effects at the peer", _charges()),
    "charges-keyed": Scenario(
        "the same, and the peer says that it honours keys",
        "effects at the peer",
        _charges("idempotency-key-honoured: ?1"),
    ),
    "half-open": Scenario("breaker half open, 200 callers at once", "probes that leave", _stampede, SHORT),
    "cancelled": Scenario("the probe is cancelled, the peer is well", "next calls answered", _cancelled, SHORT),
    "retry-after": Scenario("503 with Retry-After: 1, then 200", "asked again after", _told_when),
}
