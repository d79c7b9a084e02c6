"""Identical GETs under way at once are served by one run of the app, and nobody gets what is another's."""

import asyncio
import gc
import sys
import weakref
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import pytest

from handrail.resilience.events import RequestShared
from handrail.resilience.inbound import _flight_run
from handrail.resilience.inbound._flight_key import key_of
from handrail.resilience.inbound.single_flight import SingleFlight
from handrail.resilience.testing import FakeClock, RecordingListener, run, sleep

TRACE = "0af7651916cd43dd8448eb211c80319c"
Message = MutableMapping[str, Any]
Call = Callable[[Message], Awaitable[None]]


def start(status: int = 200, *headers: tuple[bytes, bytes], **more: Any) -> Message:
    return {"type": "http.response.start", "status": status, "headers": list(headers), **more}


def body(data: bytes, *, more: bool = False) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


class Client:
    """One request and what it got; `leave()` is its disconnect, `slow` a time that each message takes."""

    def __init__(self, slow: float = 0.0) -> None:
        self.got: list[Message] = []
        self.left = asyncio.Event()
        self.slow = slow
        self.asked = False
        self.broken = False

    async def receive(self) -> Message:
        if not self.asked:
            self.asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if self.slow:
            await sleep(self.slow)
        if self.broken:
            raise OSError("gone")
        self.got.append(message)

    def leave(self) -> None:
        self.left.set()

    @property
    def status(self) -> int:
        return int(self.got[0]["status"])

    @property
    def body(self) -> bytes:
        return b"".join(one.get("body", b"") for one in self.got[1:])


class Service:
    """The layer around an app that is given as the code of one run; `runs` counts them."""

    def __init__(self, app: Callable[["Service", Callable[[], Awaitable[Message]], Call], Awaitable[None]]) -> None:
        self.runs = 0
        self.go = asyncio.Event()
        self.told = RecordingListener()
        self.scopes: list[Any] = []
        self._app = app
        self.layer = SingleFlight(
            self._run, routes=["/items", "/all/*"], emit=self.told, trace_id=lambda: TRACE, callers=["X-API-Key"]
        )

    async def _run(self, scope: Any, receive: Any, send: Any) -> None:
        self.runs += 1
        self.scopes.append(scope)
        await self._app(self, receive, send)

    def ask(self, client: Client, *headers: tuple[bytes, bytes], **scope: Any) -> "asyncio.Task[None]":
        made = {
            "type": "http",
            "method": "GET",
            "path": "/items",
            "query_string": b"",
            "headers": list(headers),
            **scope,
        }
        return asyncio.ensure_future(self.layer(made, client.receive, client.send))


async def plain(service: Service, _receive: Any, send: Call) -> None:
    await service.go.wait()
    await send(start())
    await send(body(b"well"))


def test_one_run_serves_all_that_are_the_same() -> None:
    """Ten identical requests at once are one run; nine say whose answer they got."""

    async def main() -> None:
        service, clients = Service(plain), [Client() for _ in range(10)]
        tasks = [service.ask(client) for client in clients]
        await sleep(0.01)
        service.go.set()
        await asyncio.gather(*tasks)
        assert service.runs == 1
        assert [(client.status, client.body) for client in clients] == [(200, b"well")] * 10
        assert service.told.events == [RequestShared("", "GET", TRACE)] * 9
        assert not service.layer._runs

    run(main())


def test_a_request_after_the_answer_is_a_run_of_its_own() -> None:
    """Nothing is kept: it is no cache."""

    async def main() -> None:
        service = Service(plain)
        service.go.set()
        for _ in range(2):
            await service.ask(Client())
        assert service.runs == 2

    run(main())


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        ({}, {}, True),
        ({"traceparent": "a", "x-request-id": "1"}, {"traceparent": "b", "x-envoy-attempt-count": "2"}, True),
        ({"authorization": "Bearer a"}, {"authorization": "Bearer b"}, False),
        ({"authorization": "Bearer a"}, {}, False),
        ({"cookie": "sid=1"}, {"cookie": "sid=2"}, False),
        ({"accept-language": "de"}, {"accept-language": "fr"}, False),
        ({"x-forwarded-for": "10.0.0.1"}, {"x-forwarded-for": "10.0.0.2"}, False),
        ({"host": "a"}, {"host": "b"}, False),
        ({"baggage": "tenant=a"}, {"baggage": "tenant=b"}, False),
        ({"range": "bytes=0-1"}, {}, False),
        ({"user-agent": "a"}, {"user-agent": "b"}, False),
    ],
)
def test_which_headers_count(one: dict[str, str], other: dict[str, str], shared: bool) -> None:
    """All but those of one moment: no two callers with other credentials share, and Vary holds whatever it says."""

    async def main() -> None:
        service = Service(plain)
        tasks = [
            service.ask(Client(), *((name.encode(), value.encode()) for name, value in headers.items()))
            for headers in (one, other)
        ]
        await sleep(0.01)
        service.go.set()
        await asyncio.gather(*tasks)
        assert service.runs == (1 if shared else 2)

    run(main())


@pytest.mark.parametrize(
    "scope",
    [
        {"method": "HEAD"},
        {"query_string": b"a=1"},
        {"path": "/all/1"},
        {"root_path": "/v1"},
        {"http_version": "1.0"},
        {"scheme": "https"},
        {"extensions": {"tls": {"client_cert_chain": ["mine"]}}},
        {"method": "POST"},
        {"path": "/other"},
        {"headers": [(b"content-length", b"1")]},
        {"headers": [(b"transfer-encoding", b"chunked")]},
    ],
)
def test_what_else_counts(scope: dict[str, Any]) -> None:
    """Method, path, query, scheme, the client's certificate; a body is nobody else's."""

    async def main() -> None:
        service = Service(plain)
        tasks = [service.ask(Client()), service.ask(Client(), **scope)]
        await sleep(0.01)
        service.go.set()
        await asyncio.gather(*tasks)
        assert service.runs == 2

    run(main())


def test_event_loops_do_not_share() -> None:
    """One process may run several, each in its thread: a request waits for nothing of another loop."""
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}

    async def key() -> Any:
        return key_of(scope)

    assert run(key()) != run(key())


def test_routes_are_exact_or_begin_so() -> None:
    """A path that is not named is the app's own business, call by call."""

    async def main() -> None:
        service = Service(plain)
        for path, together in (("/all/1", True), ("/items/1", False), ("/al", False)):
            before = service.runs
            service.go.clear()
            tasks = [service.ask(Client(), path=path) for _ in range(2)]
            await sleep(0.01)
            service.go.set()
            await asyncio.gather(*tasks)
            assert service.runs - before == (1 if together else 2), path

    run(main())


def test_an_http_2_get_with_a_body_runs_alone_and_keeps_it() -> None:
    """No header tells of a body there (RFC 9113, 8.1): the first message does."""
    seen = []

    async def echo(_service: Service, receive: Any, send: Call) -> None:
        seen.append((await receive()).get("body"))
        await send(start())
        await send(body(b""))

    async def main() -> None:
        service, client = Service(echo), Client()

        async def receive() -> Message:
            client.receive, client.asked = Client.receive.__get__(client), True  # type: ignore[method-assign] # a script
            return {"type": "http.request", "body": b"{}", "more_body": False}

        made = {"type": "http", "method": "GET", "path": "/items", "headers": [], "http_version": "2"}
        await service.layer(made, receive, client.send)
        await service.ask(Client(), http_version="2")
        assert seen == [b"{}", b""]

    run(main())


async def pieces(service: Service, _receive: Any, send: Call) -> None:
    await send(start())
    for piece in (b"a", b"b", b"c"):
        await send(body(piece, more=True))
        await service.go.wait()
    await send(body(b"d"))


def test_a_follower_gets_what_was_there_at_once_and_the_rest_as_it_comes() -> None:
    """Nothing waits for the end of the answer."""

    async def main() -> None:
        service, first, second = Service(pieces), Client(), Client()
        tasks = [service.ask(first)]
        await sleep(1)
        tasks.append(service.ask(second))
        await sleep(1)
        assert first.body == second.body == b"a"
        service.go.set()
        await asyncio.gather(*tasks)
        assert first.body == second.body == b"abcd"
        assert service.runs == 1

    run(main())


def test_a_buffer_that_the_app_uses_again_is_copied() -> None:
    """What a slow client gets is what was sent, not what the buffer holds by then."""

    async def app(_service: Service, _receive: Any, send: Call) -> None:
        buffer = bytearray(b"first")
        await send(start())
        await send({"type": "http.response.body", "body": buffer, "more_body": True})
        buffer[:] = b"other"
        await send(body(b""))

    async def main() -> None:
        service, fast, slow = Service(app), Client(), Client(slow=1)
        await asyncio.gather(service.ask(fast), service.ask(slow))
        assert fast.body == slow.body == b"first"

    run(main())


def test_headers_that_one_request_is_given_are_not_those_of_another() -> None:
    """Layers further out add to the list of headers: each has its own."""

    async def main() -> None:
        service, clients = Service(plain), [Client(), Client()]
        tasks = [service.ask(client) for client in clients]
        await sleep(0.01)
        service.go.set()
        await asyncio.gather(*tasks)
        clients[0].got[0]["headers"].append((b"x", b"1"))
        assert clients[1].got[0]["headers"] == []

    run(main())


@pytest.mark.parametrize(
    ("headers", "asked", "runs"),
    [
        ([(b"Set-Cookie", b"sid=1")], [], 3),
        ([(b"set-cookie", b"sid=1")], [(b"cookie", b"sid=0")], 3),
        ([(b"cache-control", b"max-age=0, Private")], [], 3),
        ([(b"cache-control", b'private="x"')], [], 3),
        ([(b"cache-control", b"no-store")], [], 3),
        ([(b"vary", b"*")], [(b"authorization", b"a")], 3),
        ([(b"cache-control", b"no-store")], [(b"authorization", b"a")], 1),
        ([(b"cache-control", b"private")], [(b"x-api-key", b"a")], 1),
        ([(b"cache-control", b"public, max-age=60"), (b"vary", b"accept")], [], 1),
    ],
)
def test_which_answers_are_shared(headers: Any, asked: Any, runs: int) -> None:
    """A cookie is set for one; what is private is shared among requests of one caller alone."""

    async def app(service: Service, _receive: Any, send: Call) -> None:
        await service.go.wait()
        await send(start(200, *headers))
        await send(body(b"well"))

    async def main() -> None:
        service, clients = Service(app), [Client() for _ in range(3)]
        tasks = [service.ask(client, *asked) for client in clients]
        await sleep(0.01)
        service.go.set()
        await asyncio.gather(*tasks)
        assert service.runs == runs
        assert [client.body for client in clients] == [b"well"] * 3

    run(main())


def test_who_comes_after_a_mebibyte_runs_alone() -> None:
    """What is held for late followers is bounded, and let go of once it is too much."""

    async def app(service: Service, _receive: Any, send: Call) -> None:
        await send(start())
        for _ in range(5):
            await send(body(b"x" * 300_000, more=True))
        await service.go.wait()
        await send(body(b""))

    async def main() -> None:
        service, first, second, late = Service(app), Client(), Client(), Client()
        tasks = [service.ask(first), service.ask(second)]
        await sleep(0.01)
        tasks.append(service.ask(late))
        await sleep(0.01)
        service.go.set()
        await asyncio.gather(*tasks)
        assert service.runs == 2
        assert [len(client.body) for client in (first, second, late)] == [1_500_000] * 3

    run(main())


def test_what_all_have_taken_is_let_go() -> None:
    """A long answer to clients that keep up holds one window of memory, not all of it."""
    held = []

    async def app(service: Service, _receive: Any, send: Call) -> None:
        (one,) = service.layer._runs.values()
        await send(start())
        for _ in range(200):
            await send(body(b"x" * 100_000, more=True))
            await sleep(0.01)
            held.append(sum(size for _, size in one._kept))
        await send(body(b""))

    async def main() -> None:
        service, clients = Service(app), [Client(), Client()]
        await asyncio.gather(*[service.ask(client) for client in clients])
        assert [len(client.body) for client in clients] == [20_000_000] * 2
        assert max(held) <= _flight_run.WINDOW + 100_000

    run(main())


def test_a_client_that_does_not_read_holds_the_others_for_a_while_only() -> None:
    """It is cut off; the others get all of it."""

    async def app(_service: Service, _receive: Any, send: Call) -> None:
        await send(start())
        for _ in range(10):
            await send(body(b"x" * 500_000, more=True))
        await send(body(b""))

    async def main() -> None:
        clock = asyncio.get_running_loop().time
        service, fast, stuck = Service(app), Client(), Client(slow=1000)
        tasks = [service.ask(fast), service.ask(stuck)]
        began = clock()
        await tasks[0]
        assert len(fast.body) == 5_000_000
        assert clock() - began == pytest.approx(_flight_run.PATIENCE)
        await tasks[1]
        assert len(stuck.got) == 1
        assert service.runs == 1

    clock = FakeClock()
    run(main(), clock)


def test_one_slow_client_alone_is_waited_for() -> None:
    """Nobody is held by it: it gets its answer, however long that takes; the app is ahead by a window at most."""
    ahead = []

    async def main() -> None:
        client = Client(slow=100)

        async def app(_service: Service, _receive: Any, send: Call) -> None:
            await send(start())
            for number in range(1, 11):
                await send(body(b"x" * 500_000, more=True))
                ahead.append(number * 500_000 - len(client.body))
            await send(body(b""))

        await Service(app).ask(client)
        assert len(client.body) == 5_000_000
        assert max(ahead) <= _flight_run.WINDOW

    run(main())


def test_the_first_client_leaves_and_the_others_are_served() -> None:
    """A cancelled request takes nothing from those who wait with it."""

    async def main() -> None:
        service, first, second = Service(pieces), Client(), Client()
        leading, following = service.ask(first), service.ask(second)
        await sleep(1)
        leading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leading
        service.go.set()
        await following
        assert second.body == b"abcd"

    run(main())


def test_the_last_cancelled_request_ends_the_run_and_waits_for_it() -> None:
    """The app's own cleaning up is done when the cancellation goes on."""
    ended = []

    async def app(_service: Service, _receive: Any, send: Call) -> None:
        await send(start())
        try:
            await asyncio.Event().wait()
        finally:
            await sleep(1)
            ended.append(True)

    async def main() -> None:
        service = Service(app)
        tasks = [service.ask(Client()) for _ in range(3)]
        await sleep(1)
        for number, task in enumerate(tasks):
            assert ended == []
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert ended == ([True] if number == 2 else [])
        assert not service.layer._runs

    run(main())


def test_nobody_joins_a_run_that_is_being_ended() -> None:
    """Who comes while the app cleans up after the last cancelled request gets an answer, and no cancellation."""
    held: list[asyncio.Event] = []

    async def app(service: Service, _receive: Any, send: Call) -> None:
        await send(start())
        await send(body(b"well", more=service.runs == 1))
        if service.runs == 1:
            held.append(asyncio.Event())
            try:
                await asyncio.Event().wait()
            finally:
                await held[0].wait()

    async def main() -> None:
        service, later = Service(app), Client()
        first = service.ask(Client())
        await sleep(1)
        first.cancel()
        await sleep(1)
        await service.ask(later)
        assert (later.body, service.runs) == (b"well", 2)
        held[0].set()
        with pytest.raises(asyncio.CancelledError):
            await first

    run(main())


@pytest.mark.parametrize("version", ["1.1", "2"])
@pytest.mark.parametrize("leaves", [True, False])
def test_who_is_served_alone_has_its_empty_body(version: str, leaves: bool) -> None:
    """Though it was looked at before, to see whether there was one, or whether the client was there."""

    async def app(service: Service, receive: Any, send: Call) -> None:
        assert (await receive())["type"] == "http.request"
        listening = asyncio.ensure_future(receive())
        await service.go.wait()
        await send(start(200, (b"set-cookie", b"who=%d" % service.runs)))
        await send(body(b"%d" % service.runs))
        listening.cancel()

    async def main() -> None:
        service, first, second = Service(app), Client(), Client()
        tasks = [service.ask(client, http_version=version) for client in (first, second)]
        await sleep(1)
        if leaves:
            first.leave()  # from now on it is the second whose leaving the run waits for
            await sleep(1)
        service.go.set()
        await asyncio.gather(*tasks)
        assert second.body == b"2"

    run(main())


@pytest.mark.parametrize("begun", [True, False])
def test_the_app_hears_that_its_client_left_when_the_last_one_did(begun: bool) -> None:
    """One `http.disconnect` for all, in whatever order they leave; where it stops then, nobody asks it again."""
    heard = []

    async def app(_service: Service, receive: Any, send: Call) -> None:
        heard.append((await receive())["type"])
        if begun:
            await send(start())
            await send(body(b"a", more=True))
        heard.append((await receive())["type"])

    async def main() -> None:
        service, clients = Service(app), [Client() for _ in range(3)]
        tasks = [service.ask(client) for client in clients]
        for number in (1, 0, 2):
            await sleep(1)
            assert heard == ["http.request"]
            clients[number].leave()
        await asyncio.gather(*tasks)
        assert heard == ["http.request", "http.disconnect"]
        assert service.runs == 1

    run(main())


def test_an_endless_answer_ends_when_nobody_reads_it() -> None:
    """Where a server says by OSError that the client has left: the app gets one when all have."""
    raised = []

    async def app(_service: Service, _receive: Any, send: Call) -> None:
        await send(start())
        try:
            while True:
                await send(body(b"x", more=True))
                await sleep(1)
        except OSError as error:
            raised.append(error)
            raise

    async def main() -> None:
        service, clients = Service(app), [Client(), Client()]
        tasks = [service.ask(client) for client in clients]
        await sleep(3)

        for client in clients:
            client.broken = True
        for task in tasks:
            with pytest.raises(OSError, match="gone"):
                await task
        await sleep(2)
        assert len(raised) == 1

    run(main())


class Failing:
    """An app that fails before its answer as often as it is told."""

    def __init__(self, times: int) -> None:
        self.left = times
        self.raised: list[Exception] = []

    async def __call__(self, service: Service, _receive: Any, send: Call) -> None:
        await sleep(1)
        if self.left:
            self.left -= 1
            self.raised.append(LookupError(self.left))
            raise self.raised[-1]
        await send(start())
        await send(body(b"well"))


def test_an_exception_is_the_first_ones_and_one_of_the_others_begins_anew() -> None:
    """Not all at once: one run for those who are left."""

    async def main() -> None:
        app = Failing(1)
        service, clients = Service(app), [Client() for _ in range(5)]
        outcomes = await asyncio.gather(*[service.ask(client) for client in clients], return_exceptions=True)
        assert outcomes == [app.raised[0], None, None, None, None]
        assert service.runs == 2
        assert [client.body for client in clients[1:]] == [b"well"] * 4

    run(main())


def test_what_fails_twice_in_a_row_fails_for_all() -> None:
    """The same error object, with the traceback of the app alone: no herd, and no queue of runs."""

    async def main() -> None:
        app = Failing(99)
        service, clients = Service(app), [Client() for _ in range(50)]
        outcomes = await asyncio.gather(*[service.ask(client) for client in clients], return_exceptions=True)
        assert outcomes[0] is app.raised[0]
        assert all(one is app.raised[1] for one in outcomes[1:])
        assert service.runs == 2
        assert len(service.told.of(RequestShared)) == 48
        depth, trace = 0, app.raised[1].__traceback__
        while trace is not None:
            depth, trace = depth + 1, trace.tb_next
        assert depth < 15
        assert not service.layer._runs

    run(main())


def test_an_exception_in_the_middle_is_everybodys() -> None:
    """The answer has begun: no client may take a part of it for the whole."""

    async def app(service: Service, _receive: Any, send: Call) -> None:
        await send(start())
        await send(body(b"a", more=True))
        await service.go.wait()
        raise LookupError("middle")

    async def main() -> None:
        service, clients = Service(app), [Client(), Client()]
        tasks = [service.ask(client) for client in clients]
        await sleep(1)
        service.go.set()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [str(one) for one in outcomes] == ["middle", "middle"]
        assert [client.body for client in clients] == [b"a", b"a"]

    run(main())


def test_an_answer_of_5xx_is_shared_where_the_app_makes_it_and_not_where_a_framework_does_for_an_exception() -> None:
    """Layers outside look at what the framework caught: from the stack of the one request that failed."""
    caught = []

    async def app(service: Service, _receive: Any, send: Call) -> None:
        await service.go.wait()
        if service.runs == 1:
            try:
                raise LookupError("broken")
            except LookupError:
                await send(start(500))
                await send(body(b"sorry"))
                raise
        await send(start(503))
        await send(body(b"busy"))

    async def main() -> None:
        service, clients = Service(app), [Client() for _ in range(4)]
        plain_send = clients[0].send

        async def looking(message: Message) -> None:
            caught.append(sys.exception())
            await plain_send(message)

        clients[0].send = looking  # type: ignore[method-assign] # a script
        tasks = [service.ask(client) for client in clients]
        await sleep(0.01)
        service.go.set()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [client.status for client in clients] == [500, 503, 503, 503]
        assert service.runs == 2
        assert caught == [outcomes[0], outcomes[0]]

    run(main())


def test_followers_return_with_the_last_byte_and_the_first_with_the_app() -> None:
    """What runs behind the answer belongs to the request that began it."""

    async def app(service: Service, _receive: Any, send: Call) -> None:
        await sleep(1)
        await send(start())
        await send(body(b"well"))
        await service.go.wait()

    async def main() -> None:
        service = Service(app)
        first, second = service.ask(Client()), service.ask(Client())
        await second
        assert not first.done()
        service.go.set()
        await first

    run(main())


def test_trailers_are_part_of_the_answer() -> None:
    """The last message is the last of the trailers."""

    async def app(_service: Service, _receive: Any, send: Call) -> None:
        await sleep(1)
        await send(start(trailers=True))
        await send(body(b"well"))
        await send({"type": "http.response.trailers", "headers": [(b"x", b"1")], "more_trailers": False})

    async def main() -> None:
        service, clients = Service(app), [Client(), Client()]
        await asyncio.gather(*[service.ask(client) for client in clients])
        assert [client.got[-1]["headers"] for client in clients] == [[(b"x", b"1")]] * 2

    run(main())


def test_a_file_that_can_be_read_once_is_not_offered() -> None:
    """`zerocopysend` reads from where the file stands; what else a server can do stays."""

    async def main() -> None:
        service = Service(plain)
        service.go.set()
        await service.ask(Client(), extensions={"http.response.zerocopysend": {}, "http.response.trailers": {}})
        assert service.scopes[0]["extensions"] == {"http.response.trailers": {}}

    run(main())


def test_a_follower_has_the_route_of_the_run() -> None:
    """What the framework left in the scope names the span of each."""

    async def app(service: Service, _receive: Any, send: Call) -> None:
        service.scopes[0]["route"] = "the route"
        await service.go.wait()
        await send(start())
        await send(body(b""))

    async def main() -> None:
        service = Service(app)
        scope = {"type": "http", "method": "GET", "path": "/items", "query_string": b"", "headers": []}
        first = service.ask(Client())
        await sleep(0.01)
        client = Client()
        second = asyncio.ensure_future(service.layer(scope, client.receive, client.send))
        await sleep(0.01)
        assert "route" not in scope
        service.go.set()
        await asyncio.gather(first, second)
        assert scope["route"] == "the route"

    run(main())


@pytest.mark.parametrize("fails", [0, 1, 99])
def test_a_run_that_is_over_is_gone(fails: int) -> None:
    """Nothing of it waits for the collector, failed or not."""

    async def main() -> None:
        service = Service(Failing(fails))
        tasks = [service.ask(Client()) for _ in range(3)]
        await sleep(0.5)
        (known,) = [weakref.ref(one) for one in service.layer._runs.values()]
        await asyncio.gather(*tasks, return_exceptions=True)
        service.layer.app.__self__._app.raised.clear()  # type: ignore[attr-defined] # the service's
        del tasks
        await sleep(0.1)
        assert known() is None

    gc.collect()
    gc.disable()
    try:
        run(main())
    finally:
        gc.enable()
