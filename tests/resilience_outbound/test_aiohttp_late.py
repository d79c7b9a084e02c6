"""aiohttp's own total and ours, which comes a moment earlier, seen by a busy event loop in the same turn."""

import asyncio
import time
from typing import Any

import aiohttp
import pytest

from handrail.resilience import outbound
from handrail.resilience.inbound._answer import answer_to
from handrail.resilience.registry import Registry
from handrail.resilience.settings import ResilienceSettings

TOTAL = 0.5


def test_a_total_that_aiohttp_ends_is_answered_504(server: Any, steps: Any) -> None:
    """The error is aiohttp's TimeoutError; whoever answers for it still knows that a dependency was too slow."""
    undo = outbound.install(aiohttp, Registry(ResilienceSettings()))
    server.script(steps.hang_in_body)

    async def main() -> BaseException:
        one = aiohttp.TCPConnector(limit=1)
        async with aiohttp.ClientSession(connector=one) as client, client.get(server.url):
            # Both bounds pass while nobody looks, and the call waits for the one connection.
            asyncio.get_running_loop().call_later(TOTAL / 2, time.sleep, TOTAL)  # noqa: TID251 (holds the loop)
            with pytest.raises(TimeoutError) as caught:
                await client.get(server.url, timeout=aiohttp.ClientTimeout(total=TOTAL))
            return caught.value

    try:
        error = asyncio.run(main())
    finally:
        undo()
    answer = answer_to(error)
    assert answer is not None
    assert (answer.status, answer.target) == (504, server.url.removesuffix("/"))
