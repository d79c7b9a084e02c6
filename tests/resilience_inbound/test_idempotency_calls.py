"""Calls into a server that has given up the request: cut off, and nobody's cancellation is lost or made up."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from handrail.resilience.inbound._idempotency_task import Calls, Cut
from handrail.resilience.testing import run
from tests.resilience_inbound.idempotency_bench import turns


async def _waiting(calls: Calls, call: Any) -> "asyncio.Task[Any]":
    task = asyncio.create_task(calls.make(call))
    await turns(2)
    return task


def test_what_waits_is_cut_off() -> None:
    """As an error of its own; the task goes on, and is not cancelled."""

    async def main() -> None:
        calls = Calls()

        async def app() -> int:
            with pytest.raises(Cut):
                await calls.make(asyncio.Event().wait())
            await turns(1)
            task = asyncio.current_task()
            assert task is not None
            return task.cancelling()

        task = asyncio.create_task(app())
        await turns(2)
        calls.cut()
        assert await task == 0
        assert calls.over

    run(main())


def test_a_cancellation_of_the_app_passes_as_ever() -> None:
    """Without a cut, and in the same moment as one."""

    async def main(cut: bool) -> None:
        calls = Calls()
        task = await _waiting(calls, asyncio.Event().wait())
        task.cancel()
        if cut:
            calls.cut()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    run(main(False))
    run(main(True))


def test_a_timeout_of_the_app_is_its_own() -> None:
    """asyncio's, whose end comes in the same turn as the cut."""

    async def main() -> None:
        calls = Calls()

        async def app() -> str:
            try:
                async with asyncio.timeout(1.0):
                    await calls.make(asyncio.Event().wait())
            except TimeoutError:
                return "timeout"
            return "nothing"

        task = asyncio.create_task(app())
        await turns(2)
        asyncio.get_running_loop().call_at(asyncio.get_running_loop().time() + 1.0, calls.cut)
        assert await task == "timeout"

    run(main())


def test_a_server_that_swallows_the_cut() -> None:
    """Its answer is taken; the task is not left half cancelled."""

    async def swallowing() -> str:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return "here"

    async def main() -> None:
        calls = Calls()
        task = await _waiting(calls, swallowing())
        calls.cut()
        assert await task == "here"
        assert task.cancelling() == 0
        assert (calls._tasks, calls._cut) == (set(), set())

    run(main())
