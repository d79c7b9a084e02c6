"""A client that leaves and a server that cancels: the work goes on to its end, and the key is never stuck."""

import asyncio
import gc
import logging
from contextlib import suppress
from typing import Any

import pytest

from handrail.resilience.inbound._idempotency_run import PATIENCE, Running
from handrail.resilience.inbound._idempotency_task import _running
from handrail.resilience.inbound.idempotency import drain
from handrail.resilience.testing import run
from tests.resilience_inbound.idempotency_bench import Got, Service, SlowCourier, answer, left_behind, turns, whole

START = "http.response.start"
BODY = "http.response.body"
LEFT = {"type": "http.disconnect"}


class Slow(Service):
    """Works until `going` is set; made on the loop. Every call into the server suspends."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.layer._courier = self.courier = SlowCourier(self.backend)
        self.going = asyncio.Event()
        self.layer.app = self.work

    async def work(self, scope: Any, receive: Any, send: Any) -> None:
        await whole(receive)
        await self.going.wait()
        await turns(2)
        self.effects += 1
        await turns(2)
        await answer(send, 201, b'{"charge": %d}' % self.effects)


def test_a_server_that_cancels() -> None:
    """The cancellation passes at once; the work is done, its answer kept, and given to the next attempt."""

    async def main() -> None:
        service = Slow()
        got = Got()
        task = asyncio.create_task(service.post(got=got))
        await turns(5)
        async with left_behind(task):
            assert (await service.post()).problem == "idempotency-key-in-flight"
            service.going.set()
            await drain(5.0)
        assert got.messages == []
        assert (await service.post()).replayed
        assert (service.effects, service.courier.held, _running) == (1, 0, set())

    run(main())


def test_cancelled_at_any_await() -> None:
    """Wherever the server cancels: acted at most once, nothing is held for ever, and the next attempt is answered."""
    steps = -1
    cancelled = True
    while cancelled:
        steps += 1

        async def main(steps: int = steps) -> bool:
            service = Slow()
            service.going.set()
            task = asyncio.create_task(service.post())
            await turns(steps)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            cut = task.cancelled()
            await turns(20)
            assert service.states in ([], ["kept"])
            assert (service.courier.held, _running, Running.alone_here()) == (0, set(), [])
            assert (await service.post()).status == 201
            assert service.effects == 1
            return cut

        cancelled = run(main())
    assert steps > 5


def test_the_whole_process_is_cancelled_at_any_await() -> None:
    """Every task ends, as `asyncio.run` ends them: a key is kept, free, or refused once its lease is over; never done
    again where it may have been done.
    """
    steps = 0
    done = False
    ends = set()
    while not done:
        steps += 1

        async def main(steps: int = steps) -> bool:
            service = Slow()
            service.going.set()
            task = asyncio.create_task(service.post())
            await turns(steps)
            over = task.done()
            for one in asyncio.all_tasks() - {asyncio.current_task()}:
                one.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await turns(5)
            service.courier.die()
            service.clock.advance(60.0)
            before = service.effects
            got = await service.post()
            assert service.effects == 1 or (before, got.problem) == (0, "idempotency-key-interrupted")
            ends.add(got.status)
            return over

        done = run(main())
    assert ends == {201, 409}


def test_the_process_is_cancelled_while_the_answer_is_put_down() -> None:
    """It is known what to keep: the store is told all the same, and nobody is refused."""

    async def main() -> None:
        service = Service()
        asked = asyncio.Event()

        async def never(*_: Any) -> Any:
            asked.set()
            await asyncio.Event().wait()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await whole(receive)
            service.courier.ask = never  # type: ignore[method-assign]
            await answer(send, 201, b"{}")

        service.layer.app = app
        task = asyncio.create_task(service.post())
        await asked.wait()
        for one in asyncio.all_tasks() - {asyncio.current_task()}:
            one.cancel()
        await asyncio.wait([task])
        assert service.states == ["kept"]

    run(main())


def test_a_call_into_the_server_that_would_never_return() -> None:
    """The body that a cancelled server no longer hands over, the client that no longer reads: neither holds the key."""

    async def main() -> None:
        hangs = asyncio.Event()

        async def silent(*_: Any) -> Any:
            await hangs.wait()

        service = Service()
        task = asyncio.create_task(service.post(receive=silent))
        await turns(5)
        async with left_behind(task):
            await turns(5)
        assert (service.effects, service.states) == (0, [])  # the body was not whole: an error of the app, and free
        task = asyncio.create_task(service.post(send=silent))
        await turns(5)
        async with left_behind(task):
            await turns(5)
        assert (service.effects, service.states) == (1, ["kept"])

    run(main())


def test_a_failure_that_nobody_waits_for_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """And not lost with its task; the key is free."""

    async def main() -> None:
        service = Slow()

        async def failing(scope: Any, receive: Any, send: Any) -> None:
            await service.going.wait()
            raise ValueError("a bug")

        service.layer.app = failing
        task = asyncio.create_task(service.post())
        await turns(5)
        async with left_behind(task):
            service.going.set()
            await turns(10)
        assert service.states == []

    caplog.set_level(logging.WARNING, "handrail")
    run(main())
    (record,) = caplog.records
    assert record.getMessage() == "POST /pay went on after its server had given it up, and failed"
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ValueError)


def test_an_app_is_not_told_at_once_that_its_client_left() -> None:
    """Quart and Django would cancel their own handler, Starlette its stream, in the middle of the work."""

    async def main() -> None:
        service = Slow()
        gone = asyncio.Event()

        async def watching(scope: Any, receive: Any, send: Any) -> None:
            await whole(receive)
            listener = asyncio.create_task(receive())
            worker = asyncio.create_task(service.going.wait())
            await asyncio.wait({listener, worker}, return_when=asyncio.FIRST_COMPLETED)
            if listener.done():
                worker.cancel()
                return
            service.effects += 1
            await answer(send, 201, b"{}")
            assert await listener == LEFT

        service.layer.app = watching
        task = asyncio.create_task(service.post(left=gone))
        await turns(5)
        gone.set()
        await turns(5)
        service.going.set()
        assert (await task).status == 201  # it goes to the server all the same, which knows what to do with it
        assert (await service.post()).replayed

    run(main())


def test_an_app_is_told_in_the_end() -> None:
    """After a minute. What it was doing nobody knows: no second attempt acts."""

    async def main() -> None:
        service = Slow()

        async def listening(scope: Any, receive: Any, send: Any) -> None:
            await whole(receive)
            before = service.clock.now()
            assert await receive() == LEFT
            waited.append(service.clock.now() - before)

        waited: list[float] = []
        parts = [LEFT, {"type": "http.request", "body": b"{}"}]

        async def receive() -> Any:
            return parts.pop()

        service.layer.app = listening
        assert (await service.post(receive=receive)).messages == []
        assert (waited, service.states, service.courier.held) == ([PATIENCE], ["begun"], 0)

    run(main())


@pytest.mark.parametrize(
    ("kind", "limit"), [(b"text/event-stream; charset=utf-8", 1000), (b"application/octet-stream", 3)]
)
def test_a_stream_that_nobody_reads_ends(kind: bytes, limit: int) -> None:
    """Events without end, and what is too large to be kept: the app hears at once that its client has left."""

    async def main() -> None:
        service = Service(idempotency_answer_max=limit)
        left = asyncio.Event()

        async def endless(scope: Any, receive: Any, send: Any) -> None:
            await whole(receive)
            listener = asyncio.create_task(receive())
            await send({"type": START, "status": 200, "headers": [(b"content-type", kind)]})
            while not listener.done():
                await send({"type": BODY, "body": b"data", "more_body": True})
                await turns(1)

        service.layer.app = endless
        task = asyncio.create_task(service.post(left=left))
        await turns(10)
        left.set()
        await task
        assert (await service.post()).problem == "idempotency-answer-not-kept"

    run(main())


def test_a_server_that_refuses_to_send() -> None:
    """OSError says that the client has left: the app goes on, and its answer is kept. One without end ends."""

    async def broken(message: Any) -> None:
        raise OSError("gone")

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": START, "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        while True:
            await send({"type": BODY, "body": b"data", "more_body": True})

    async def main() -> None:
        service = Service()
        await service.post(send=broken)
        assert (await service.post()).replayed
        service.layer.app = endless
        with pytest.raises(OSError, match="the client has left"):
            await service.post("two", send=broken)
        assert (await service.post("two")).problem == "idempotency-answer-not-kept"

    run(main())


def test_an_error_of_an_outer_layer_is_the_apps_to_see() -> None:
    """As ever: what its `send` raises goes into the app."""
    raised = RuntimeError("no such message")

    async def refusing(message: Any) -> None:
        raise raised

    async def main() -> None:
        with pytest.raises(RuntimeError) as caught:
            await Service().post(send=refusing)
        assert caught.value is raised

    run(main())


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
def test_what_ends_the_process_passes(error: type[BaseException]) -> None:
    """The same object, to whoever waits; the key is let go, since nobody knows what was done."""
    raised = error()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise raised

    async def main() -> None:
        service = Service(app)
        with pytest.raises(error) as caught:
            await service.post()
        assert caught.value is raised
        assert (service.states, service.courier.held) == (["begun"], 0)

    asyncio.run(main())


def test_draining_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    """What is not done by then is cut off with the process, and said."""

    async def main() -> None:
        service = Slow()
        task = asyncio.create_task(service.post())
        await turns(5)
        async with left_behind(task):
            await drain(3.0)
        assert len(_running) == 1

    caplog.set_level(logging.WARNING, "handrail")
    run(main())
    assert caplog.messages == ["1 requests with an Idempotency-Key are cut off at the end"]


def test_nothing_to_drain() -> None:
    """No wait."""
    run(drain(3.0))


def test_a_loop_that_is_thrown_away() -> None:
    """With the request in it, as a runner of tests does: the lease is not renewed for ever."""
    service = Service()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    service.layer.app = app
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)
    waiting = [loop.create_task(service.post())]
    for _ in range(5):
        loop.run_until_complete(_turn())
    assert service.courier.held == 1
    loop.close()
    _running.clear()
    waiting.clear()
    gc.collect()
    assert (service.states, service.courier.held) == (["begun"], 0)


async def _turn() -> None:
    await asyncio.wait([asyncio.ensure_future(asyncio.to_thread(int))])


def test_an_error_before_the_app_is_begun() -> None:
    """Of a function that the layer was given: nothing was done, and the key is free."""
    service = Service()
    service.layer._trace_id = _failing

    async def main() -> None:
        with pytest.raises(LookupError):
            await service.post()
        assert (service.effects, service.states, service.courier.held) == (0, [], 0)

    run(main(), service.clock)


def _failing() -> str:
    raise LookupError
