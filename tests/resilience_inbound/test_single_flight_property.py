"""Clients that come, read slowly and leave at any time, and an app that may fail: each gets all of it, or an error."""

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from handrail.resilience.inbound import _flight_run
from handrail.resilience.inbound.single_flight import SingleFlight
from handrail.resilience.testing import RecordingListener, run, sleep

PIECE = 300_000
SECONDS = st.sampled_from([0.0, 0.1, 1.0, 2.5, 7.0, 30.0])
CLIENTS = st.lists(st.tuples(SECONDS, SECONDS, st.none() | SECONDS), min_size=1, max_size=6)
"""When it comes, how long it takes for a message, and after how long it is cancelled, if ever."""


class App:
    """So many pieces with a pause before each; `fails`: at which of them each run in turn raises."""

    def __init__(self, pieces: int, pause: float, fails: list[int | None], *, asks: bool) -> None:
        self.whole = b"".join(bytes([number]) * PIECE for number in range(pieces))
        self.under_way = 0
        self._pieces = pieces
        self._pause = pause
        self._fails = list(fails)
        self._asks = asks

    async def __call__(self, _scope: Any, receive: Any, send: Any) -> None:
        self.under_way += 1
        try:
            await self._answer(receive, send)
        finally:
            self.under_way -= 1

    async def _answer(self, receive: Any, send: Any) -> None:
        if self._asks:
            await receive()
        broken = self._fails.pop(0) if self._fails else None
        await sleep(self._pause)
        if broken == 0:
            raise LookupError("before")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in range(self._pieces):
            await send({"type": "http.response.body", "body": bytes([number]) * PIECE, "more_body": True})
            await sleep(self._pause)
            if broken == number + 1:
                raise LookupError("middle")
        await send({"type": "http.response.body", "body": b""})


@settings(max_examples=300, deadline=None)
@given(
    clients=CLIENTS,
    pieces=st.integers(0, 8),
    pause=SECONDS,
    fails=st.lists(st.none() | st.integers(0, 8), max_size=3),
    asks=st.booleans(),
)
def test_everybody_gets_all_of_it_or_an_error(
    clients: list[tuple[float, float, float | None]],
    pieces: int,
    pause: float,
    fails: list[int | None],
    asks: bool,
) -> None:
    """And in the end no run is left, and no app under way."""
    app = App(pieces, pause, fails, asks=asks)
    layer = SingleFlight(app, routes=["/"], emit=RecordingListener(), trace_id=lambda: None)

    async def one(slow: float, got: list[Any]) -> None:
        async def receive() -> Any:
            await asyncio.Event().wait()

        async def send(message: Any) -> None:
            await sleep(slow)
            got.append(message)

        scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}
        await layer(scope, receive, send)

    async def client(comes: float, slow: float, leaves: float | None) -> None:
        await sleep(comes)
        got: list[Any] = []
        try:
            async with asyncio.timeout(leaves):
                await one(slow, got)
        except (LookupError, TimeoutError):
            return
        complete = bool(got) and got[-1]["type"] == "http.response.body" and not got[-1].get("more_body")
        if complete:
            assert b"".join(message.get("body", b"") for message in got) == app.whole
        else:  # cut off, and only where it was behind for longer than others had to bear
            assert len(clients) > 1
            assert slow > 0
            assert len(app.whole) > _flight_run.WINDOW

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for told in clients:
                group.create_task(client(*told))
        await sleep(1000)
        assert app.under_way == 0
        assert not layer._runs

    run(main())
