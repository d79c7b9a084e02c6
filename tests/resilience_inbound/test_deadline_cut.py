"""A request whose caller's time is spent is cancelled once, cleanly, and answered with 504; nothing else is touched."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import pytest

from handrail.resilience.bound import current_deadline
from handrail.resilience.events import RequestRefused
from handrail.resilience.inbound._deadline_cut import GRACE
from handrail.resilience.inbound.deadline import Deadlines
from handrail.resilience.service import ServiceSettings
from handrail.resilience.testing import FakeClock, RecordingListener, run, sleep

TRACE = "0af7651916cd43dd8448eb211c80319c"
MS = b"x-envoy-expected-rq-timeout-ms"
Message = MutableMapping[str, Any]
Work = Callable[[Callable[[Message], Awaitable[None]]], Awaitable[None]]

OK: Message = {"type": "http.response.start", "status": 200, "headers": []}


def part(body: bytes, *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}


class Service:
    """A service whose one request has a second; `work` gets its send."""

    def __init__(self, work: Work, *, cancel: bool = True, mode: str = "enforce") -> None:
        async def app(_scope: Any, _receive: Any, send: Any) -> None:
            await work(send)

        self.clock = FakeClock()
        self.told = RecordingListener()
        self.sent: list[Message] = []
        self.layer = Deadlines(
            app,
            emit=self.told,
            trace_id=lambda: TRACE,
            service=ServiceSettings(deadline_mode=mode),
            clock=self.clock,
            cancel=cancel,
        )

    async def ask(self, ms: bytes = b"1000") -> None:
        async def send(message: Message) -> None:
            self.sent.append(message)

        async def receive() -> Message:
            await asyncio.Event().wait()
            return {}

        scope = {"type": "http", "method": "GET", "path": "/pay", "headers": [(MS, ms)] if ms else []}
        await self.layer(scope, receive, send)

    def play(self, ms: bytes = b"1000") -> "Service":
        run(self.ask(ms), self.clock)
        return self

    @property
    def statuses(self) -> list[int]:
        return [message["status"] for message in self.sent if message["type"] == "http.response.start"]

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)


async def _never() -> None:
    await asyncio.get_running_loop().create_future()


def test_it_is_cancelled_once_and_answered_with_504(caplog: pytest.LogCaptureFixture) -> None:
    """`finally` and `async with` are left, with awaits of their own; then the problem goes out, with the trace id."""
    caplog.set_level(logging.WARNING, "handrail")
    left: list[str] = []

    async def work(_send: Any) -> None:
        try:
            await sleep(60)
        except asyncio.CancelledError:
            left.append("cancelled")
            raise
        finally:
            await sleep(0.3)
            left.append("cleaned")

    service = Service(work).play()
    assert left == ["cancelled", "cleaned"]
    assert service.clock.now() == pytest.approx(1001.3 + GRACE)
    assert service.statuses == [504]
    assert json.loads(service.body) == {
        "type": "urn:handrail:problem:deadline",
        "title": "Gateway Timeout",
        "status": 504,
        "detail": "the deadline of the caller passed before the answer began: cancelled",
        "trace_id": TRACE,
        "policy": "deadline",
    }
    assert service.told.events == [RequestRefused("", "GET", "deadline", "spent", 504)]
    assert caplog.messages == [
        "GET /pay answered 504: the deadline of the caller passed before the answer began: cancelled"
    ]


def test_an_answer_that_has_begun_is_not_cut() -> None:
    """What streams goes on for as long as it likes."""

    async def work(send: Any) -> None:
        await sleep(0.9)
        await send(OK)
        await sleep(3600)
        await send(part(b"all", more=True))
        await sleep(3600)
        await send(part(b" of it"))

    service = Service(work).play()
    assert (service.statuses, service.body, service.told.events) == ([200], b"all of it", [])


def test_an_answer_in_place_of_the_cancellation_is_sent() -> None:
    """Who swallows it and answers has answered, and its task is as good as new."""
    cancelling: list[int] = []

    async def work(send: Any) -> None:
        try:
            await _never()
        except asyncio.CancelledError:
            await sleep(0.4)
            await send(OK)
            await send(part(b"as far as I came"))

    async def main() -> None:
        await service.ask()
        task = asyncio.current_task()
        assert task is not None
        cancelling.append(task.cancelling())

    service = Service(work)
    run(main(), service.clock)
    assert (service.statuses, service.body, cancelling) == ([200], b"as far as I came", [0])
    assert service.told.events == []


def test_an_answer_in_a_finally_is_sent_and_the_cancellation_ends_here() -> None:
    """It is whole, so there is nothing left to say; the server hears of no error."""

    async def work(send: Any) -> None:
        try:
            await _never()
        finally:
            await send(OK)
            await send(part(b"sorry"))

    service = Service(work).play()
    assert (service.statuses, service.body) == ([200], b"sorry")


def test_half_an_answer_in_a_finally_breaks_off() -> None:
    """The server must know that it is not whole."""

    async def work(send: Any) -> None:
        try:
            await _never()
        finally:
            await send(OK)

    service = Service(work)
    with pytest.raises(TimeoutError):
        service.play()
    assert service.statuses == [200]


def test_swallowed_without_an_answer() -> None:
    """Somebody has to say something."""

    async def work(_send: Any) -> None:
        try:
            await _never()
        except asyncio.CancelledError:
            return

    assert Service(work).play().statuses == [504]


@pytest.mark.parametrize("late", [False, True])
def test_a_cancellation_from_outside_passes(late: bool) -> None:
    """A client that has gone, a server that ends: never turned into 504, also where both come at once."""
    seen: list[int] = []

    async def work(_send: Any) -> None:
        try:
            await _never()
        except asyncio.CancelledError:
            seen.append(1)
            if late:
                await sleep(2)  # the deadline passes meanwhile: it is cancelled anew
            raise

    async def main() -> None:
        task = asyncio.create_task(service.ask())
        await sleep(0.5)
        task.cancel("from outside")
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert task.cancelled()
        if not late:
            assert caught.value.args == ("from outside",)

    service = Service(work)
    run(main(), service.clock)
    assert (service.sent, service.told.events, seen) == ([], [], [1])


def test_a_timeout_of_the_apps_own_is_its_own() -> None:
    """Before the deadline, and in answer to the cancellation: the same object goes up."""
    theirs = TimeoutError("of the app")

    async def early(_send: Any) -> None:
        raise theirs

    async def at_the_end(_send: Any) -> None:
        try:
            await _never()
        except asyncio.CancelledError:
            raise theirs from None

    for work in (early, at_the_end):
        service = Service(work)
        with pytest.raises(TimeoutError) as caught:
            service.play()
        assert caught.value is theirs
        assert service.sent == []


def test_timeouts_within_the_app_stay_what_they_are() -> None:
    """`asyncio.timeout` around the work, longer or shorter than the deadline."""
    seen: list[str] = []

    def limited(seconds: float) -> Work:
        async def work(send: Any) -> None:
            try:
                async with asyncio.timeout(seconds):
                    await _never()
            except TimeoutError:
                seen.append(f"own after {seconds}")
                await send(OK)
                await send(part(b"slow"))

        return work

    assert Service(limited(0.5)).play().statuses == [200]
    assert Service(limited(5)).play().statuses == [504]
    assert seen == ["own after 0.5"]


def test_what_is_left_behind_is_not_heard() -> None:
    """A framework's task that goes on: its answer is dropped without a word, one without end is ended."""
    ended: list[str] = []
    tasks: list[asyncio.Task[None]] = []

    async def behind(send: Any) -> None:
        await sleep(5)
        await send(OK)
        try:
            while True:
                await send(part(b"more", more=True))
        except OSError:
            ended.append("told")
        await send(part(b""))

    async def work(send: Any) -> None:
        tasks.append(asyncio.create_task(behind(send)))
        await asyncio.shield(tasks[0])

    async def main() -> None:
        await service.ask()
        await tasks[0]

    service = Service(work)
    run(main(), service.clock)
    assert (service.statuses, ended) == ([504], ["told"])
    assert len(service.sent) == 2


def test_an_error_while_the_answer_goes_out_without_the_app() -> None:
    """The answer goes out whole, and the error goes up after it."""
    order: list[str] = []

    async def work(_send: Any) -> None:
        try:
            await _never()
        finally:
            await sleep(1)
            order.append("raised")
            raise ValueError("in the clean-up")

    async def slowly(message: Message) -> None:
        await sleep(1)  # a client that reads slowly
        order.append(message["type"])

    service = Service(work)
    scope = {"type": "http", "method": "GET", "path": "/pay", "headers": [(MS, b"1000")]}
    receive: Any = None
    with pytest.raises(ValueError, match="in the clean-up"):
        run(service.layer(scope, receive, slowly), service.clock)  # type: ignore[arg-type]  # a coroutine
    assert order == ["raised", "http.response.start", "http.response.body"]


@pytest.mark.parametrize(
    ("cancel", "mode", "ms"), [(False, "enforce", b"1000"), (True, "propagate", b"1000"), (True, "enforce", b"")]
)
def test_nothing_is_cut_without_the_wish(cancel: bool, mode: str, ms: bytes) -> None:
    """Not by `deadline_cancel = false`, not in the other modes, and there is no timer without a deadline."""

    async def work(send: Any) -> None:
        await sleep(60)
        await send(OK)
        await send(part(b"at last"))

    assert Service(work, cancel=cancel, mode=mode).play(ms).statuses == [200]


def test_what_the_app_makes_of_a_call_that_ran_out_of_time_comes_first() -> None:
    """Calls end at the deadline, the request a little later: an answer of the app's own is the better one."""

    async def work(send: Any) -> None:
        ends = current_deadline()
        assert ends is not None
        await sleep(ends - 1000.0)  # as a call that is bound by it
        await send({**OK, "status": 503})
        await send(part(b"the payment is slow today"))

    service = Service(work).play()
    assert (service.statuses, service.body) == ([503], b"the payment is slow today")


def test_nothing_binds_the_rest() -> None:
    """A task that the request leaves behind is bound no longer when the 504 is out."""
    seen: list[float | None] = []
    tasks: list[asyncio.Task[None]] = []

    async def behind() -> None:
        seen.append(current_deadline())
        await sleep(5)
        seen.append(current_deadline())

    async def work(_send: Any) -> None:
        tasks.append(asyncio.create_task(behind()))
        await _never()

    async def main() -> None:
        await service.ask()
        assert current_deadline() is None
        await tasks[0]

    service = Service(work)
    run(main(), service.clock)
    assert seen == [1001.0, None]
