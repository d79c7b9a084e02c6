"""What may come in: headers, bodies, their pace, requests of one client. Each refusal is a problem that says why."""

import asyncio
import json
import logging
from collections.abc import Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from handrail.resilience.events import RequestRefused
from handrail.resilience.inbound import _limits_body
from handrail.resilience.inbound._limits_clients import Clients
from handrail.resilience.inbound._reply import Replies
from handrail.resilience.inbound.limits import Limits
from handrail.resilience.inbound.settings import InboundSettings
from handrail.resilience.testing import FakeClock, RecordingListener, run, sleep

TRACE = "0af7651916cd43dd8448eb211c80319c"
Message = MutableMapping[str, Any]
Headers = list[tuple[bytes, bytes]]
CHUNKED: Headers = [(b"transfer-encoding", b"chunked")]


async def reading(scope: Any, receive: Any, send: Any) -> None:
    """Reads all of the body and says how much there was, as frameworks do."""
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError("the client has left")
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    await PlainTextResponse(str(size))(scope, receive, send)


class Peer:
    """A client and its server: `pieces` are bytes of the body, or seconds until the next; then silence or the end."""

    def __init__(self, app: Any = reading, *, clients: Clients | None = None, **settings: Any) -> None:
        self.clock = FakeClock()
        self.told = RecordingListener()
        self.layer = Limits(
            app,
            settings=InboundSettings(**settings),
            replies=Replies(trace_id=lambda: TRACE),
            emit=self.told,
            clients=clients,
            clock=self.clock,
        )
        self.asked = 0

    async def ask(
        self, headers: Headers, *pieces: bytes | float, ends: bool = True, kind: str = "http", **scope: Any
    ) -> list[Message]:
        sent: list[Message] = []
        script = list(pieces)

        async def send(message: Message) -> None:
            sent.append(message)

        async def receive() -> Message:
            self.asked += 1
            while script:
                piece = script.pop(0)
                if isinstance(piece, bytes):
                    return {"type": "http.request", "body": piece, "more_body": bool(script) or not ends}
                await sleep(piece)
            await asyncio.Event().wait()
            raise AssertionError

        made = {"type": kind, "method": "POST", "path": "/up", "headers": headers, "http_version": "1.1", **scope}
        await self.layer(made, receive, send)
        return sent

    def play(self, headers: Headers, *pieces: bytes | float, **more: Any) -> list[Message]:
        return run(self.ask(headers, *pieces, **more), self.clock)


def drops(count: int, pause: float, piece: bytes = b"x") -> list[bytes | float]:
    """So many pieces, a pause before each."""
    return [pause, piece] * count


def problem(sent: list[Message]) -> dict[str, Any]:
    """The document, of an answer that has its end."""
    assert sent[-1].get("more_body", False) is False
    headers = dict(sent[0]["headers"])
    body = b"".join(message["body"] for message in sent[1:])
    assert headers[b"content-type"] == b"application/problem+json"
    assert int(headers[b"content-length"]) == len(body)
    found: dict[str, Any] = json.loads(body)
    assert found["trace_id"] == TRACE
    return found


def closes(sent: list[Message]) -> bool:
    return (b"connection", b"close") in sent[0]["headers"]


# -- headers


def test_too_many_headers_are_431() -> None:
    """One more than may be; as many as may be pass."""
    peer = Peer(headers_max=3)
    assert peer.play([(b"a", b"1")] * 3, b"")[0]["status"] == 200
    sent = peer.play([(b"a", b"1")] * 4, b"")
    assert sent[0]["status"] == 431
    assert "headers_max" in problem(sent)["detail"]
    assert peer.told.events == [RequestRefused("", "POST", "headers_max", "", 431)]


def test_a_websocket_with_too_many_headers_is_closed() -> None:
    """Before it is accepted: servers answer 403."""
    peer = Peer(headers_max=3)
    sent = peer.play([(b"a", b"1")] * 4, kind="websocket")
    assert [(one["type"], one["code"]) for one in sent] == [("websocket.close", 1008)]
    assert peer.told.events == [RequestRefused("", "GET", "headers_max", "", 403)]


# -- size


def test_a_declared_body_is_refused_before_the_app_is_begun() -> None:
    """By Content-Length; the rest of what comes is thrown away, then the connection is closed."""
    peer = Peer(body_max=10)
    sent = peer.play([(b"content-length", b"11")], b"x" * 6, b"x" * 5)
    assert sent[0]["status"] == 413
    assert "body_max" in problem(sent)["detail"]
    assert closes(sent)
    assert peer.asked == 2
    assert peer.told.events == [RequestRefused("", "POST", "body_max", "declared", 413)]


@pytest.mark.parametrize("length", [b"10", b"0", b"000000000000000000000000000010"])
def test_a_body_of_the_largest_size_passes(length: bytes) -> None:
    """Up to the limit, itself included."""
    assert Peer(body_max=10).play([(b"content-length", length)], b"x" * 10)[1]["body"] == b"10"


@pytest.mark.parametrize("length", [b"11", b"9" * 5000])
def test_a_length_of_any_size_is_read(length: bytes) -> None:
    """A number that no integer of Python's default limit holds is still too large."""
    assert Peer(body_max=10).play([(b"content-length", length)])[0]["status"] == 413


def test_who_waits_for_100_continue_is_told_at_once() -> None:
    """Its body is neither asked for nor waited for (RFC 9110, 10.1.1)."""
    peer = Peer(body_max=10)
    sent = peer.play([(b"content-length", b"11"), (b"expect", b"100-continue")], b"x" * 11)
    assert problem(sent)["status"] == 413
    assert peer.asked == 0


def test_who_neither_sends_nor_leaves_is_waited_for_no_longer_than_said() -> None:
    """The answer is out at once; its end, with which the server closes, comes after the silence."""
    peer = Peer(body_max=10)
    before = peer.clock.now()
    sent = peer.play([(b"content-length", b"11")], b"x", ends=False)
    assert problem(sent)["status"] == 413
    assert peer.clock.now() - before == pytest.approx(_limits_body.LINGER_SILENCE)


def test_who_goes_on_sending_is_cut_off_in_the_end() -> None:
    """Throwing away has a bound of its own."""
    peer = Peer(body_max=10)
    before = peer.clock.now()
    sent = peer.play([(b"content-length", b"1000")], *drops(100, 1.0))
    assert problem(sent)["status"] == 413
    assert peer.clock.now() - before == pytest.approx(_limits_body.LINGER)


def test_a_body_that_grows_too_large_is_413_and_for_the_app_its_client_has_left() -> None:
    """What the app raises then, and what it still sends, reaches nobody."""
    peer = Peer(body_max=10)
    sent = peer.play(CHUNKED, b"x" * 6, b"x" * 5, b"x" * 6)
    assert problem(sent)["status"] == 413
    assert closes(sent)
    assert peer.told.events == [RequestRefused("", "POST", "body_max", "counted", 413)]


def test_http_2_is_not_told_to_close_its_connection() -> None:
    """Connection is no header of HTTP/2 (RFC 9113, 8.2.2): the stream ends, the others go on."""
    peer = Peer(body_max=10)
    for sent in (
        peer.play([(b"content-length", b"11")], http_version="2"),
        peer.play([], b"x" * 11, b"x", ends=False, http_version="2"),
    ):
        assert problem(sent)["status"] == 413
        assert not closes(sent)


@pytest.mark.parametrize("headers", [[(b"content-length", b"1000")], []])
def test_a_stream_of_http_2_ends_after_its_body(headers: Headers) -> None:
    """One that ends before is reset by granian, answer and all; in hypercorn its rest is an error of the connection."""
    peer = Peer(body_max=10)
    sent = peer.play(headers, *drops(20, 1.0, b"x" * 50), http_version="2")
    assert problem(sent)["status"] == 413
    assert peer.asked == 20


def test_a_slow_stream_of_http_2_is_waited_for_a_while_after_its_408() -> None:
    """For the same reasons; over HTTP/1 the connection is closed at once."""
    for version, asked in (("2", 3), ("1.1", 2)):
        peer = Peer(body_timeout=30.0)
        sent = peer.play(CHUNKED, b"x", 32.0, b"x", http_version=version)
        assert problem(sent)["status"] == 408
        assert peer.asked == asked


def test_an_answer_that_has_begun_is_broken_off() -> None:
    """No second answer: the server drops the connection, since the first has no end."""
    seen = []

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while (message := await receive())["type"] == "http.request":
            await send({"type": "http.response.body", "body": message["body"], "more_body": True})
        seen.append(message["type"])
        seen.append((await receive())["type"])
        with pytest.raises(OSError, match="refused"):
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await send({"type": "http.response.body", "body": b"x"})

    peer = Peer(app, body_max=10)
    sent = peer.play(CHUNKED, b"x" * 6, b"x" * 5)
    assert seen == ["http.disconnect", "http.disconnect"]
    assert [message.get("body") for message in sent] == [None, b"x" * 6]
    assert peer.told.events == [RequestRefused("", "POST", "body_max", "counted", 413)]


def test_an_app_that_does_not_read_answers_as_it_likes() -> None:
    """Too much of what nobody asked for is no matter."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse("no")(scope, receive, send)

    assert Peer(app, body_max=10).play(CHUNKED, b"x" * 20)[0]["status"] == 200


def test_a_large_body_passes_piece_by_piece() -> None:
    """90 MiB in pieces of 64 KiB: each is the app's before the next is asked for, the same object."""
    piece = b"x" * 65_536
    same: list[bool] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        count = 0
        while True:
            message = await receive()
            count += 1
            assert peer.asked == count
            same.append(message["body"] is piece)
            if not message["more_body"]:
                break
        await PlainTextResponse(str(count))(scope, receive, send)

    peer = Peer(app)
    sent = peer.play([(b"content-length", str(1440 * 65_536).encode())], *[piece] * 1440)
    assert sent[1]["body"] == b"1440"
    assert all(same)


@pytest.mark.parametrize(
    ("headers", "scope", "wrapped"),
    [
        ([], {}, False),
        ([(b"content-length", b"0")], {}, False),
        ([], {"http_version": "1.0"}, False),
        ([(b"content-length", b"5")], {}, True),
        (CHUNKED, {}, True),
        ([], {"http_version": "2"}, True),
        ([(b"content-length", b"0")], {"http_version": "3"}, False),
    ],
)
def test_what_has_no_body_is_not_looked_at(headers: Headers, scope: dict[str, Any], wrapped: bool) -> None:
    """The app has the server's own `receive` and `send` then."""
    given = []

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        given.extend([receive, send])

    async def receive() -> Message:
        raise AssertionError

    async def send(_message: Message) -> None:
        raise AssertionError

    made = {"type": "http", "method": "GET", "path": "/", "headers": headers, "http_version": "1.1", **scope}
    run(_awaited(Peer(app).layer, made, receive, send))
    assert (given == [receive, send]) is not wrapped


async def _awaited(layer: Any, *asked: Any) -> None:
    await layer(*asked)


# -- pace


def test_a_piece_that_does_not_come_is_408() -> None:
    """The setting, and how long that is, stand in the answer."""
    peer = Peer(body_timeout=30.0)
    before = peer.clock.now()
    sent = peer.play([(b"content-length", b"10")], b"x", ends=False)
    assert problem(sent)["status"] == 408
    assert "body_timeout" in problem(sent)["detail"]
    assert "30 s" in problem(sent)["detail"]
    assert closes(sent)
    assert peer.clock.now() - before == pytest.approx(30)
    assert peer.told.events == [RequestRefused("", "POST", "body_timeout", "idle", 408)]


def test_dripping_is_408() -> None:
    """A byte every ten seconds: there is always a next piece in time, and never an end."""
    peer = Peer(body_timeout=30.0)
    before = peer.clock.now()
    sent = peer.play(CHUNKED, *drops(1000, 10.0))
    assert "too slowly" in problem(sent)["detail"]
    assert peer.clock.now() - before == pytest.approx(30, abs=0.1)
    assert peer.told.events == [RequestRefused("", "POST", "body_timeout", "rate", 408)]


def test_a_slow_upload_that_goes_on_passes() -> None:
    """An hour at 10 kB a second, from a line that rests for twenty seconds now and then."""
    peer = Peer(body_timeout=30.0)
    before = peer.clock.now()
    sent = peer.play(CHUNKED, *drops(1780, 1.0, b"x" * 10_000), *drops(91, 20.0, b"x" * 10_000), b"")
    assert sent[1]["body"] == str(1871 * 10_000).encode()
    assert peer.clock.now() - before >= 3600


def test_an_app_that_takes_its_time_is_not_the_client() -> None:
    """Only waiting counts: minutes between two looks at the body harm nobody."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for _ in range(3):
            await sleep(100)
            await receive()
        await PlainTextResponse("late")(scope, receive, send)

    assert Peer(app, body_timeout=1.0).play(CHUNKED, b"x", b"x", b"x")[1]["body"] == b"late"


@pytest.mark.parametrize("begun", [True, False])
def test_waiting_for_the_client_to_leave_has_no_end(begun: bool) -> None:
    """After the whole body, and from the start of the answer on."""

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        if begun:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        else:
            assert (await receive())["more_body"] is False
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10_000):
                await receive()
        if not begun:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"well"})

    sent = Peer(app, body_timeout=1.0).play(CHUNKED, *(() if begun else (b"x",)))
    assert sent[1]["body"] == b"well"


def test_an_answer_that_begins_while_another_task_waits_is_not_cut_off() -> None:
    """Starlette listens for the client's leaving beside its answer: the body that nobody reads is not waited for."""

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        listening = asyncio.ensure_future(receive())
        await sleep(0.5)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await sleep(100)
        assert not listening.done()
        listening.cancel()
        await send({"type": "http.response.body", "body": b"well"})

    assert Peer(app, body_timeout=1.0).play(CHUNKED)[1]["body"] == b"well"


def test_a_timeout_of_the_server_itself_passes() -> None:
    """TimeoutError is also what a socket raises: it is not ours to answer."""

    async def main() -> None:
        async def receive() -> Message:
            await sleep(0.1)
            raise TimeoutError("of the socket")

        async def send(_message: Message) -> None:
            raise AssertionError

        made = {"type": "http", "method": "POST", "path": "/", "headers": CHUNKED}
        with pytest.raises(TimeoutError, match="of the socket"):
            await Peer().layer(made, receive, send)

    run(main())


def test_a_cancelled_app_is_cancelled() -> None:
    """Also in the middle of waiting; nothing is answered and nothing counted."""
    peer = Peer()

    async def main() -> None:
        task = asyncio.ensure_future(peer.ask(CHUNKED))
        await sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main(), peer.clock)
    assert peer.told.events == []


def test_an_error_of_the_app_is_the_apps() -> None:
    """The same object, where the body was no matter."""
    broken = LookupError("broken")

    async def app(_scope: Any, receive: Any, _send: Any) -> None:
        await receive()
        raise broken

    with pytest.raises(LookupError) as caught:
        Peer(app).play(CHUNKED, b"x")
    assert caught.value is broken


def test_off_is_off() -> None:
    """0 lets anything pass: headers, bytes, and a client that never sends the rest."""
    peer = Peer(body_max=0, body_timeout=0, headers_max=0)
    sent = peer.play([*CHUNKED, *[(b"a", b"1")] * 5000], *[b"x" * 1_000_000] * 120, 100_000.0, b"")
    assert sent[1]["body"] == b"120000000"


def test_on_trio() -> None:
    """Size and pace, on another loop."""
    told = RecordingListener()
    settings = InboundSettings(body_max=10, body_timeout=0.05)
    layer = Limits(reading, settings=settings, replies=Replies(trace_id=lambda: TRACE), emit=told)
    answers = []

    async def ask(*pieces: bytes) -> None:
        script = list(pieces)

        async def receive() -> Message:
            await trio.lowlevel.checkpoint()
            if not script:
                await trio.sleep_forever()
            return {"type": "http.request", "body": script.pop(0), "more_body": True}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                answers.append(message["status"])

        await layer(
            {"type": "http", "method": "POST", "path": "/", "headers": CHUNKED, "http_version": "2"}, receive, send
        )

    async def main() -> None:
        await ask(b"x" * 6, b"x" * 5)
        await ask(b"x")

    trio.run(main)
    assert answers == [413, 408]


# -- clients


def of_socket(scope: Any, _found: Any) -> str | None:
    client = scope.get("client")
    return client[0] if client else None


def test_more_requests_of_one_client_than_may_be_are_429() -> None:
    """With the seconds after which to come again; the next passes when one of them is over, and nothing is left."""
    go = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await go.wait()
        await PlainTextResponse("well")(scope, receive, send)

    clients = Clients(2, ["Authorization", "x-api-key"], of_socket)
    peer = Peer(app, clients=clients, client_max=2)
    mine: Headers = [(b"authorization", b"Bearer a")]

    async def main() -> None:
        tasks = [asyncio.ensure_future(peer.ask(mine, client=("10.0.0.1", 1))) for _ in range(2)]
        await sleep(1)
        sent = await peer.ask(mine, client=("10.0.0.2", 1))
        assert problem(sent)["status"] == 429
        assert (b"retry-after", b"1") in sent[0]["headers"]
        assert "client_max" in problem(sent)["detail"]
        other = asyncio.ensure_future(peer.ask([(b"authorization", b"Bearer b")], client=("10.0.0.1", 1)))
        await sleep(1)
        assert not other.done()
        tasks[0].cancel()
        await sleep(1)
        tasks.append(asyncio.ensure_future(peer.ask(mine)))
        go.set()
        await asyncio.gather(*tasks, other, return_exceptions=True)
        assert tasks[2].result()[0]["status"] == 200
        assert len(clients) == 0

    run(main(), peer.clock)
    assert peer.told.events == [RequestRefused("", "POST", "client_max", "", 429)]


def test_a_client_without_a_credential_is_its_address() -> None:
    """And one without an address (a UNIX socket) is not counted."""
    go = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await go.wait()
        await PlainTextResponse("well")(scope, receive, send)

    peer = Peer(app, clients=Clients(1, ["authorization"], of_socket), client_max=1)

    async def main() -> None:
        tasks = []
        for client in (("10.0.0.1", 1), ("10.0.0.1", 2), ("10.0.0.2", 1), None, None):
            tasks.append(asyncio.ensure_future(peer.ask([], client=client)))
            await sleep(0.1)
        go.set()
        answers = [sent[0]["status"] for sent in await asyncio.gather(*tasks)]
        assert answers == [200, 429, 200, 200, 200]

    run(main(), peer.clock)


@pytest.mark.parametrize("raised", [LookupError, asyncio.CancelledError, None])
def test_counts_never_leak(raised: type[BaseException] | None) -> None:
    """However a request ends, its body refused included."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if raised is not None:
            raise raised
        await reading(scope, receive, send)

    clients = Clients(1, [], of_socket)
    peer = Peer(app, clients=clients, client_max=1, body_max=10)

    async def main() -> None:
        declared: Headers = [(b"content-length", b"11")]
        for headers in ([], CHUNKED, declared):
            task = asyncio.ensure_future(peer.ask(headers, b"x" * 11, client=("10.0.0.1", 1)))
            (outcome,) = await asyncio.gather(task, return_exceptions=True)
            if raised is not None and headers != declared:
                assert type(outcome) is raised
            assert len(clients) == 0

    run(main(), peer.clock)


def test_clients_are_counted_across_threads() -> None:
    """Several event loops may count in one table: nothing is lost, and nothing stays."""
    clients = Clients(3, [], of_socket)
    most: list[int] = []

    def come_and_go(_number: int) -> None:
        for _ in range(2000):
            if clients.enter("10.0.0.1"):
                most.append(clients._counts["10.0.0.1"])
                clients.leave("10.0.0.1")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(come_and_go, range(8)))
    assert max(most) <= 3
    assert len(clients) == 0


def test_no_credential_is_kept() -> None:
    """The table knows a digest."""
    clients = Clients(1, ["authorization"], of_socket)
    who = clients.who({}, {b"authorization": b"Bearer secret"})
    assert isinstance(who, bytes)
    assert b"secret" not in who


# -- frameworks


def starlette(handler: Callable[..., Any]) -> Starlette:
    return Starlette(routes=[Route("/up", handler, methods=["POST"])])


def test_starlette_reads_a_body_that_is_too_large(caplog: pytest.LogCaptureFixture) -> None:
    """Its own ClientDisconnect, and the 500 that it would make of that, reach neither client nor log."""

    async def up(request: Request) -> PlainTextResponse:
        return PlainTextResponse(str(len(await request.body())))

    with caplog.at_level(logging.INFO):
        sent = Peer(starlette(up), body_max=10).play(CHUNKED, b"x" * 6, b"x" * 5)
    assert problem(sent)["status"] == 413
    assert [record.getMessage() for record in caplog.records] == [
        "POST /up answered 413: the body of the request is larger than body_max allows: 10 bytes"
    ]


def test_starlette_answers_while_it_reads(caplog: pytest.LogCaptureFixture) -> None:
    """The body grows too large after the first byte of the answer: the answer has no end."""

    async def up(request: Request) -> StreamingResponse:
        return StreamingResponse(request.stream())

    with caplog.at_level(logging.WARNING):
        sent = Peer(starlette(up), body_max=10).play(CHUNKED, b"x" * 6, b"x" * 5, asgi={"spec_version": "2.4"})
    assert sent[-1].get("more_body") is True
    assert "POST /up dropped in the middle of its answer" in caplog.text
