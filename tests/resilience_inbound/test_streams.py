"""Websockets and event streams: counted apart, and refused above their limit."""

import asyncio
from typing import Any

import pytest

from handrail.resilience.events import RequestRefused
from handrail.resilience.inbound._reply import Replies
from handrail.resilience.inbound.streams import OpenStreams, StreamLimit
from handrail.resilience.testing import RecordingListener, run, sleep
from tests.resilience_inbound.shedding_bench import Service, quiet


async def events(scope: Any, receive: Any, send: Any) -> None:
    """An app that streams for ten seconds."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    for _ in range(10):
        await sleep(1)
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def test_an_event_stream_gives_its_place_back() -> None:
    """It is a stream from its first message on: many may be open where one request may be under way."""
    service = Service(events, load_max=1, load_queue=0)

    async def main() -> None:
        tasks = set()
        for _ in range(5):
            tasks.add(asyncio.create_task(service.ask()))
            await sleep()
        assert (service.load.under_way, service.streams.count) == (0, 5)
        await quiet(service, tasks)

    run(main(), service.clock)
    assert [got.status for got in service.got] == [200] * 5


def test_an_event_stream_too_many_is_answered_503_in_place_of_its_start() -> None:
    """And the app hears that its client has gone: it stops."""
    service = Service(events, streams=1)

    async def main() -> None:
        first = asyncio.create_task(service.ask())
        await sleep()
        refused = await service.ask()
        assert (refused.status, refused.seconds) == (503, 0)
        await quiet(service, {first})

    run(main(), service.clock)
    assert service.told.of(RequestRefused) == [RequestRefused("", "GET", "streams", "limit", 503)]


def test_a_body_that_runs_for_long_becomes_a_stream() -> None:
    """A download over a slow line does nothing for most of its time."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(10):
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            await sleep(1)
        await send({"type": "http.response.body", "body": b""})

    service = Service(app)

    async def main() -> None:
        task = asyncio.create_task(service.ask())
        await sleep(4.5)
        assert (service.load.under_way, service.streams.count) == (1, 0)
        await sleep(2)
        assert (service.load.under_way, service.streams.count) == (0, 1)
        await quiet(service, {task})

    run(main(), service.clock)


@pytest.mark.parametrize("answers", [True, False])
def test_a_websocket_too_many_is_refused_before_it_is_accepted(answers: bool) -> None:
    """503 where the server can say it, else a close: the code 1013 says to try again later."""
    told = RecordingListener()
    streams = OpenStreams(1)
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await sleep(5)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    layer = StreamLimit(app, streams=streams, replies=Replies(trace_id=lambda: None), emit=told)
    scope: dict[str, Any] = {"type": "websocket", "path": "/ws", "headers": []}
    if answers:
        scope["extensions"] = {"websocket.http.response": {}}

    async def main() -> None:
        first = asyncio.ensure_future(layer(scope, receive, send))
        await sleep()
        await layer(scope, receive, send)
        assert streams.count == 1
        await first
        assert streams.count == 0

    run(main())
    if answers:
        assert (sent[0]["status"], len(sent)) == (503, 2)
    else:
        assert sent == [{"type": "websocket.close", "code": 1013, "reason": ""}]
    assert told.of(RequestRefused) == [RequestRefused("", "GET", "streams", "limit", 503)]


@pytest.mark.parametrize("most", [0, 1])
def test_event_streams_are_counted_where_load_shedding_is_off(most: int) -> None:
    """By the layer that counts websockets; 0 is any number."""
    streams = OpenStreams(most)
    statuses: list[int] = []
    layer = StreamLimit(
        events, streams=streams, replies=Replies(trace_id=lambda: None), emit=RecordingListener(), events=True
    )

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}

    async def main() -> None:
        await asyncio.gather(*(layer(scope, None, send) for _ in range(2)))  # type: ignore[arg-type]  # not called

    run(main())
    assert statuses == ([200, 200] if most == 0 else [200, 503])
    assert streams.count == 0
