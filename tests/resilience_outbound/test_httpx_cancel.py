"""A caller that goes away in the middle of a call: neutral, and nothing of it stays behind."""

import asyncio

import anyio
import pytest
import trio

from handrail.resilience.events import AttemptFailed, RetryScheduled


@pytest.mark.parametrize("step", ["hang", "hang_in_body"])
def test_cancellation_is_neutral_and_leaks_no_connection(server, steps, guard, library, step):
    """Cancelled before or within the body: not counted, not retried, and the pool is free again."""
    guarded = guard(breaker_minimum_calls=1, attempts=3)
    server.script(getattr(steps, step))

    async def main():
        async with library.AsyncClient(limits=library.Limits(max_connections=1)) as client:
            task = asyncio.create_task(client.get(server.url))
            assert await asyncio.to_thread(server.hung.wait, 60)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert "0 active" in repr(client._transport._pool)
            return await client.get(server.url)

    assert asyncio.run(main()).status_code == 200
    assert len(server.received) == 2
    assert guarded.events == []


def test_timeout_of_the_caller_stays_a_cancellation(server, steps, guard, library):
    """`asyncio.timeout` of the service around a call raises its TimeoutError, not one of ours."""
    guarded = guard()
    server.script(steps.hang)

    async def main():
        async with library.AsyncClient() as client:
            with pytest.raises(TimeoutError) as caught:
                async with asyncio.timeout(0.1):
                    await client.get(server.url)
            return caught.value

    assert type(asyncio.run(main())) is TimeoutError
    assert guarded.events == []


def test_attempt_that_timed_out_leaves_the_pool_free(server, steps, guard, library):
    """With one connection in all, the next attempt gets through: the hanging one was given back."""
    guard(attempt_timeout=2)
    server.script(steps.hang_in_body)

    async def main():
        async with library.AsyncClient(limits=library.Limits(max_connections=1)) as client:
            response = await client.get(server.url)
            assert "0 active" in repr(client._transport._pool)
            return response

    assert asyncio.run(main()).content == b"fine"


@pytest.mark.parametrize("step", ["hang", "hang_in_body", "close"])
def test_trio(server, steps, guard, library, step):
    """Under trio the same: an attempt that hangs or breaks is given up and made again."""
    guarded = guard(attempt_timeout=2)
    server.script(getattr(steps, step))

    async def main():
        async with library.AsyncClient() as client:
            return await client.get(server.url)

    assert trio.run(main).content == b"fine"
    assert len([event for event in guarded.events if isinstance(event, RetryScheduled)]) == 1
    lost = [event.cause for event in guarded.events if isinstance(event, AttemptFailed)]
    assert lost == (["timeout"] if step == "hang_in_body" else [])


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_cancel_scope(server, steps, guard, library, backend):
    """A cancel scope of the service ends the call at once, uncounted, on both loops."""
    guarded = guard(breaker_minimum_calls=1)
    server.script(steps.hang_in_body)

    async def main():
        async with library.AsyncClient() as client:
            with anyio.move_on_after(0.1) as scope:
                await client.get(server.url)
            assert "0 active" in repr(client._transport._pool)
            return scope.cancelled_caught

    assert anyio.run(main, backend=backend)
    assert guarded.events == []
