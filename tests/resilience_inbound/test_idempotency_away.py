"""The store is away: before a request, at its end, and for those who rely on it."""

import json

import pytest

from handrail.resilience.inbound._idempotency_refusals import MISDIRECTED, Refusal, away, invalid, not_kept
from handrail.resilience.inbound.idempotency import idempotency_key
from handrail.resilience.replay.testing import IDENTITY
from handrail.resilience.testing import run
from tests.resilience_inbound.idempotency_bench import Service, answer, whole

STORE = (b"idempotency-key-store", f'"{IDENTITY}"'.encode())
HONOURED = b"idempotency-key-honoured"


def test_it_is_refused() -> None:
    """503 with Retry-After and the reason, provably not carried out; nothing says that keys are honoured."""
    service = Service()
    service.courier.away = "connection refused"
    got = run(service.post(), service.clock)
    assert (got.status, got.problem, service.effects) == (503, "idempotency-store-unavailable", 0)
    assert got.headers[b"retry-after"] == b"1"
    assert HONOURED not in got.headers
    assert b"idempotency-key-refused" not in got.headers  # a client may ask again, as after any 503
    assert "connection refused" in json.loads(got.body)["detail"]
    assert service.outcomes == ["refused_store_away"]


def test_it_runs_unguarded_where_the_service_says_so() -> None:
    """`idempotency_unavailable = run`: each one acts; the key is there for a unique column of the service's own."""
    seen: list[str | None] = []

    async def app(scope: object, receive: object, send: object) -> None:
        seen.append(idempotency_key())
        await answer(send, 201, b"{}")

    service = Service(app, idempotency_unavailable="run")
    service.courier.away = "connection refused"

    async def main() -> None:
        assert [(await service.post()).status for _ in range(2)] == [201, 201]
        assert HONOURED not in (await service.post()).headers
        assert idempotency_key() is None

    run(main(), service.clock)
    assert (seen, service.outcomes) == (["abc"] * 3, ["ran_unguarded"] * 3)


def test_an_error_of_an_unguarded_app_passes() -> None:
    """Unchanged, and the key is gone with the request."""
    raised = ValueError("a bug")

    async def app(scope: object, receive: object, send: object) -> None:
        raise raised

    service = Service(app, idempotency_unavailable="run")
    service.courier.away = "gone"

    async def main() -> None:
        with pytest.raises(ValueError, match="a bug") as caught:
            await service.post()
        assert caught.value is raised
        assert idempotency_key() is None

    run(main(), service.clock)


def test_who_relies_on_the_store_is_never_run_unguarded() -> None:
    """421: its caller would send it again, since we had said that it is safe. Without the promise it sends it once."""
    service = Service(idempotency_unavailable="run")
    service.courier.away = "connection refused"
    got = run(service.post('"abc"', b"{}", STORE), service.clock)
    assert (got.status, got.problem, service.effects) == (421, "misdirected", 0)
    assert got.headers[b"idempotency-key-refused"] == b"misdirected"
    assert HONOURED not in got.headers


def test_requests_without_a_key_go_on() -> None:
    """They never needed it; nothing promises that keys are honoured."""
    service = Service()
    service.courier.away = "connection refused"
    got = run(service.post(None), service.clock)
    assert (got.status, HONOURED in got.headers) == (201, False)


def test_it_goes_away_before_the_answer_is_kept() -> None:
    """The answer goes out all the same, the lease is renewed, and the answer is kept when the store is back."""
    service = Service()

    async def app(scope: object, receive: object, send: object) -> None:
        await whole(receive)
        service.courier.away = "stopped"
        service.effects += 1
        await answer(send, 201, b"{}")

    service.layer.app = app

    async def main() -> None:
        assert (await service.post()).status == 201
        assert (service.states, service.courier.held) == (["begun"], 1)
        service.courier.away = None
        assert (await service.post()).replayed

    run(main(), service.clock)
    assert service.effects == 1


def test_it_goes_away_before_the_key_is_freed() -> None:
    """The same for a failure: free once the store is back."""
    service = Service()

    async def app(scope: object, receive: object, send: object) -> None:
        service.courier.away = "stopped" if not service.effects else None
        service.effects += 1
        await answer(send, 503 if service.effects == 1 else 201, b"{}")

    service.layer.app = app

    async def main() -> None:
        assert (await service.post()).status == 503
        service.courier.away = None
        assert (await service.post()).status == 201

    run(main(), service.clock)


def test_an_answer_whose_key_is_gone_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """Somebody else may have carried it out as well: one line in the log; the client gets its answer."""
    service = Service()

    async def app(scope: object, receive: object, send: object) -> None:
        service.backend.rows.clear()
        await answer(send, 201, b"{}")

    service.layer.app = app
    assert run(service.post(), service.clock).status == 201
    assert caplog.messages == ["the answer to POST /pay was not kept: its key is gone, or was taken over"]


@pytest.mark.parametrize(
    "refusal", [MISDIRECTED, away("x"), invalid("send a key"), not_kept(201, "too_large"), not_kept(None, "x")]
)
def test_every_problem_says_what_to_do(refusal: Refusal) -> None:
    """Status, title and detail of RFC 9457; the detail has an instruction."""
    problem = json.loads(refusal.answer.body(None))
    assert problem["status"] == refusal.answer.status
    assert problem["title"]
    assert problem["policy"] == "idempotency"
    assert "send" in problem["detail"]
