"""Which answers of ours say `x-envoy-overloaded`: those that another attempt further out would only make worse."""

import httpx
import pytest

from handrail.resilience import Registry, ResilienceSettings, Tools, errors
from handrail.resilience.inbound._answer import answer_to
from handrail.resilience.outbound.failure import Failure, mark
from handrail.resilience.testing import FakeClock, ScriptedWire

PEER = "http://inventory:8003"


def says(error: BaseException) -> bool:
    answer = answer_to(error)
    assert answer is not None
    return (b"x-envoy-overloaded", b"true") in answer.headers(b"")


def failed(error: Exception, attempts: int, cause: str = "connect") -> Exception:
    mark(error, Failure(PEER, attempts, cause, used_up=attempts > 1))
    return error


def refused(status: int, attempts: int, **headers: str) -> httpx.HTTPStatusError:
    response = httpx.Response(status, headers=headers, request=httpx.Request("GET", PEER))
    if attempts > 1:
        mark(response, Failure(PEER, attempts, str(status), used_up=attempts > 1))
    with pytest.raises(httpx.HTTPStatusError) as caught:
        response.raise_for_status()
    return caught.value


@pytest.mark.parametrize("kind", [errors.CircuitOpen, errors.BulkheadFull, errors.RetryBudgetSpent, errors.Throttled])
def test_a_call_that_was_refused(kind: type[errors.Rejected]) -> None:
    """A policy of ours holds load off the peer: nobody should bring it back."""
    assert says(kind("no", target=PEER))


@pytest.mark.parametrize("cause", ["connect", "network", "timeout"])
def test_a_call_that_was_retried(cause: str) -> None:
    """Ours were the attempts; one that failed at once and was not repeated may be repeated further out."""
    assert says(failed(httpx.ConnectError("no"), 3, cause))
    assert not says(failed(httpx.ConnectError("no"), 1, cause))


@pytest.mark.parametrize("kind", [errors.AttemptTimedOut, errors.DeadlineExceeded])
def test_a_timeout(kind: type[errors.TimedOut]) -> None:
    """After retries it says so, else not."""
    assert says(failed(kind("late", target=PEER, limit=1, elapsed=1), 2))
    assert not says(failed(kind("late", target=PEER, limit=1, elapsed=1), 1))
    assert not says(kind("late", target=PEER, limit=1, elapsed=1))


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_status_that_nobody_handled(status: int) -> None:
    """After retries of ours, or where the peer said the same of its own: from hop to hop it is handed on."""
    assert says(refused(status, 3))
    assert says(refused(status, 1, **{"x-envoy-overloaded": "true"}))
    assert not says(refused(status, 1))


def test_retries_that_the_budget_refused_are_not_made_by_others() -> None:
    """A call whose budget was spent was sent once; its answer says all the same that nobody should add retries."""
    clock = FakeClock()
    settings = ResilienceSettings(retry_budget=0, retry_budget_floor=0)
    wire = ScriptedWire(503, clock=clock)
    call = wire.call()
    Registry(settings, Tools(clock=clock)).pipeline("http", "peer", 80).pipeline.run_sync(call)
    assert (wire.sent, Failure.of(call).used_up) == ([1], True)


@pytest.mark.parametrize("reason", ["interrupted", "not-kept"])
def test_a_key_of_the_service_that_was_refused_for_good(reason: str) -> None:
    """Nobody knows what became of the request: 503 that says so and is not repeated, instead of a bare 500."""
    answer = answer_to(refused(409, 1, **{"idempotency-key-refused": reason, "x-envoy-overloaded": "true"}))
    assert answer is not None
    assert (answer.status, answer.kind, answer.overloaded) == (503, "dependency-key", True)
    assert answer.detail.endswith(f"the Idempotency-Key of the request is {reason}; it may have been carried out")


def test_a_key_of_the_service_that_is_in_flight() -> None:
    """503 with the peer's Retry-After: whoever asks later gets the answer."""
    answer = answer_to(refused(409, 1, **{"idempotency-key-refused": "in-flight", "retry-after": "1"}))
    assert answer is not None
    assert (answer.status, answer.retry_after, answer.overloaded) == (503, 1.0, False)


@pytest.mark.parametrize(("status", "reason"), [(422, "reused"), (400, "invalid"), (409, None)])
def test_a_mistake_of_the_service_stays_one(status: int, reason: str | None) -> None:
    """A key used twice or malformed, and a conflict that is no word about keys: the service's own 500."""
    headers = {} if reason is None else {"idempotency-key-refused": reason}
    assert answer_to(refused(status, 1, **headers)) is None
