"""The layer for keyed requests: the states of a key, and what a client gets in each."""

import asyncio
import json
import logging
from typing import Any

import pytest

from handrail.resilience.events import IdempotencyMet
from handrail.resilience.inbound.idempotency import idempotency_key
from handrail.resilience.keyed import promise
from handrail.resilience.replay.testing import IDENTITY, DirectCourier, MemoryBackend
from handrail.resilience.replay.work import Begin
from handrail.resilience.testing import FakeClock, run
from tests.resilience_inbound.idempotency_bench import TRACE, Got, Service, SlowCourier, answer, turns, whole

HONOURED = b"idempotency-key-honoured"
SAID = f'?1;store="{IDENTITY}";host="x"'.encode()


def test_a_request_sent_twice_acts_once() -> None:
    """The second gets the first one's answer: status, headers and bytes, and that it is one."""
    service = Service()

    async def main() -> None:
        first, second = await service.post(), await service.post()
        assert (first.status, first.body, first.replayed) == (201, b'{"charge": 1}', False)
        assert (second.status, second.body, second.replayed) == (201, b'{"charge": 1}', True)
        assert second.headers == {**first.headers, b"idempotent-replayed": b"true"}
        assert first.headers[HONOURED] == SAID

    run(main(), service.clock)
    assert (service.effects, service.states, service.courier.held) == (1, ["kept"], 0)
    (event,) = service.told.of(IdempotencyMet)
    assert (event.outcome, event.trace, event.operation) == ("replayed", TRACE, "POST")


def test_another_key_is_another_request() -> None:
    """A5-1: and so is another path, method, caller; the host is not looked at."""
    service = Service()

    async def main() -> None:
        await service.post("one")
        assert not (await service.post("two")).replayed
        assert not (await service.post("one", path="/refund")).replayed
        assert not (await service.post("one", method="PATCH")).replayed
        assert not (await service.post("one", b"{}", (b"authorization", b"Bearer b"))).replayed
        assert not (await service.post("one", b"{}", (b"x-api-key", b"Bearer b"))).replayed
        assert (await service.post("one", b"{}", (b"host", b"other"))).replayed

    run(main(), service.clock)
    assert service.effects == 6


def test_a_string_and_a_bare_word_are_one_key() -> None:
    """The draft's form and what clients send that have not read it; a proxy may write one for the other."""
    service = Service()

    async def main() -> None:
        await service.post('"a-1"')
        assert (await service.post("a-1")).replayed
        assert (await service.post(' "a-1" ;v=2')).replayed

    run(main(), service.clock)


@pytest.mark.parametrize(
    "key", ["", '""', '"a', 'a"b', "a b", "a,b", '"a", "b"', "é", '"é"', "a\x01b", "a" * 256, '"' + "a" * 256 + '"']
)
def test_what_is_no_key_is_refused(key: str) -> None:
    """400 with what a key looks like; the app is not asked, and nothing is begun."""
    service = Service()
    got = run(service.post(key), service.clock)
    assert (got.status, got.problem, service.effects, service.states) == (400, "idempotency-key-invalid", 0, [])
    assert got.headers[b"idempotency-key-refused"] == b"invalid"


def test_two_keys_are_none() -> None:
    """Nobody knows which was meant."""
    service = Service()
    got = run(service.post("a", b"{}", (b"idempotency-key", b"a")), service.clock)
    assert (got.status, got.problem) == (400, "idempotency-key-invalid")


@pytest.mark.parametrize("key", ["a" * 255, '"' + "a" * 255 + '"', r'"a\"b\\c d,e"', "x:/+=!#$%&'()*-._~[]{}|"])
def test_keys_of_many_kinds(key: str) -> None:
    """Up to 255 characters of printable ASCII."""
    service = Service()
    assert run(service.post(key), service.clock).status == 201


def test_while_the_first_is_at_work() -> None:
    """409 with Retry-After, at once, without reading the body: fifty at the same time act once, and all are told."""
    service = Service()
    service.courier = SlowCourier(service.backend)
    service.layer._courier = service.courier

    async def never() -> Any:
        raise AssertionError("its body was read")

    async def main() -> list[Got]:
        gone_on = asyncio.Event()

        async def slow(scope: Any, receive: Any, send: Any) -> None:
            await gone_on.wait()
            await service.charge(scope, receive, send)

        service.layer.app = slow
        first = asyncio.create_task(service.post())
        await turns(5)
        others = await asyncio.gather(*(service.post(receive=never) for _ in range(49)))
        gone_on.set()
        return [await first, *others]

    first, *others = run(main(), service.clock)
    assert first.status == 201
    assert {other.status for other in others} == {409}
    assert {other.headers[b"retry-after"] for other in others} == {b"1"}
    assert {other.headers[b"idempotency-key-refused"] for other in others} == {b"in-flight"}
    assert {other.headers[HONOURED] for other in others} == {SAID}
    assert b"x-envoy-overloaded" not in others[0].headers
    assert (service.effects, set(service.outcomes)) == (1, {"in_flight"})


def test_fifty_at_the_very_same_moment() -> None:
    """A5-4: one acts; each of the others is told that it is under way, or gets its answer."""
    service = Service()
    service.layer._courier = SlowCourier(service.backend)

    async def main() -> None:
        got = await asyncio.gather(*(service.post() for _ in range(50)))
        assert sorted({one.status for one in got if one.status}) == [201, 409]
        assert len({one.body for one in got if one.status == 201}) == 1

    run(main(), service.clock)
    assert service.effects == 1


@pytest.mark.parametrize(
    ("body", "extra", "headers"),
    [
        (b'{"amount": 2}', {}, []),
        (b"{}\n", {}, []),
        (b"{", {}, []),
        (b"", {}, []),
        (b"{}", {"query_string": b"currency=eur"}, []),
        (b"{}", {}, [(b"content-type", b"text/plain")]),
        (b"{}", {}, [(b"content-encoding", b"gzip")]),
        (b"{}", {}, [(b"cookie", b"session=other")]),
    ],
)
def test_a_key_used_for_something_else(body: bytes, extra: dict[str, Any], headers: list[tuple[bytes, bytes]]) -> None:
    """A5-1, 422: the body, the query, its type or the person differs; nothing is done, and no answer leaks."""
    service = Service()

    async def main() -> None:
        await service.post("k", b"{}")
        got = await service.post("k", body, *headers, **extra)
        assert (got.status, got.problem) == (422, "idempotency-key-reused")
        assert got.headers[b"idempotency-key-refused"] == b"reused"
        assert b"charge" not in got.body

    run(main(), service.clock)
    assert (service.effects, service.outcomes) == (1, ["mismatch"])


def test_cookies_that_tell_no_person_do_not_count() -> None:
    """Analytics and load balancers change theirs between two attempts; any order is one."""
    service = Service()

    async def main() -> None:
        await service.post("k", b"{}", (b"cookie", b"session=a; _ga=GA1.2.3; AWSALB=x; cart=1"))
        assert (await service.post("k", b"{}", (b"cookie", b"cart=1"), (b"cookie", b"session=a; _ga=GA9"))).replayed
        assert (await service.post("k", b"{}", (b"cookie", b"session=a"))).status == 422
        assert (await service.post("k", b"{}")).status == 422
        assert not (await service.post("l", b"{}", (b"cookie", b"_ga=1"))).replayed
        assert (await service.post("l", b"{}")).replayed

    run(main(), service.clock)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 401, 403, 404, 405, 408, 421, 425, 429])
def test_answers_that_free_the_key(status: int) -> None:
    """It was not carried out, or not yet: the same request may come again, and acts."""
    service = Service()

    async def failing(scope: Any, receive: Any, send: Any) -> None:
        service.effects += 1
        await answer(send, status if service.effects == 1 else 201, b"{}")

    service.layer.app = failing

    async def main() -> None:
        assert [(await service.post()).status for _ in range(3)] == [status, 201, 201]

    run(main(), service.clock)
    assert (service.effects, service.outcomes, service.courier.held) == (2, ["replayed"], 0)


@pytest.mark.parametrize("status", [200, 204, 302, 400, 402, 409, 422])
def test_answers_that_are_kept(status: int) -> None:
    """Also a refusal of the app's own: it would be the same again."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, status, b"")

    service = Service(app)

    async def main() -> None:
        assert [(await service.post()).status for _ in range(2)] == [status] * 2

    run(main(), service.clock)
    assert service.outcomes == ["replayed"]


def test_an_exception_frees_the_key_and_goes_up_unchanged() -> None:
    """A5-3: the peer's key stays pending for ever (asgi-idempotency-header); here the next attempt acts."""
    raised = ValueError("a bug")
    service = Service()

    async def failing(scope: Any, receive: Any, send: Any) -> None:
        if not service.effects:
            service.effects += 1
            raise raised
        await service.charge(scope, receive, send)

    service.layer.app = failing

    async def main() -> None:
        with pytest.raises(ValueError, match="a bug") as caught:
            await service.post()
        assert caught.value is raised
        assert any(entry.name == "failing" for entry in caught.traceback)
        assert service.states == []
        assert (await service.post()).status == 201

    run(main(), service.clock)


def test_a_worker_that_was_killed() -> None:
    """Under way until its lease is over; then a definite refusal, which nobody further out repeats."""
    service = Service(idempotency_lease=10.0)
    begin = run(_begun(service), service.clock)
    service.courier.die()
    assert run(service.post(), service.clock).problem == "idempotency-key-in-flight"
    service.clock.advance(10.1)
    got = run(service.post(), service.clock)
    assert (got.status, got.problem, service.effects) == (409, "idempotency-key-interrupted", 0)
    assert (got.headers[b"x-envoy-overloaded"], b"retry-after" in got.headers) == (b"true", False)
    assert got.headers[b"idempotency-key-refused"] == b"interrupted"
    assert "may have been carried out" in json.loads(got.body)["detail"]
    assert begin.key in service.backend.rows


async def _begun(service: Service) -> Begin:
    """A request that another process began."""
    service.layer.app, app = _never, service.layer.app
    task = asyncio.create_task(service.post())
    await turns(5)
    service.layer.app = app
    begin = next(work for work in service.courier.asked if isinstance(work, Begin))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return begin


async def _never(scope: Any, receive: Any, send: Any) -> None:
    await whole(receive)
    await asyncio.Event().wait()


def test_a_killed_workers_request_again_where_the_service_says_so() -> None:
    """`idempotency_interrupted = again`: one of those who ask carries it out once more; told in the trace."""
    service = Service(idempotency_interrupted="again")
    run(_begun(service), service.clock)
    service.courier.die()
    service.clock.advance(10.1)
    assert run(service.post(), service.clock).status == 201
    assert run(service.post(), service.clock).replayed
    assert (service.effects, service.outcomes) == (1, ["ran_again", "replayed"])


def test_a_long_request_keeps_its_lease() -> None:
    """As long as its worker lives, however long it takes."""
    service = Service(idempotency_lease=10.0)

    async def main() -> None:
        going = asyncio.Event()

        async def slow(scope: Any, receive: Any, send: Any) -> None:
            await going.wait()
            await service.charge(scope, receive, send)

        service.layer.app = slow
        task = asyncio.create_task(service.post())
        await turns(5)
        for _ in range(5):
            service.clock.advance(6.0)
            service.courier.renew()
        assert (await service.post()).problem == "idempotency-key-in-flight"
        going.set()
        assert (await task).status == 201

    run(main(), service.clock)
    assert service.courier.held == 0


def test_the_key_is_there_for_the_app() -> None:
    """In the app, its tasks and threads; none for a request without one, nor for a call within the process."""
    seen: list[str | None] = []
    service = Service()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(idempotency_key())
        if scope["path"] == "/pay":
            seen.append(await asyncio.to_thread(idempotency_key))
            seen.append(await asyncio.create_task(_now()))
            await service.post(None, path="/inner")
            await service.post("inner", path="/inner")
            await service.post(None, path="/inner", method="GET")
        await answer(send, 200, b"")

    service.layer.app = app

    async def main() -> None:
        await service.post('"a\\"b"')
        assert idempotency_key() is None
        await service.post(None, path="/other")

    asyncio.run(main())
    assert seen == ['a"b', 'a"b', 'a"b', None, "inner", None, None]


async def _now() -> str | None:
    return idempotency_key()


def test_the_log_says_what_was_refused(caplog: pytest.LogCaptureFixture) -> None:
    """One line, without the key."""
    caplog.set_level(logging.WARNING, "handrail")
    service = Service()

    async def main() -> None:
        await service.post("secret")
        await service.post("secret", b"other")

    run(main(), service.clock)
    (line,) = caplog.messages
    assert line.startswith("POST /pay answered 422: this Idempotency-Key was used for another request")
    assert "secret" not in line


def test_a_replica_with_another_store() -> None:
    """421 before anything is done, and it says which store it has."""
    service = Service()

    async def main() -> None:
        got = await service.post("k", b"{}", (b"idempotency-key-store", b'"fedcba9876543210"'))
        assert (got.status, got.problem) == (421, "misdirected")
        assert got.headers[b"idempotency-key-refused"] == b"misdirected"
        said = promise(got.headers[HONOURED].decode())
        assert said is not None
        assert said.store == IDENTITY
        assert (service.effects, service.states, service.courier.asked) == (0, [], [])
        ours = (b"idempotency-key-store", f'"{IDENTITY}"'.encode())
        assert (await service.post("k", b"{}", ours)).status == 201
        assert (await service.post("k", b"{}", ours)).replayed

    run(main(), service.clock)


class LateCourier(DirectCourier):
    """Knows the store only after it has asked it."""

    known = False

    @property
    def identity(self) -> str | None:
        return IDENTITY if self.known else None

    async def ask(self, work: Any, seconds: float, /) -> Any:
        self.known = True
        return await super().ask(work, seconds)


def test_a_store_that_turns_out_to_be_another_one() -> None:
    """Nobody had asked it yet: what was begun is freed, and nothing is done."""
    backend = MemoryBackend(FakeClock())
    service = Service(backend=backend, courier=LateCourier(backend))
    got = run(service.post("k", b"{}", (b"idempotency-key-store", b'"other"')), service.clock)
    assert (got.status, service.effects, service.states, service.courier.held) == (421, 0, [], 0)
