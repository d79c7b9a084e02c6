"""The connection pool of httpx after attempts that were broken off: every place of it is free again."""

import asyncio
import importlib
import threading

import pytest

from handrail.resilience.outbound._httpx_pool import reclaim, reclaim_async

ANSWER = [b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n", b"fi", b"ne"]
TUNNEL = b"HTTP/1.1 200 OK\r\n\r\n"


def stuck(client):
    """The connections that are neither usable nor about to go, and the requests that the pool still knows."""
    pool = client._transport._pool
    return [one for one in pool.connections if not (one.is_idle() or one.is_closed())] + pool._requests


@pytest.fixture
def outage(server, steps):
    """Whoever asks the server gets no answer until the outage is over."""
    over = threading.Event()

    def waits(server, connection):
        over.wait(60)
        return steps.answer()(server, connection)

    server.script(otherwise=waits)
    yield over
    over.set()


def test_pool_outlives_outages(server, steps, outage, guard, library):
    """Bursts to a peer that hangs, ended by our timer: afterwards no place is taken, and calls go through."""
    guard(attempt_timeout=1.5, attempts=1, breaker_minimum_calls=10**6)

    async def main():
        async with library.AsyncClient(timeout=None, limits=library.Limits(max_connections=3)) as client:
            for _ in range(3):
                burst = [client.get(server.url) for _ in range(40)]
                ended = await asyncio.gather(*burst, return_exceptions=True)
                assert all(isinstance(error, library.TimeoutException) for error in ended)
                assert stuck(client) == []
            outage.set()
            return [(await client.get(server.url)).status_code for _ in range(4)]

    assert asyncio.run(main()) == [200] * 4


@pytest.mark.parametrize("way", ["plain", "forwarded", "tunnelled"])
def test_cancelled_at_any_step(guard, library, way):
    """At whichever turn of the loop its callers give up, nothing stays in the pool, and who waits gets through."""
    guard()
    core = importlib.import_module("httpcore" + library.__name__.removeprefix("httpx"))
    url = "https://peer.test/" if way == "tunnelled" else "http://peer.test/"

    async def cancelled_after(turns):
        proxy = None if way == "plain" else "http://proxy.test"
        transport = library.AsyncHTTPTransport(proxy=proxy, limits=library.Limits(max_connections=1))
        transport._pool._network_backend = core.AsyncMockBackend([TUNNEL, *ANSWER] if way == "tunnelled" else ANSWER)
        async with library.AsyncClient(transport=transport, timeout=None) as client:
            first, second, third = (asyncio.create_task(client.get(url)) for _ in range(3))
            for _ in range(turns):
                await asyncio.sleep(0)  # noqa: TID251  # a turn of the loop, no time
            cancelled = [first.cancel(), second.cancel()]
            async with asyncio.timeout(60):
                assert (await third).content == b"fine", turns
            await asyncio.wait([first, second])
            assert stuck(client) == [], turns
            return any(cancelled)

    async def main():
        turns = 0
        while await cancelled_after(turns):
            turns += 1
        return turns

    assert asyncio.run(main()) > 2


def test_cancelled_while_an_answer_is_let_go(guard, library):
    """A streamed 503 that is thrown away for another attempt is let go whole, whenever the caller gives up."""
    guard()
    core = importlib.import_module("httpcore" + library.__name__.removeprefix("httpx"))
    busy = [b"HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\n", b"busy"]

    async def call(client, given):
        async with client.stream("GET", "http://peer.test/") as response:
            given.append(response)  # from here on it is the caller's to let go

    async def cancelled_after(turns):
        transport = library.AsyncHTTPTransport(limits=library.Limits(max_connections=1))
        transport._pool._network_backend = core.AsyncMockBackend(busy)
        async with library.AsyncClient(transport=transport) as client:
            given: list[object] = []
            task = asyncio.create_task(call(client, given))
            for _ in range(turns):
                await asyncio.sleep(0)  # noqa: TID251  # a turn of the loop, no time
            task.cancel()
            await asyncio.wait([task])
            assert given or stuck(client) == [], turns
            return not given

    async def main():
        turns = 0
        while await cancelled_after(turns):
            turns += 1
        return turns

    assert asyncio.run(main()) > 2


@pytest.mark.parametrize("pool", [None, object(), type("Pool", (), {"_connections": None, "_requests": 3})()])
def test_leaves_other_pools_alone(pool):
    """A transport whose inside is not httpcore's is left as it is, without a word."""
    transport = type("Transport", (), {"_pool": pool})()
    reclaim(transport, lambda _: True)
    asyncio.run(reclaim_async(transport, lambda _: True))


def test_connections_in_use_stay(server, steps, guard, library):
    """A call that fails beside a stream that is being read does not touch the stream's connection."""
    guard(attempts=1)
    server.script(steps.drip, steps.close, otherwise=steps.answer())

    async def main():
        async with library.AsyncClient() as client, client.stream("GET", server.url) as response:
            chunks = response.aiter_raw()
            await anext(chunks)
            with pytest.raises(library.RemoteProtocolError):
                await client.get(server.url)
            return await anext(chunks)

    assert set(asyncio.run(main())) == set(b"x")
