"""The end of a server, as far as requests and streams see it: on virtual time, on trio, loop by loop."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import anyio
import pytest
import trio
import trio.testing

from handrail.resilience.events import RequestRefused
from handrail.resilience.inbound._reply import Replies
from handrail.resilience.inbound.drain import ClientSentAway, Drain, Draining
from handrail.resilience.testing import FakeClock, RecordingListener, run

START: dict[str, Any] = {"type": "http.response.start", "status": 200, "headers": []}
STREAM: dict[str, Any] = {**START, "headers": [(b"Content-Type", b"text/event-stream; charset=utf-8")]}
PIECE: dict[str, Any] = {"type": "http.response.body", "body": b"x", "more_body": True}
LAST: dict[str, Any] = {"type": "http.response.body", "body": b"", "more_body": False}


class Server:
    """Runs requests of one app through the layer and keeps what it sends."""

    def __init__(self, app: Any, clock: FakeClock | None = None) -> None:
        self.clock = clock or FakeClock()
        self.drain = Drain(self.clock)
        self.told = RecordingListener()
        self.sent: list[Any] = []
        self.layer = Draining(app, self.drain, emit=self.told, replies=Replies(trace_id=lambda: "0af7"))

    async def ask(self, **scope: Any) -> None:
        async def receive() -> Any:
            await anyio.sleep_forever()

        async def send(message: Any) -> None:
            self.sent.append(message)

        whole = {"type": "http", "http_version": "1.1", "method": "GET", "path": "/", "headers": [], **scope}
        await self.layer(whole, receive, send)

    def begin(self, **scope: Any) -> "asyncio.Task[None]":
        return asyncio.create_task(self.ask(**scope))

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])


async def _quick(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    await send(LAST)


async def _for_ever(scope: Any, receive: Any, send: Any) -> None:
    await asyncio.Event().wait()


async def _settled() -> None:
    """Everything that is ready has run."""
    for _ in range(10):
        await asyncio.sleep(0)  # noqa: TID251 (gives way, waits for nothing)


def test_answers_say_that_the_connection_ends() -> None:
    """Every answer by HTTP/1.1 while the service drains, also to requests that came before."""
    gate = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await gate.wait()
        await _quick(scope, receive, send)

    server = Server(app)

    async def main() -> None:
        early = server.begin()
        await _settled()
        server.drain.begin()
        gate.set()
        await early
        await server.ask()
        await server.ask(http_version="2")

    run(main(), server.clock)
    starts = [message for message in server.sent if message["type"] == "http.response.start"]
    assert [dict(start["headers"]).get(b"connection") for start in starts] == [b"close", b"close", None]


def test_what_the_app_says_of_its_connection_stays() -> None:
    """One header, the app's; and the app's own message is not touched."""
    said: dict[str, Any] = {**START, "headers": [(b"Connection", b"upgrade")]}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(said)

    server = Server(app)

    async def main() -> None:
        server.drain.begin()
        await server.ask()

    run(main(), server.clock)
    assert server.sent == [{**START, "headers": [(b"Connection", b"upgrade")]}]


def test_nothing_is_added_before() -> None:
    """A service that does not drain sends the app's messages, the same objects."""
    server = Server(_quick)
    run(server.ask(), server.clock)
    assert server.sent[0] is START
    assert server.sent[1] is LAST
    assert not server.drain.underway


def test_what_is_left_is_cancelled_and_answered() -> None:
    """After the time for requests under way, and not before: 503, its reason, and that it may be sent elsewhere."""
    server = Server(_for_ever)

    async def main() -> None:
        task = server.begin()
        await _settled()
        began = server.clock.now()
        server.drain.end(20)
        await task
        assert server.clock.now() - began == 20
        assert not task.cancelling()

    run(main(), server.clock)
    assert server.sent[0]["status"] == 503
    assert server.headers[b"retry-after"] == b"1"
    assert server.headers[b"connection"] == b"close"
    assert b'"policy": "drain"' in server.sent[1]["body"]
    assert server.told.of(RequestRefused) == [RequestRefused("", "GET", "drain", "", 503)]
    assert not server.drain.underway


def test_a_response_that_has_begun_is_not_made_to_look_whole() -> None:
    """It ends where it was: whoever reads it sees that the rest is missing."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(PIECE)
        await asyncio.Event().wait()

    server = Server(app)

    async def main() -> None:
        task = server.begin()
        await _settled()
        server.drain.end(20)
        await task

    run(main(), server.clock)
    assert server.sent == [START, PIECE]
    assert server.told.of(RequestRefused) == [RequestRefused("", "GET", "drain", "begun", 200)]


def test_another_cancellation_passes_through() -> None:
    """A server that gives a request up gets its CancelledError, and nothing is answered."""
    server = Server(_for_ever)

    async def main() -> None:
        task = server.begin()
        await _settled()
        server.drain.begin()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main(), server.clock)
    assert (server.sent, list(server.told.events), server.drain.underway) == ([], [], {})


def test_a_cancellation_from_outside_outlives_our_own() -> None:
    """A request that is cut off, and given up by its server at the same moment, is cancelled."""
    server = Server(_for_ever)

    async def main() -> None:
        task = server.begin()
        await _settled()
        server.drain.cut()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main(), server.clock)
    assert (server.sent, server.drain.underway) == ([], {})


def test_the_apps_error_passes_through() -> None:
    """The same object, and nothing is left behind."""
    mistake = RuntimeError("a mistake")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise mistake

    server = Server(app)
    with pytest.raises(RuntimeError) as caught:
        run(server.ask(), server.clock)
    assert caught.value is mistake
    assert not server.drain.underway


def _streaming(start: Any, after: Callable[[], None] = lambda: None) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start)
        await send(PIECE)
        await asyncio.Event().wait()

    return app


def test_an_event_stream_ends_whole_and_at_once() -> None:
    """By GET, as EventSource asks: the body is complete, so that the client comes again, to somebody else."""
    server = Server(_streaming(STREAM))

    async def main() -> None:
        task = server.begin()
        await _settled()
        began = server.clock.now()
        server.drain.end(20)
        await _settled()
        assert server.sent == [STREAM, PIECE, LAST]
        assert server.clock.now() == began
        await task  # this app does not listen: it is cut off in the end

    run(main(), server.clock)
    assert server.sent == [STREAM, PIECE, LAST]


@pytest.mark.parametrize(("start", "method"), [(START, "GET"), (STREAM, "POST")])
def test_an_answer_with_an_end_is_let_go_on(start: Any, method: str) -> None:
    """A download, and the tokens of a model that come as events to a POST, are not broken off while there is time."""
    server = Server(_streaming(start))

    async def main() -> None:
        task = server.begin(method=method)
        await _settled()
        server.drain.end(20)
        await _settled()
        assert server.sent == [start, PIECE]
        task.cancel()
        await asyncio.wait([task])

    run(main(), server.clock)


def test_streams_go_on_while_requests_are_taken() -> None:
    """Before the end of accepting a client would come back to the same place: nobody is sent away."""
    server = Server(_streaming(STREAM))

    async def main() -> None:
        task = server.begin()
        await _settled()
        server.drain.begin()
        await _settled()
        assert server.sent == [STREAM, PIECE]
        task.cancel()
        await asyncio.wait([task])

    run(main(), server.clock)


@pytest.mark.parametrize(
    ("spec", "raised"), [({}, None), ({"spec_version": "2.3"}, None), ({"spec_version": "2.4"}, ClientSentAway)]
)
def test_an_app_that_writes_on(spec: Any, raised: type[OSError] | None) -> None:
    """As after any client that left: nothing is sent, and `send` raises OSError where the version of ASGI has that."""
    gate = asyncio.Event()
    outcome: list[type[BaseException] | None] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(STREAM)
        await gate.wait()
        try:
            await send(PIECE)
        except OSError as error:
            outcome.append(type(error))
        else:
            outcome.append(None)

    server = Server(app)

    async def main() -> None:
        task = server.begin(asgi={"version": "3.0", **spec})
        await _settled()
        server.drain.end(20)
        await _settled()
        gate.set()
        await task

    run(main(), server.clock)
    assert outcome == [raised]
    assert server.sent == [STREAM, LAST]


def test_a_websocket_is_closed_with_service_restart() -> None:
    """1012; the app that writes on gets OSError, and its own close is not sent again."""
    gate = asyncio.Event()
    outcome: list[BaseException] = []
    accept = {"type": "websocket.accept"}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(accept)
        await gate.wait()
        try:
            await send({"type": "websocket.send", "text": "more"})
        except OSError as error:
            outcome.append(error)
        await send({"type": "websocket.close", "code": 1000})

    server = Server(app)

    async def main() -> None:
        task = server.begin(type="websocket")
        await _settled()
        server.drain.end(20)
        await _settled()
        gate.set()
        await task

    run(main(), server.clock)
    assert server.sent == [accept, {"type": "websocket.close", "code": 1012, "reason": "service restart"}]
    assert [type(error) for error in outcome] == [ClientSentAway]


def test_a_stream_that_is_over_already_harms_nothing() -> None:
    """A server that has ended it by itself raises on the last message: that is nobody's error."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(STREAM)
        await asyncio.Event().wait()

    drain = Drain(FakeClock())
    layer = Draining(app, drain, emit=RecordingListener(), replies=Replies(trace_id=lambda: None))

    async def main() -> None:
        async def receive() -> Any:
            await asyncio.Event().wait()

        async def send(message: Any) -> None:
            if message is not STREAM:
                raise RuntimeError("Unexpected ASGI message 'http.response.body'")

        scope: Any = {"type": "http", "method": "GET", "path": "/", "headers": []}
        task = asyncio.create_task(layer(scope, receive, send))
        await _settled()
        drain.end(20)
        await _settled()
        task.cancel()
        await asyncio.wait([task])

    run(main(), drain._clock)  # type: ignore[arg-type] # the FakeClock from above


def test_the_next_server_of_a_loop_begins_anew() -> None:
    """What is under way then is not cut off by the timer of the one before."""
    server = Server(_for_ever)

    async def main() -> None:
        server.drain.end(20)
        assert server.drain.draining()
        server.drain.over()
        assert not server.drain.draining()
        task = server.begin()
        await server.clock.sleep(100)
        assert not task.done()
        task.cancel()
        await asyncio.wait([task])

    run(main(), server.clock)
    assert server.sent == []


def test_two_servers_of_a_loop_end_one_after_the_other() -> None:
    """A small one, for administration, that is done at once takes neither readiness nor the end from the other."""
    server = Server(_for_ever)

    async def main() -> None:
        task = server.begin()
        await _settled()
        for who in ("public", "admin"):
            server.drain.begin(who)
            server.drain.end(20, who)
        server.drain.over("admin")
        assert server.drain.draining()
        await task
        server.drain.over("public")
        assert not server.drain.draining()

    run(main(), server.clock)
    assert server.sent[0]["status"] == 503


def test_another_loop_of_the_process_is_not_concerned() -> None:
    """One server in a thread ends: the requests of another one, and its readiness, stay as they are."""
    server = Server(_for_ever)

    def other() -> None:
        async def end() -> None:
            server.drain.end(0)
            server.drain.cut()

        asyncio.run(end())

    async def main() -> None:
        task = server.begin()
        await _settled()
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        await _settled()
        assert not server.drain.draining()
        assert not task.done()
        task.cancel()
        await asyncio.wait([task])

    run(main(), server.clock)
    assert server.sent == []


def test_on_trio() -> None:
    """The same there: an event stream ends whole, what is left is cut off and answered."""
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/events":
            await send(STREAM)
        await trio.sleep_forever()

    drain = Drain()
    layer = Draining(app, drain, emit=RecordingListener(), replies=Replies(trace_id=lambda: None))

    async def ask(path: str) -> None:
        async def receive() -> Any:
            await trio.sleep_forever()

        async def send(message: Any) -> None:
            sent.append((path, message))

        scope: Any = {"type": "http", "http_version": "1.1", "method": "GET", "path": path, "headers": []}
        await layer(scope, receive, send)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, "/events")
            nursery.start_soon(ask, "/slow")
            await trio.testing.wait_all_tasks_blocked()
            drain.end(20)
            assert drain.draining()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert [message for path, message in sent if path == "/events"] == [STREAM, LAST]
    assert [message["status"] for path, message in sent if path == "/slow" and "status" in message] == [503]
    assert not drain.underway
