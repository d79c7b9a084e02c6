"""What of an answer is kept, what of it is given again, and what of a body is compared."""

import asyncio
import json
from typing import Any

import pytest

from handrail.resilience.inbound.idempotency import idempotency_key
from handrail.resilience.replay.testing import IDENTITY
from handrail.resilience.testing import run
from tests.resilience_inbound.idempotency_bench import Got, Service, answer, turns, whole

HONOURED = b"idempotency-key-honoured"
SAID = f'?1;store="{IDENTITY}";host="x"'.encode()
START = "http.response.start"
BODY = "http.response.body"


def playing(*messages: dict[str, Any], raising: BaseException | None = None) -> Any:
    """An app that sends these, and then raises."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await whole(receive)
        for message in messages:
            await send(dict(message))
        if raising is not None:
            raise raising

    return app


def twice(app: Any, **settings: Any) -> tuple[Got, Got]:
    """The answers to a request and to the same once more."""
    service = Service(app, **settings)

    async def main() -> tuple[Got, Got]:
        return await service.post(), await service.post()

    return run(main(), service.clock)


def test_a_streamed_binary_answer() -> None:
    """A5-2: asgi-idempotency-header reads the first chunk as JSON; here any bytes in any number of chunks are kept."""
    chunks = [bytes(range(256)), b"", b"\xff" * 1000, b"end"]
    messages = [{"type": BODY, "body": chunk, "more_body": True} for chunk in chunks]
    first, second = twice(playing({"type": START, "status": 200, "headers": []}, *messages, {"type": BODY}))
    assert len(first.messages) == 6
    assert first.body == second.body == b"".join(chunks)
    assert second.replayed


def test_chunks_pass_as_they_come() -> None:
    """The first is with the client while the app makes the second; only the last waits for the store."""
    service = Service()

    async def main() -> None:
        going = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": START, "status": 200, "headers": []})
            await send({"type": BODY, "body": b"a", "more_body": True})
            await going.wait()
            await send({"type": BODY, "body": b"b"})

        service.layer.app = app
        got = Got()
        task = asyncio.create_task(service.post(got=got))
        await turns(5)
        assert [message.get("body") for message in got.messages] == [None, b"a"]
        going.set()
        await task
        assert got.body == b"ab"

    run(main(), service.clock)


def test_the_answer_is_kept_before_its_end_is_out() -> None:
    """And not only when the app returns: a background task that is still at work makes nobody wait."""
    service = Service()

    async def main() -> None:
        going = asyncio.Event()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await answer(send, 201, b"{}")
            await going.wait()

        async def send(message: Any) -> None:
            seen.append((message["type"], service.states))

        seen: list[Any] = []
        service.layer.app = app
        task = asyncio.create_task(service.post(send=send))
        await turns(5)
        assert seen == [(START, ["begun"]), (BODY, ["kept"])]
        assert (await service.post(body=[])).replayed
        going.set()
        await task

    run(main(), service.clock)


def test_what_belongs_to_one_connection_or_moment_is_left_out() -> None:
    """RFC 9110, 7.6.1, and the date; the rest stays in its order and its letters."""
    headers = [
        (b"Content-Type", b"text/plain"),
        (b"Date", b"Sat, 21 Nov 2026 10:00:00 GMT"),
        (b"connection", b"close, X-Hop"),
        (b"keep-alive", b"timeout=5"),
        (b"transfer-encoding", b"chunked"),
        (b"x-hop", b"1"),
        (b"x-two", b"a"),
        (b"x-two", b"b"),
        (b"idempotency-key-honoured", b"?0"),
    ]
    first, second = twice(playing({"type": START, "status": 200, "headers": headers}, {"type": BODY, "body": b"x"}))
    assert first.messages[0]["headers"] == headers
    assert second.messages[0]["headers"] == [
        (b"Content-Type", b"text/plain"),
        (b"x-two", b"a"),
        (b"x-two", b"b"),
        (b"idempotency-key-honoured", b"?0"),
        (b"idempotent-replayed", b"true"),
    ]


@pytest.mark.parametrize(
    ("cookies", "status", "kept"), [("drop", 200, False), ("keep", 200, True), ("skip", 409, False)]
)
def test_cookies_that_the_answer_sets(cookies: str, status: int, kept: bool) -> None:
    """The first client gets them always; the next one as the setting says."""
    headers = [(b"set-cookie", b"a=1"), (b"Set-Cookie", b"b=2")]
    app = playing({"type": START, "status": 200, "headers": headers}, {"type": BODY, "body": b"x"})
    first, second = twice(app, idempotency_cookies=cookies)
    assert [value for name, value in first.messages[0]["headers"] if name.lower() == b"set-cookie"] == [b"a=1", b"b=2"]
    assert second.status == status
    assert (b"set-cookie" in second.headers) is kept
    assert status == 200 or second.problem == "idempotency-answer-not-kept"


@pytest.mark.parametrize(("size", "fits"), [(99, True), (100, True), (101, False)])
def test_an_answer_that_is_too_large(size: int, fits: bool) -> None:
    """Of it is kept that it was given, with which status: a definite refusal, and no second effect."""
    parts = [b"a" * 50, b"a" * (size - 50)]
    messages = [{"type": BODY, "body": part, "more_body": True} for part in parts]
    app = playing({"type": START, "status": 201, "headers": []}, *messages, {"type": BODY})
    first, second = twice(app, idempotency_answer_max=100)
    assert len(first.body) == size
    if fits:
        assert second.replayed
        return
    assert (second.status, second.problem) == (409, "idempotency-answer-not-kept")
    assert second.headers[b"idempotency-key-refused"] == b"not-kept"
    assert second.headers[b"x-envoy-overloaded"] == b"true"
    detail = json.loads(second.body)["detail"]
    assert "was carried out with status 201" in detail
    assert "too large" in detail


def test_an_answer_that_broke_off() -> None:
    """Said 201 and then failed: carried out, by its own words, so it is not done again."""
    service = Service(playing({"type": START, "status": 201}, {"type": BODY, "more_body": True}, raising=OSError("no")))

    async def main() -> None:
        with pytest.raises(OSError, match="no"):
            await service.post()
        got = await service.post()
        assert (got.status, got.problem) == (409, "idempotency-answer-not-kept")
        assert "broke off" in json.loads(got.body)["detail"]

    run(main(), service.clock)


@pytest.mark.parametrize(
    "messages",
    [[], [{"type": START, "status": 500}], [{"type": START, "status": 503}, {"type": BODY, "more_body": True}]],
)
def test_an_app_that_never_says_that_it_was_done(messages: list[dict[str, Any]]) -> None:
    """Returned without an answer, or in the middle of a failure: the server makes a 500 of it, and the key is free."""
    service = Service(playing(*messages))
    run(service.post(), service.clock)
    assert (service.states, service.courier.held) == ([], 0)


def test_an_app_that_answers_twice() -> None:
    """The first answer is kept; what follows is for the server to refuse, as ever."""
    start, body = {"type": START, "status": 201}, {"type": BODY, "body": b"one"}
    first, second = twice(playing(start, body, {"type": START, "status": 500}, {"type": BODY, "body": b"two"}))
    assert [message["type"] for message in first.messages] == [START, BODY, START, BODY]
    assert second.body == b"one"


def test_an_app_that_fails_after_its_answer() -> None:
    """A background task's error goes up as ever; the answer stands."""
    service = Service(playing({"type": START, "status": 201}, {"type": BODY}, raising=ValueError("later")))

    async def main() -> None:
        with pytest.raises(ValueError, match="later"):
            await service.post()
        assert (await service.post()).replayed

    run(main(), service.clock)


def test_trailers() -> None:
    """Kept with the answer, and given again to a server that can send them."""
    trailers = {"type": "http.response.trailers", "headers": [(b"grpc-status", b"0")], "more_trailers": False}
    service = Service(playing({"type": START, "status": 200, "trailers": True}, {"type": BODY, "body": b"x"}, trailers))

    async def main() -> None:
        offered: dict[str, Any] = {"extensions": {"http.response.trailers": {}}}
        first, second = await service.post(**offered), await service.post(**offered)
        assert first.messages[-1] == trailers
        assert second.messages[0]["trailers"] is True
        assert second.messages[-1]["headers"] == [(b"grpc-status", b"0")]
        third = await service.post()
        assert [message["type"] for message in third.messages] == [START, BODY]
        assert "trailers" not in third.messages[0]

    run(main(), service.clock)


def test_ways_round_the_body_are_not_offered() -> None:
    """A path or a file descriptor cannot be kept; whatever else the server can do is left."""
    offered: dict[str, Any] = {
        "http.response.pathsend": {},
        "http.response.zerocopysend": {},
        "http.response.early_hint": {},
    }
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(dict(scope["extensions"]))
        scope["route"] = "matched"
        await send({"type": "http.response.early_hint", "links": []})
        await answer(send, 200, b"")

    service = Service(app)
    got = run(service.post(extensions=offered), service.clock)
    assert seen == [{"http.response.early_hint": {}}]
    assert got.messages[0]["type"] == "http.response.early_hint"
    assert set(offered) == {"http.response.pathsend", "http.response.zerocopysend", "http.response.early_hint"}


def test_a_file_sent_all_the_same() -> None:
    """It passes, and counts as carried out."""
    app = playing({"type": START, "status": 200}, {"type": "http.response.pathsend", "path": "/x"})
    first, second = twice(app)
    assert first.messages[-1]["path"] == "/x"
    assert second.problem == "idempotency-answer-not-kept"


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "empty"),
        (b"\x02{}", "version 2"),
        (b"\x01\x00\x00\x00\xff{}", "cut off"),
        (b"\x01\x00\x00\x00\x02{}", "damaged"),
    ],
)
def test_an_answer_that_cannot_be_read(raw: bytes, said: str) -> None:
    """Damaged, given up for room, or of a later handrail: carried out all the same, so a definite refusal."""
    service = Service()

    async def main() -> None:
        await service.post()
        next(iter(service.backend.rows.values())).answer = raw
        got = await service.post()
        assert (got.status, got.problem) == (409, "idempotency-answer-not-kept")
        assert said in json.loads(got.body)["detail"]

    run(main(), service.clock)
    assert service.effects == 1


def test_a_body_that_the_app_never_read() -> None:
    """What it did cannot depend on it: any body is the same request, and is not waited for."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, 202, b"")

    service = Service(app)

    async def main() -> None:
        await service.post(body=b"a")
        assert (await service.post(receive=_no_body)).replayed

    run(main(), service.clock)


async def _no_body() -> Any:
    raise AssertionError("its body was read")


def test_a_body_that_the_app_read_the_beginning_of() -> None:
    """Compared as far as that, and read no further."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await answer(send, 202, b"")

    service = Service(app)

    async def main() -> None:
        await service.post(body=[b"head", b"tail"])
        parts = [b"he", b"adTAIL"]
        assert (await service.post(body=parts)).replayed
        assert (await service.post(body=[b"he", b"ap"])).status == 422
        assert (await service.post(body=b"he")).status == 422

    run(main(), service.clock)


@pytest.mark.parametrize(
    ("length", "status"), [(b"3", 422), (b"4", 201), (b"5", 422), (b"1000000000", 422), (b"x", 201)]
)
def test_a_length_that_differs_is_refused_before_the_body_comes(length: bytes, status: int) -> None:
    """A huge body is not read for it."""
    service = Service()

    async def main() -> None:
        await service.post(body=b"1234")
        receive = None if status == 201 else _no_body
        got = await service.post('"abc"', b"1234", (b"content-length", length), receive=receive)
        assert got.status == status

    run(main(), service.clock)


def test_a_body_that_goes_on_for_ever() -> None:
    """One byte more than the first is enough: no more is read."""
    service = Service()
    read = 0

    async def endless() -> dict[str, Any]:
        nonlocal read
        read += 1
        return {"type": "http.request", "body": b"{}"[read - 1 : read] or b"x", "more_body": True}

    async def main() -> None:
        await service.post(body=b"{}")
        assert (await service.post(receive=endless)).status == 422

    run(main(), service.clock)
    assert read == 3


def test_a_body_that_does_not_come() -> None:
    """408 after half a minute; whoever leaves meanwhile is answered nothing."""
    service = Service()

    async def silent() -> Any:
        await asyncio.Event().wait()

    async def leaving() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def main() -> None:
        await service.post(body=b"{}")
        before = service.clock.now()
        got = await service.post(receive=silent)
        assert (got.status, got.problem, service.clock.now() - before) == (408, "idempotency-body-slow", 30.0)
        assert b"idempotency-key-refused" not in got.headers
        assert (await service.post(receive=leaving)).messages == []

    run(main(), service.clock)
    assert service.effects == 1


@pytest.mark.parametrize(
    ("root", "path"), [("/api", "/pay"), ("/api", "/api/pay"), ("/api/", "/api/pay"), ("", "/api/pay")]
)
def test_servers_differ_in_what_the_path_is(root: str, path: str) -> None:
    """With or without `root_path` in it: the same request has the same key."""
    service = Service()

    async def main() -> None:
        await service.post(root_path="/api", path="/pay")
        assert (await service.post(root_path=root, path=path)).replayed

    run(main(), service.clock)


def test_answers_without_a_key_say_that_keys_are_honoured() -> None:
    """On POST and PATCH; once, and never over an app that says no; the app's own list is not changed."""
    headers = [(b"content-type", b"text/plain")]
    app = playing({"type": START, "status": 200, "headers": headers}, {"type": BODY})
    service = Service(app)

    async def main() -> None:
        for method in ("POST", "PATCH"):
            got = await service.post(None, method=method)
            assert got.messages[0]["headers"] == [*headers, (b"idempotency-key-honoured", SAID)]
        for method in ("GET", "PUT", "DELETE", "OPTIONS"):
            assert (await service.post("k", method=method)).messages[0]["headers"] == headers
        for said, passed in ((b"?0", (b"Idempotency-Key-Honoured", b"?0")), (b'?1;store="a"', (HONOURED, SAID))):
            own = playing({"type": START, "status": 200, "headers": ((b"Idempotency-Key-Honoured", said),)})
            service.layer.app = own
            for key in (None, said.hex()):
                got = await service.post(key)
                assert list(got.messages[0]["headers"]) == [passed]

    run(main(), service.clock)
    assert headers == [(b"content-type", b"text/plain")]


def test_a_request_that_is_not_concerned_passes_by() -> None:
    """The app gets the very receive and send of the server, and there is no frame of ours between."""
    seen: list[tuple[Any, ...]] = []

    async def app(*given: Any) -> None:
        seen.append(given)

    service = Service(app)
    for given in (
        ({"type": "http", "method": "GET", "headers": [(b"idempotency-key", b"k")]}, object(), object()),
        ({"type": "websocket", "headers": []}, object(), object()),
        ({"type": "lifespan"}, object(), object()),
    ):
        layer: Any = service.layer
        awaited = layer(*given)
        assert awaited.cr_code is app.__code__
        asyncio.run(awaited)
        assert seen.pop() == given


def test_a_layer_within_a_layer_adds_nothing() -> None:
    """An app that is protected and mounted in another one that is: its request is not under way because of itself."""
    service = Service()
    seen: list[str | None] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(idempotency_key())
        await answer(send, 201, b"{}")

    service.layer.app = Service(app, courier=service.courier, backend=service.backend).layer

    async def main() -> None:
        assert (await service.post()).status == 201
        assert (await service.post()).replayed

    run(main(), service.clock)
    assert seen == ["abc"]
