"""A keyed request outlives its caller's time: 504 for this attempt, and the kept answer for the next one."""

import asyncio
from typing import Any

import trio
import trio.testing

from handrail.resilience.bound import current_deadline
from handrail.resilience.inbound.deadline import Deadlines
from handrail.resilience.inbound.idempotency import Idempotency, drain
from handrail.resilience.service import ServiceSettings
from handrail.resilience.testing import RecordingListener, run, sleep
from tests.resilience_inbound.idempotency_bench import Service, answer, whole

LITTLE_TIME = (b"x-envoy-expected-rq-timeout-ms", b"1000")


class Till(Service):
    """Charges after five seconds, whatever happens meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.bounds: list[float | None] = []
        self.disconnects = 0
        self.layer.app = self.work
        self.layer = Deadlines(  # type: ignore[assignment]
            self.layer, emit=RecordingListener(), trace_id=lambda: None, clock=self.clock
        )

    async def work(self, scope: Any, receive: Any, send: Any) -> None:
        await whole(receive)
        self.bounds.append(current_deadline())
        beside = asyncio.create_task(receive())  # as frameworks do that watch for the client's leaving
        await sleep(5)
        self.bounds.append(current_deadline())
        self.effects += 1
        self.disconnects += beside.done()
        await answer(send, 201, b'{"charge": %d}' % self.effects)
        await beside


def test_the_work_goes_on_and_its_answer_is_kept() -> None:
    """The caller has 504 in time; the app hears of nothing, is bound no longer, and acts once."""

    async def main() -> None:
        till = Till()
        first = await till.post('"abc"', b"{}", LITTLE_TIME)
        assert (first.status, first.problem, till.effects) == (504, "deadline", 0)
        assert till.clock.now() < 1002
        busy = await till.post('"abc"', b"{}", LITTLE_TIME)
        assert busy.problem == "idempotency-key-in-flight"
        await drain(60, till.clock)
        assert (till.effects, till.disconnects, till.states) == (1, 0, ["kept"])
        assert till.bounds == [1001.0, None]
        again = await till.post('"abc"', b"{}", LITTLE_TIME)
        assert (again.status, again.body, again.replayed) == (201, b'{"charge": 1}', True)

    run(main())


def test_a_request_in_flight_is_not_cut_while_it_is_compared() -> None:
    """What a deadline cuts in the layer itself leaves the key as it was."""

    async def main() -> None:
        till = Till()
        assert (await till.post()).status == 201

        async def never() -> Any:
            await asyncio.get_running_loop().create_future()

        cut = await till.post('"abc"', b"{}", LITTLE_TIME, receive=never)
        assert cut.problem == "deadline"
        assert (await till.post()).replayed

    run(main())


def test_on_trio() -> None:
    """The scope of a request ends with its caller's time, that of a keyed one goes on; a wish of trio's own passes.

    What cannot be cancelled (a thread) is waited for, and its answer sent.
    """

    async def main() -> None:
        sent: list[Any] = []
        noted: list[str] = []

        async def send(message: Any) -> None:
            await trio.lowlevel.checkpoint()
            sent.append(message)

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def app(scope: Any, _receive: Any, send: Any) -> None:
            try:
                if scope["path"] == "/stream":
                    await send({"type": "http.response.start", "status": 200, "headers": []})
                with trio.CancelScope(shield=scope["path"] == "/thread"):
                    await trio.sleep(5)
                noted.append("done")
                if scope["path"] == "/stream":
                    await send({"type": "http.response.body", "body": b"all"})
                else:
                    await answer(send, 201, b"{}")
            finally:
                noted.append("left")

        async def ask(path: str, *headers: tuple[bytes, bytes]) -> None:
            sent.clear()
            noted.clear()
            scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": list(headers)}
            await Deadlines(inner, emit=lambda _: None, trace_id=lambda: None, service=ServiceSettings())(
                scope, receive, send
            )

        service = Service()
        inner: Any = app
        await ask("/", LITTLE_TIME)
        assert ([one.get("status") for one in sent], noted) == ([504, None], ["left"])
        await ask("/stream", LITTLE_TIME)
        assert ([one.get("status") for one in sent], noted) == ([200, None], ["done", "left"])
        await ask("/thread", LITTLE_TIME)
        assert ([one.get("status") for one in sent], noted) == ([201, None], ["done", "left"])
        with trio.move_on_after(0.5) as scope:
            await ask("/", LITTLE_TIME)
        assert (scope.cancelled_caught, sent, noted) == (True, [], ["left"])
        inner = Idempotency(app, courier=service.courier, emit=lambda _: None, trace_id=lambda: None)
        await ask("/", LITTLE_TIME, (b"host", b"x"), (b"idempotency-key", b'"abc"'))
        assert ([one.get("status") for one in sent], noted) == ([504, None], [])
        await trio.sleep(6)
        assert noted == ["done", "left"]
        assert service.states == ["kept"]

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
