"""Bulkhead and hedging under real clients: connections go back, bodies are whole, and threads share the places."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from handrail.resilience import BulkheadFull
from handrail.resilience.events import CallQueued, CallRejected, HedgeSent, HedgeWon


def stuck(client):
    """The connections that are neither usable nor about to go, and the requests that the pool still knows."""
    pool = client._transport._pool
    return [one for one in pool.connections if not (one.is_idle() or one.is_closed())] + pool._requests


def test_a_hedge_wins_and_leaves_nothing_in_the_pool(server, steps, guard, library):
    """Every first request hangs: the second's answer comes whole, and the first one's connection is given back."""
    guarded = guard(hedge_after=0.3, retry_budget_floor=50)

    async def main():
        async with library.AsyncClient(limits=library.Limits(max_connections=2)) as client:
            for _ in range(5):
                server.script(steps.hang, steps.answer(body=b"second"))
                assert (await client.get(server.url)).content == b"second"
                assert stuck(client) == []

    asyncio.run(main())
    assert [type(event) for event in guarded.events] == [HedgeSent, HedgeWon] * 5
    attempts = [received.all("x-envoy-attempt-count") for received in server.received]
    assert attempts == [[], ["2"]] * 5


def test_a_streamed_answer_of_a_hedge_is_read_by_the_caller(server, steps, guard, library):
    """The response was opened in a task of its own; its body streams in the caller's."""
    guard(hedge_after=0.02)
    server.script(steps.hang, steps.answer(body=b"x" * 100_000))

    async def main():
        async with library.AsyncClient() as client, client.stream("GET", server.url) as response:
            return b"".join([chunk async for chunk in response.aiter_bytes()])

    assert asyncio.run(main()) == b"x" * 100_000


def test_a_post_is_never_hedged(server, steps, guard, library):
    """However slow: one request, also with a key of the caller's."""
    guarded = guard(hedge_after=0.02)
    server.script(otherwise=steps.slow)

    async def main():
        async with library.AsyncClient() as client:
            await client.post(server.url, content=b"once")
            await client.post(server.url, content=b"once", headers={"Idempotency-Key": "k"})

    asyncio.run(main())
    assert (len(server.received), guarded.events) == (2, [])


def test_credentials_for_one_request_are_not_sent_twice(server, steps, guard, library):
    """A GET with a Digest nonce count is not hedged: the peer would take the second for a replay."""
    guarded = guard(hedge_after=0.02)
    server.script(otherwise=steps.slow)
    headers = {"Authorization": 'Digest username="u", nc=00000001, nonce="n", response="r"'}

    async def main():
        async with library.AsyncClient(headers=headers) as client:
            await client.get(server.url)

    asyncio.run(main())
    assert (len(server.received), guarded.events) == (1, [])


def test_a_caller_that_gives_up_ends_both(server, steps, guard, library):
    """A timeout of the service's own around a hedged call: no task, no connection, no request is left."""
    guard(hedge_after=0.02)
    server.script(otherwise=steps.hang)

    async def main():
        async with library.AsyncClient() as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(2.0):
                    await client.get(server.url)
            assert stuck(client) == []
            assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())
    assert len(server.received) == 2


def test_threads_share_the_places_of_an_origin(server, steps, guard, library):
    """Each thread has a client of its own; more than two requests are never at the server."""
    guarded = guard(bulkhead_limit=2, bulkhead_wait=20)
    inside, most, lock = [0], [0], threading.Lock()

    def watched(server, connection):
        with lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        done = steps.answer()
        server.gone.wait(0.005)
        with lock:
            inside[0] -= 1
        return done(server, connection)

    server.script(otherwise=watched)

    def fetch(_):
        with library.Client() as client:
            return client.get(server.url).status_code

    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(fetch, range(36))) == [200] * 36
    assert most[0] <= 2
    assert {type(event) for event in guarded.events} == {CallQueued}


def test_a_full_bulkhead_is_an_error_of_the_library(server, steps, guard, library):
    """`except httpx.HTTPError` catches it, `except BulkheadFull` too; it names the origin, and nothing was sent."""
    guarded = guard(bulkhead_limit=1, bulkhead_queue=0)
    over = threading.Event()

    def waits(server, connection):
        over.wait(60)
        return steps.answer()(server, connection)

    server.script(waits)

    async def main():
        async with library.AsyncClient() as client:
            first = asyncio.create_task(client.get(server.url))
            while not server.received:
                await asyncio.wait([first], timeout=0.01)
            with pytest.raises(BulkheadFull) as caught:
                await client.get(server.url)
            over.set()
            await first
            return caught.value

    error = asyncio.run(main())
    assert isinstance(error, library.TransportError)
    assert error.target == server.url
    assert len(server.received) == 1
    assert [event.policy for event in guarded.events if isinstance(event, CallRejected)] == ["bulkhead"]
