"""aiohttp through the pipeline: what is sent again, what is raised, and what stays aiohttp's; counted at the server."""

import asyncio
import pickle
import socket
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import pytest

import handrail
from handrail.resilience import outbound
from handrail.resilience.events import AttemptFailed, CallTimedOut, Event, Listeners, NotRetried, RetryScheduled
from handrail.resilience.outbound.failure import failure_of
from handrail.resilience.policy import Tools
from handrail.resilience.registry import Registry
from handrail.resilience.settings import ResilienceSettings

STATUSES = [408, 429, 502, 503, 504]


class Guarded:
    """What an installation tells."""

    def __init__(self, registry: Registry, events: list[Event]) -> None:
        self.registry = registry
        self.events = events

    def of(self, kind: type[Event]) -> list[Any]:
        """The events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]


Guard = Callable[..., Guarded]


@pytest.fixture
def guard() -> Iterator[Guard]:
    """Installs under aiohttp with the given settings; pauses between attempts have no length."""
    undos: list[Callable[[], None]] = []

    def install(**settings: Any) -> Guarded:
        events: list[Event] = []
        registry = Registry(
            ResilienceSettings(**{"backoff_base": 0.0, **settings}), Tools(emit=Listeners(events.append))
        )
        undos.append(outbound.install(aiohttp, registry))
        return Guarded(registry, events)

    yield install
    for undo in undos:
        undo()


def send(method: str, url: str, session: dict[str, Any] | None = None, **options: Any) -> tuple[int, bytes]:
    """One request of a session of its own."""

    async def main() -> tuple[int, bytes]:
        async with aiohttp.ClientSession(**session or {}) as client, client.request(method, url, **options) as response:
            return response.status, await response.read()

    return asyncio.run(main())


def failing(method: str, url: str, session: dict[str, Any] | None = None, **options: Any) -> Exception:
    """The error of one request."""
    with pytest.raises(Exception) as caught:
        send(method, url, session, **options)
    found: Exception = caught.value
    return found


@pytest.mark.parametrize("fault", ["reset", "close"])
def test_broken_get_is_sent_again(server: Any, steps: Any, guard: Guard, fault: str) -> None:
    """A connection that breaks costs a GET nothing but an attempt."""
    guard()
    server.script(getattr(steps, fault))
    assert send("GET", server.url) == (200, b"fine")
    assert len(server.received) == 2


@pytest.mark.parametrize("status", STATUSES)
def test_transient_status_is_sent_again(server: Any, steps: Any, guard: Guard, status: int) -> None:
    """Judged before aiohttp would raise for it; the refused answer's connection serves the next attempt."""
    guard()
    server.script(steps.answer(status))
    assert send("GET", server.url, {"raise_for_status": True}) == (200, b"fine")
    assert (len(server.received), server.connections) == (2, 1)


def test_hanging_get_is_sent_again(server: Any, steps: Any, guard: Guard) -> None:
    """Aiohttp's default of 300 s is nobody's wish: an attempt that hangs is left after the attempt timeout."""
    guarded = guard(attempt_timeout=2)
    server.script(steps.hang)
    assert send("GET", server.url) == (200, b"fine")
    assert server.gone.wait(60), "the connection that was given up is closed"
    assert [event.policy for event in guarded.of(CallTimedOut)] == ["attempt_timeout"]


@pytest.mark.parametrize("fault", ["reset", "close"])
def test_attempts_are_not_multiplied_by_aiohttps_own(server: Any, steps: Any, guard: Guard, fault: str) -> None:
    """Aiohttp sends an idempotent request once more after a lost connection: the retries stand in for that."""
    guard(attempts=3)
    server.script(otherwise=getattr(steps, fault))
    error = failing("GET", server.url)
    assert len(server.received) == 3
    assert isinstance(error, aiohttp.ClientConnectionError)
    failure = failure_of(error)
    assert failure is not None
    assert (failure.attempts, failure.cause) == (3, "network")
    assert error.__notes__ == [note for note in error.__notes__ if note.startswith("handrail: 3 attempts")]


def test_without_retries_aiohttps_own_stays(server: Any, steps: Any, guard: Guard) -> None:
    """Where the settings switch retries off, aiohttp does what it does alone."""
    guard(attempts=1)
    server.script(steps.close)
    assert send("GET", server.url) == (200, b"fine")


@pytest.mark.parametrize("data", [b"abc", "text", {"a": "1"}], ids=["bytes", "text", "form"])
def test_unsafe_request_is_sent_once(server: Any, steps: Any, guard: Guard, data: Any) -> None:
    """A POST without a key that may have reached the peer is never repeated."""
    guarded = guard()
    server.script(otherwise=steps.reset)
    assert isinstance(failing("POST", server.url, data=data), aiohttp.ClientError)
    assert len(server.received) == 1
    assert [event.reason for event in guarded.of(NotRetried)] == ["unsafe_method"]


def test_keyed_post_is_sent_again_with_all_of_its_body(server: Any, steps: Any, guard: Guard) -> None:
    """With an Idempotency-Key a POST is repeated, in-memory forms included."""
    guard()
    server.script(steps.reset, steps.answer(503))
    form = aiohttp.FormData()
    form.add_field("a", b"x" * 1000, filename="a.bin")
    assert send("POST", server.url, data=form, headers={"Idempotency-Key": "k"})[0] == 200
    assert len({one.body for one in server.received}) == 1
    assert [one.all("idempotency-key") for one in server.received] == [["k"]] * 3


def test_body_that_is_read_once_is_sent_once(server: Any, steps: Any, guard: Guard) -> None:
    """A stream cannot be sent again, whatever the method."""

    async def pieces() -> Any:
        yield b"a"
        yield b"b"

    guarded = guard()
    server.script(steps.answer(503))
    assert send("PUT", server.url, data=pieces())[0] == 503
    assert len(server.received) == 1
    assert [event.reason for event in guarded.of(NotRetried)] == ["one_shot_body"]


def test_refused_connection_is_retried_for_any_method(silent: Any, guard: Guard) -> None:
    """Nothing was sent, so a POST may be tried again; the last error is aiohttp's own, unchanged."""
    guarded = guard()
    error = failing("POST", silent.url, data=b"abc")
    assert type(error) is aiohttp.ClientConnectorError
    assert [event.cause for event in guarded.of(RetryScheduled)] == ["connect", "connect"]


def test_each_hop_is_a_call_of_its_own(server: Any, steps: Any, guard: Guard) -> None:
    """The hop that failed is repeated, not the redirect before it."""
    guard()
    server.script(steps.answer(302, location="/a"), steps.answer(503), steps.answer(200, b"there"))
    assert send("GET", server.url) == (200, b"there")
    assert [one.path for one in server.received] == ["/", "/a", "/a"]


def test_open_breaker_is_aiohttps_error_too(server: Any, steps: Any, guard: Guard) -> None:
    """`except aiohttp.ClientError` catches a refusal; it is handrail's as well, and survives pickling."""
    guard(attempts=1, breaker_minimum_calls=2)
    server.script(otherwise=steps.answer(500))
    for _ in range(2):
        send("GET", server.url)
    error = failing("GET", server.url)
    assert isinstance(error, aiohttp.ClientConnectionError)
    assert isinstance(error, handrail.CircuitOpen)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert again.target == server.url
    assert len(server.received) == 2


def test_time_limit_is_aiohttps_error_too(server: Any, steps: Any, guard: Guard) -> None:
    """An attempt that was too slow is aiohttp's timeout and asyncio's, as aiohttp's own is."""
    guard(attempts=1, attempt_timeout=0.1)
    server.script(otherwise=steps.hang)
    error = failing("GET", server.url)
    assert isinstance(error, aiohttp.ServerTimeoutError)
    assert isinstance(error, asyncio.TimeoutError)
    assert isinstance(error, handrail.AttemptTimedOut)


def test_written_total_bounds_the_whole(server: Any, steps: Any, guard: Guard) -> None:
    """A total that the code wrote holds for all attempts together, and the peer that hung is blamed."""
    guarded = guard()
    server.script(otherwise=steps.hang)
    error = failing("GET", server.url, timeout=aiohttp.ClientTimeout(total=1))
    assert isinstance(error, TimeoutError)
    assert isinstance(error, handrail.DeadlineExceeded)
    assert len(server.received) == 1
    assert guarded.registry.entries()[0].breaker.failure_rate() == 1


def test_longer_wish_is_not_cut_short(server: Any, steps: Any, guard: Guard) -> None:
    """A total above the settings lets an attempt last as long as the code said."""
    guard(attempt_timeout=0.05, total_timeout=0.1)
    server.script(steps.slow)
    assert send("GET", server.url, timeout=aiohttp.ClientTimeout(total=20)) == (200, b"fine")
    assert len(server.received) == 1


@pytest.mark.parametrize("timeout", [aiohttp.ClientTimeout(), None], ids=["none", "None"])
def test_no_bound_is_a_wish_too(server: Any, steps: Any, guard: Guard, timeout: Any) -> None:
    """Where the code says that nothing bounds the request, nothing does."""
    guard(attempt_timeout=0.05, total_timeout=0.1)
    server.script(steps.slow)
    assert send("GET", server.url, timeout=timeout) == (200, b"fine")


def test_read_timeout_of_their_own_is_retried(server: Any, steps: Any, guard: Guard) -> None:
    """`sock_read` ends an attempt as it ends a request: the next one follows, and counts."""
    guarded = guard()
    server.script(steps.hang)
    assert send("GET", server.url, timeout=aiohttp.ClientTimeout(sock_read=1)) == (200, b"fine")
    assert [event.cause for event in guarded.of(RetryScheduled)] == ["timeout"]


def test_body_is_the_services_to_read(server: Any, steps: Any, guard: Guard) -> None:
    """What breaks after the headers is aiohttp's error; the request is not sent again behind the reader's back."""
    guarded = guard()
    server.script(steps.reset_in_body)
    assert isinstance(failing("GET", server.url), aiohttp.ClientError)
    assert len(server.received) == 1
    assert guarded.of(AttemptFailed) == []


def test_cancelled_call_counts_for_nothing(server: Any, steps: Any, guard: Guard) -> None:
    """A caller that goes away says nothing about the peer, and its connection is closed."""
    guarded = guard()
    server.script(steps.hang)

    async def main() -> None:
        async with aiohttp.ClientSession() as session:
            task = asyncio.ensure_future(session.get(server.url))
            await asyncio.to_thread(server.hung.wait, 60)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())
    assert server.gone.wait(60)
    assert guarded.events == []
    assert guarded.registry.entries()[0].breaker.failure_rate() == 0


def test_own_middleware_sees_each_call_once(server: Any, steps: Any, guard: Guard) -> None:
    """Retries happen below the service's middlewares; their own second try is a call of its own."""
    guard()
    seen: list[int] = []

    async def mine(request: Any, handler: Any) -> Any:
        response = await handler(request)
        seen.append(response.status)
        if response.status == 404:
            response = await handler(request)
        return response

    server.script(steps.answer(503), steps.answer(404), steps.answer(503))
    assert send("GET", server.url, {"middlewares": [mine]}) == (200, b"fine")
    assert seen == [404]
    assert len(server.received) == 4


def test_attempts_tell_their_number_alone(server: Any, steps: Any, guard: Guard) -> None:
    """What an attempt tells of itself stands in no other attempt, and not in the service's request."""
    guard()
    server.script(steps.answer(503))
    send("GET", server.url)
    assert [one.all("x-envoy-attempt-count") for one in server.received] == [[], ["2"]]
    assert [len(one.all("x-envoy-expected-rq-timeout-ms")) for one in server.received] == [1, 1]


def test_wrong_url_and_own_mistakes_are_not_retried(server: Any, guard: Guard) -> None:
    """What no further attempt will change is raised as it is."""
    guarded = guard()
    assert type(failing("GET", "http:///x")) is aiohttp.InvalidUrlClientError
    assert type(failing("GET", "ftp://127.0.0.1/")) is aiohttp.NonHttpUrlClientError
    assert guarded.events == []


def test_unix_socket_is_an_origin_of_its_own(tmp_path: Any, steps: Any, guard: Guard) -> None:
    """By the socket, since the URL's host is a mere name then."""
    guarded = guard()
    path = str(tmp_path / "s")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nfine")
        writer.close()
        await writer.wait_closed()

    async def main() -> bytes:
        async with await asyncio.start_unix_server(answer, path):
            connector = aiohttp.UnixConnector(path)
            async with aiohttp.ClientSession(connector=connector) as session, session.get("http://name/") as response:
                return await response.read()

    assert asyncio.run(main()) == b"fine"
    assert [entry.target for entry in guarded.registry.entries()] == [f"http://name@{path}"]


def test_other_connectors_are_left_alone(guard: Guard) -> None:
    """A connector that opens no connection of its own (a mock, ASGI) passes by the pipeline."""
    guarded = guard()

    class Mock(aiohttp.BaseConnector):
        async def connect(self, *args: Any, **kwargs: Any) -> Any:
            raise aiohttp.ClientConnectionError("a mock")

    async def main() -> None:
        async with aiohttp.ClientSession(connector=Mock()) as session:
            await session.get("http://127.0.0.1/")

    with pytest.raises(aiohttp.ClientConnectionError, match="a mock"):
        asyncio.run(main())
    assert guarded.registry.entries() == []


def test_undo_gives_the_class_back(server: Any, steps: Any, guard: Guard) -> None:
    """Installing twice is the same as once; after the undo nothing of ours is on the class, sessions included."""
    before = vars(aiohttp.ClientSession)["_request"]
    guarded = guard()
    undo = outbound.install(aiohttp, guarded.registry)
    assert outbound.install(aiohttp, Registry()) is undo
    undo()
    undo()
    assert vars(aiohttp.ClientSession)["_request"] is before
    server.script(steps.answer(503))
    assert send("GET", server.url)[0] == 503


def test_session_made_earlier_is_covered(server: Any, steps: Any, guard: Guard) -> None:
    """It does not matter whether the session or handrail came first."""
    server.script(steps.answer(503))

    async def main() -> int:
        async with aiohttp.ClientSession() as session:
            guard()
            async with session.get(server.url) as response:
                return response.status

    assert asyncio.run(main()) == 200


def test_name_that_is_not_found_never_left(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that does not resolve is retried for any method: nothing was sent."""

    async def resolve(*_args: Any, **_kwargs: Any) -> Any:
        raise OSError(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(aiohttp.TCPConnector, "_resolve_host", resolve)
    guarded = guard()
    assert isinstance(failing("POST", "http://nowhere.test/", data=b"a"), aiohttp.ClientConnectorDNSError)
    assert [event.cause for event in guarded.of(RetryScheduled)] == ["connect", "connect"]


def test_peer_that_honours_keys_is_sent_one(server: Any, steps: Any, guard: Guard) -> None:
    """After the peer has said so, a POST without a key gets one, the same on each attempt, and is sent again."""
    guard()
    told = steps.answer(200, b"fine", idempotency_key_honoured="?1")
    server.script(told, steps.reset, otherwise=told)

    async def main() -> list[int]:
        async with aiohttp.ClientSession() as session:
            found = []
            for _ in range(2):
                async with session.post(server.url, json={"a": 1}) as response:
                    found.append(response.status)
            return found

    assert asyncio.run(main()) == [200, 200]
    keys = [one.all("idempotency-key") for one in server.received]
    assert keys[0] == []
    assert keys[1] == keys[2]
    assert len(keys[1]) == 1


def test_credentials_for_one_request_are_used_once(server: Any, steps: Any, guard: Guard) -> None:
    """The digest middleware of aiohttp counts nonces: what the peer has seen is not sent to it again."""
    guard()
    digest = 'Digest realm="r", nonce="n", qop="auth", algorithm=MD5'
    server.script(steps.answer(401, www_authenticate=digest), steps.answer(503))
    auth = aiohttp.DigestAuthMiddleware("user", "secret")
    assert send("GET", server.url, {"middlewares": [auth]})[0] == 503
    assert len(server.received) == 2


def test_second_request_beside_the_first_wins(server: Any, steps: Any, guard: Guard) -> None:
    """Hedged, a GET that hangs is answered by its second sending; the connection of the first is closed."""
    guard(hedge_after=0.3)
    server.script(steps.hang)
    assert send("GET", server.url) == (200, b"fine")
    assert len(server.received) == 2
    assert server.gone.wait(60)


def test_time_limit_names_its_failure(server: Any, steps: Any, guard: Guard) -> None:
    """Whoever answers for the error later knows origin, attempts and cause."""
    guard(attempts=2, attempt_timeout=0.05)
    server.script(otherwise=steps.hang)
    failure = failure_of(failing("GET", server.url))
    assert failure is not None
    assert (failure.target, failure.attempts, failure.cause) == (server.url, 2, "timeout")
