"""The layer that takes the caller's deadline: three modes, the answer to an expired request, and what is left alone."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from handrail.resilience.bound import current_deadline
from handrail.resilience.call import inbound_attempt
from handrail.resilience.events import RequestExpired, RequestRefused
from handrail.resilience.inbound.deadline import Deadlines
from handrail.resilience.service import ServiceSettings
from handrail.resilience.testing import FakeClock, RecordingListener, run

TRACE = "0af7651916cd43dd8448eb211c80319c"
MS, ATTEMPT = b"x-envoy-expected-rq-timeout-ms", b"x-envoy-attempt-count"
Messages = list[MutableMapping[str, Any]]
Seen = tuple[float | None, int]


class Peer:
    """An app that notes what binds it, behind the layer."""

    def __init__(self, app: Any = None, **settings: Any) -> None:
        self.clock = FakeClock()
        self.told = RecordingListener()
        self.seen: list[Seen] = []
        self.layer = Deadlines(
            app or self._app,
            emit=self.told,
            trace_id=lambda: TRACE,
            service=ServiceSettings(**settings),
            clock=self.clock,
        )

    def look(self) -> None:
        self.seen.append((current_deadline(), inbound_attempt.get()))

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        self.look()
        if scope["type"] == "http":
            await PlainTextResponse("well")(scope, receive, send)

    async def ask(self, *headers: tuple[bytes, bytes], kind: str = "http", **extra: Any) -> Messages:
        sent: Messages = []

        async def send(message: MutableMapping[str, Any]) -> None:
            sent.append(message)

        async def receive() -> dict[str, Any]:
            await asyncio.Event().wait()  # the client stays
            return {}

        scope = {"type": kind, "method": "GET", "path": "/pay", "headers": list(headers), "query_string": b"", **extra}
        await self.layer(scope, receive, send)
        return sent

    def play(self, *headers: tuple[bytes, bytes], **extra: Any) -> Messages:
        return run(self.ask(*headers, **extra), self.clock)


def test_a_caller_with_time_binds_the_request() -> None:
    """The deadline counts from the arrival; after the request nothing binds any more."""
    peer = Peer()

    async def main() -> None:
        sent = await peer.ask((MS, b"1500"), (ATTEMPT, b"2"))
        assert sent[0]["status"] == 200
        assert (current_deadline(), inbound_attempt.get()) == (None, 1)

    run(main(), peer.clock)
    assert peer.seen == [(1001.5, 2)]
    assert peer.told.events == []


def test_deadline_max_bounds_what_is_believed() -> None:
    """However much time a caller claims to have."""
    peer = Peer(deadline_max=20.0)
    peer.play((MS, b"999999999999999"))
    assert peer.seen == [(1020.0, 1)]


def test_repeated_headers_count_as_the_smallest() -> None:
    """A proxy that adds its own beside the caller's."""
    peer = Peer()
    peer.play((MS, b"3000"), (b"host", b"x"), (MS, b"800"), (b"grpc-timeout", b"2S"))
    assert peer.seen == [(1000.8, 1)]


def test_an_expired_request_is_refused_before_the_app_is_called(caplog: pytest.LogCaptureFixture) -> None:
    """504 as RFC 9457 problem details with the trace id; told once, logged in one line; the app hears nothing."""
    caplog.set_level(logging.WARNING, "handrail")
    peer = Peer()
    start, body = peer.play((MS, b"-250"))
    headers = dict(start["headers"])
    assert (start["status"], headers[b"content-type"]) == (504, b"application/problem+json")
    assert headers[b"content-length"] == str(len(body["body"])).encode()
    assert json.loads(body["body"]) == {
        "type": "urn:handrail:problem:deadline",
        "title": "Gateway Timeout",
        "status": 504,
        "detail": "the deadline of the caller had passed when the request came",
        "trace_id": TRACE,
        "policy": "deadline",
    }
    assert peer.seen == []
    assert peer.told.events == [
        RequestExpired("", "GET", 0.25, "enforce"),
        RequestRefused("", "GET", "deadline", "expired", 504),
    ]
    assert caplog.messages == ["GET /pay answered 504: the deadline of the caller had passed when the request came"]


def test_a_head_request_gets_no_body() -> None:
    """The same headers, and not a byte more (RFC 9110, 9.3.2)."""
    start, body = Peer().play((MS, b"0"), method="HEAD")
    assert (start["status"], body["body"]) == (504, b"")


def test_propagate_begins_an_expired_request_bound() -> None:
    """The second stage: told, begun, and whatever it calls is refused by its own deadline."""
    peer = Peer(deadline_mode="propagate")
    assert peer.play((MS, b"-250"))[0]["status"] == 200
    assert peer.seen == [(999.75, 1)]
    assert [event.mode for event in peer.told.of(RequestExpired)] == ["propagate"]


def test_observe_tells_and_changes_nothing() -> None:
    """The first stage: an expired request is told; nobody is bound."""
    peer = Peer(deadline_mode="observe")
    assert peer.play((MS, b"-250"))[0]["status"] == 200
    peer.play((MS, b"900"), (ATTEMPT, b"2"))
    assert peer.seen == [(None, 1), (None, 2)]
    assert [(event.mode, event.late) for event in peer.told.of(RequestExpired)] == [("observe", 0.25)]


@pytest.mark.parametrize("kind", ["websocket", "lifespan"])
def test_other_kinds_of_scope_pass(kind: str) -> None:
    """A connection that lasts for hours has no deadline of one request."""
    peer = Peer()
    peer.play((MS, b"0"), kind=kind)
    assert peer.seen == [(None, 1)]


def test_a_request_that_says_nothing_passes_by() -> None:
    """The app gets the very receive and send of the server, and there is no frame of ours between."""
    seen: list[tuple[Any, ...]] = []

    async def app(*given: Any) -> None:
        seen.append(given)

    given = ({"type": "http", "headers": [(b"host", b"x"), (b"accept", b"*/*")]}, object(), object())
    awaited: Any = Peer(app).layer(*given)  # type: ignore[arg-type]  # neither is called
    assert awaited.cr_code is app.__code__
    asyncio.run(awaited)
    assert seen == [given]


def test_what_an_outer_layer_has_found_is_used() -> None:
    """The headers are not looked through again, and a second layer further in adds and tells nothing."""
    peer = Peer()
    peer.layer.app = Deadlines(peer.layer.app, emit=peer.told, trace_id=lambda: TRACE, clock=peer.clock)
    peer.play(**{"handrail.headers": {MS: b"700"}})
    assert peer.seen == [(1000.7, 1)]


def test_an_inner_request_is_bound_by_the_outer_one() -> None:
    """An app that calls another one in its own process: a later deadline of the inner request changes nothing."""
    peer = Peer()

    async def outer(scope: Any, receive: Any, send: Any) -> None:
        await peer.ask((MS, b"9000"))
        await PlainTextResponse("well")(scope, receive, send)

    gate = Peer(outer)
    gate.play((MS, b"2000"))
    assert peer.seen == [(1002.0, 1)]


@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError, KeyboardInterrupt])
def test_what_the_app_raises_passes(error: type[BaseException]) -> None:
    """Unchanged, and the context is given back."""
    raised = error()

    async def app(*_: Any) -> None:
        raise raised

    async def main() -> None:
        with pytest.raises(error) as caught:
            await Peer(app).ask((MS, b"100"))
        assert caught.value is raised
        assert current_deadline() is None

    asyncio.run(main())


def _later(peer: Peer, answer: Callable[[BackgroundTask], Response]) -> Any:
    def endpoint(_request: Request) -> Response:
        return answer(BackgroundTask(peer.look))

    return Starlette(routes=[Route("/pay", endpoint)])


@pytest.mark.parametrize(
    "answer",
    [
        lambda task: PlainTextResponse("well", background=task),
        lambda task: StreamingResponse(iter(["we", "ll"]), background=task),
    ],
)
def test_work_after_the_answer_is_not_bound(answer: Callable[[BackgroundTask], Response]) -> None:
    """The caller has what it waited for (as in gRPC and Misk), also where a framework streams in a task of its own."""
    peer = Peer()
    peer.layer.app = _later(peer, answer)
    asyncio.run(peer.ask((MS, b"60000")))
    assert [ends for ends, _ in peer.seen] == [None]


def test_a_stream_is_bound_to_its_last_byte() -> None:
    """What is read while the answer streams is still for the caller; a task left behind goes free with the answer."""
    peer = Peer()
    left: list[Awaitable[None]] = []

    async def behind() -> None:
        peer.look()
        begun.set()
        await answered.wait()
        peer.look()

    async def parts() -> AsyncIterator[str]:
        peer.look()
        left.append(asyncio.create_task(behind()))
        await begun.wait()
        yield "all"

    async def main() -> None:
        await peer.ask((MS, b"60000"))
        answered.set()
        await left[0]

    begun, answered = asyncio.Event(), asyncio.Event()
    peer.layer.app = Starlette(routes=[Route("/pay", lambda _: StreamingResponse(parts()))])
    asyncio.run(main())
    assert [ends for ends, _ in peer.seen] == [1060.0, 1060.0, None]


def test_the_next_request_of_a_connection_inherits_nothing() -> None:
    """A server that starts the next request from within the last send of this one."""
    peer = Peer()
    begun: list[asyncio.Task[None]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.body":
            begun.append(asyncio.create_task(asyncio.to_thread(peer.look)))

    async def main() -> None:
        scope = {"type": "http", "method": "GET", "path": "/", "headers": [(MS, b"5000"), (ATTEMPT, b"7")]}
        receive: Any = None
        await peer.layer(scope, receive, send)
        await begun[0]

    asyncio.run(main())
    assert peer.seen == [(1005.0, 7), (None, 1)]
