"""The same on trio."""

from collections.abc import MutableMapping
from typing import Any

import pytest
import trio
import trio.testing

from handrail.resilience.inbound.single_flight import SingleFlight
from handrail.resilience.testing import RecordingListener

Message = MutableMapping[str, Any]


class Service:
    """An app that answers when it may, and what its clients got."""

    def __init__(self) -> None:
        self.runs = 0
        self.ended = 0
        self.go = trio.Event()
        self.got: dict[int, list[bytes]] = {}
        self.fails = 0
        self.layer = SingleFlight(self._app, routes=["/"], emit=RecordingListener(), trace_id=lambda: None)

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        self.runs += 1
        try:
            await self.go.wait()
            if self.fails:
                self.fails -= 1
                raise LookupError("broken")
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"well"})
        finally:
            self.ended += 1

    async def ask(self, number: int) -> None:
        got = self.got[number] = []

        async def receive() -> Message:
            await trio.sleep_forever()
            raise AssertionError

        async def send(message: Message) -> None:
            await trio.lowlevel.checkpoint()
            got.append(message.get("body", b""))

        scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}
        await self.layer(scope, receive, send)


def test_one_run_serves_all_on_trio() -> None:
    """Also when the first client's task is cancelled in between."""

    async def main() -> None:
        service = Service()
        async with trio.open_nursery() as nursery:
            first = await nursery.start(_cancellable, service)
            for number in (1, 2):
                nursery.start_soon(service.ask, number)
            await trio.testing.wait_all_tasks_blocked()
            first.cancel()
            await trio.testing.wait_all_tasks_blocked()
            service.go.set()
        assert service.runs == 1
        assert service.got == {0: [], 1: [b"", b"well"], 2: [b"", b"well"]}

    trio.run(main)


def test_the_last_one_ends_the_run_on_trio() -> None:
    """And waits for it, although it is being cancelled itself."""

    async def main() -> None:
        service = Service()
        async with trio.open_nursery() as nursery:
            first = await nursery.start(_cancellable, service)
            await trio.testing.wait_all_tasks_blocked()
            first.cancel()
        assert (service.runs, service.ended) == (1, 1)
        assert not service.layer._runs

    trio.run(main)


def test_a_failure_on_trio() -> None:
    """The first has the exception, one of the others begins anew."""

    async def main() -> None:
        service = Service()
        service.fails = 1
        outcomes: list[str] = []

        async def ask(number: int) -> None:
            try:
                await service.ask(number)
            except LookupError as error:
                outcomes.append(str(error))

        async with trio.open_nursery() as nursery:
            for number in range(4):
                nursery.start_soon(ask, number)
            await trio.testing.wait_all_tasks_blocked()
            service.go.set()
        assert outcomes == ["broken"]
        assert service.runs == 2
        assert sorted(len(got) for got in service.got.values()) == [0, 2, 2, 2]

    trio.run(main)


def test_trio_ends_with_a_run_under_way() -> None:
    """What leaves a system task would bring it down as an internal error."""

    async def main() -> None:
        service = Service()
        with trio.move_on_after(0.01):
            await service.ask(0)
        raise LookupError("the end")

    with pytest.raises(LookupError, match="the end"):
        trio.run(main)


async def _cancellable(service: Service, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
    with trio.CancelScope() as scope:
        task_status.started(scope)
        await service.ask(0)
