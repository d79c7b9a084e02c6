"""The layer with the courier that services have: its thread, on asyncio and on trio."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import trio

from handrail.resilience.inbound.idempotency import Idempotency, drain, idempotency_key
from handrail.resilience.replay.courier import Courier
from handrail.resilience.replay.settings import IdempotencySettings
from handrail.resilience.replay.testing import MemoryBackend
from tests.resilience_inbound.idempotency_bench import Got, answer, whole

Run = Callable[[Callable[[], Awaitable[None]]], None]


class Bench:
    """A service, a courier and a store in memory."""

    def __init__(self) -> None:
        self.backend = MemoryBackend()
        self.courier = Courier(lambda: self.backend, lease=10.0)
        self.effects = 0
        self.seen: list[str | None] = []
        self.layer = self.around(self.charge)

    def around(self, app: Any) -> Idempotency:
        return Idempotency(
            app,
            courier=self.courier,
            emit=lambda event: None,
            trace_id=lambda: None,
            settings=IdempotencySettings(),
        )

    async def charge(self, scope: Any, receive: Any, send: Any) -> None:
        await whole(receive)
        self.effects += 1
        self.seen.append(idempotency_key())
        await answer(send, 201, b'{"charge": %d}' % self.effects)

    async def post(self, key: bytes = b'"k"') -> Got:
        got = Got()

        async def send(message: Any) -> None:
            got.messages.append(message)

        async def receive() -> Any:
            return {"type": "http.request", "body": b"{}"}

        scope = {"type": "http", "method": "POST", "path": "/", "headers": [(b"idempotency-key", key)]}
        await self.layer(scope, receive, send)
        return got


@pytest.fixture
def bench() -> Iterator[Bench]:
    found = Bench()
    yield found
    found.courier.end(10.0)


def on_asyncio(main: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(main())  # type: ignore[arg-type]  # a coroutine function


def on_trio(main: Callable[[], Awaitable[None]]) -> None:
    trio.run(main)


both = pytest.mark.parametrize("run", [on_asyncio, on_trio])


@both
def test_a_request_sent_twice_acts_once(bench: Bench, run: Run) -> None:
    """Through the courier's thread and back; the key is there for the app."""

    async def main() -> None:
        assert (await bench.post()).status == 201
        second = await bench.post()
        assert (second.replayed, second.body) == (True, b'{"charge": 1}')

    run(main)
    assert (bench.effects, bench.seen) == (1, ["k"])


@both
def test_what_an_app_raises_is_raised(bench: Bench, run: Run) -> None:
    """The same object, out of its own task."""
    raised = ValueError("a bug")

    async def failing(scope: Any, receive: Any, send: Any) -> None:
        raise raised

    async def main() -> None:
        bench.layer = bench.around(failing)
        with pytest.raises(ValueError, match="a bug") as caught:
            await bench.post()
        assert caught.value is raised
        bench.layer = bench.around(bench.charge)
        assert (await bench.post()).status == 201

    run(main)


@pytest.mark.parametrize("failing", [False, True])
def test_a_server_on_trio_that_cancels(bench: Bench, failing: bool) -> None:
    """As on asyncio: the work goes on, its answer is kept, and a failure frees the key."""

    async def main() -> None:
        begun, going = trio.Event(), trio.Event()

        async def slow(scope: Any, receive: Any, send: Any) -> None:
            await whole(receive)
            begun.set()
            await going.wait()
            if failing:
                raise ValueError("a bug")
            bench.effects += 1
            await answer(send, 201, b"{}")

        bench.layer = bench.around(slow)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.post)
            await begun.wait()
            nursery.cancel_scope.cancel()
        going.set()
        await drain(30.0)
        bench.layer.app = bench.charge
        assert (await bench.post()).replayed is not failing

    trio.run(main)
    assert bench.effects == 1


def test_fifty_at_the_same_moment(bench: Bench) -> None:
    """One acts; the others are told that it is under way, or get its answer."""

    async def main() -> None:
        got = await asyncio.gather(*(bench.post() for _ in range(50)))
        assert {one.status for one in got} <= {201, 409}
        assert len({one.body for one in got if one.status == 201}) == 1
        assert (await bench.post()).replayed

    asyncio.run(main())
    assert bench.effects == 1


def test_a_store_that_lost_its_answers(bench: Bench) -> None:
    """It did the work and could not say so: the key is begun once, its answer kept once, whatever is asked again."""

    async def main() -> None:
        got = await bench.post(b"first")
        assert got.status == 201

        async def losing(scope: Any, receive: Any, send: Any) -> None:
            bench.backend.after = ConnectionError("reset")
            await bench.charge(scope, receive, send)

        bench.layer.app = losing
        assert (await bench.post()).status == 201
        bench.backend.after = None
        while (got := await bench.post()).status == 503:
            pass
        assert got.replayed

    asyncio.run(main())
    assert bench.effects == 2


def test_cancelled_in_any_moment(bench: Bench) -> None:
    """Before the store was asked, while it is asked, after: no key is stuck, none acts twice."""

    async def main() -> None:
        for turns in range(40):
            key = b"%d" % turns
            task = asyncio.create_task(bench.post(key))
            for _ in range(turns % 8):
                await asyncio.wait([asyncio.ensure_future(asyncio.to_thread(int))])
            task.cancel()
            await asyncio.wait([task])
            before = bench.effects
            while (got := await bench.post(key)).status == 409:
                pass
            assert got.status == 201
            assert bench.effects - before == (0 if got.replayed else 1)
        assert bench.effects == 40

    asyncio.run(main())
