"""Keys and resends on the wire of httpx: what the peer sees, through real sockets."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handrail.resilience.events import KeysHonoured, NotRetried

ADVERTISED = {"idempotency_key_honoured": "?1"}
GENEROUS = {"retry_budget_floor": 1000, "breaker_minimum_calls": 100_000}


def keys(server: Any) -> list[list[str]]:
    return [received.all("idempotency-key") for received in server.received]


def test_a_peer_that_advertises_gets_keys_and_second_attempts(
    server: Any, steps: Any, guard: Callable[..., Any], send: Callable[..., Any]
) -> None:
    """Between two services that speak of keys it takes no code: the POST after the first is safe to send again."""
    guarded = guard()
    server.script(steps.answer(**ADVERTISED), steps.reset, steps.answer(503, **ADVERTISED), steps.answer(**ADVERTISED))
    for _ in range(2):
        assert send("POST", f"{server.url}/charges", content=b"7").status_code == 200
    first, *others = keys(server)
    assert first == []
    assert len(others) == 3
    assert others[0] == others[1] == others[2]
    assert len(others[0]) == 1
    assert [event.honoured for event in guarded.events if isinstance(event, KeysHonoured)] == [True]


def test_a_stranger_gets_none(
    server: Any, steps: Any, guard: Callable[..., Any], send: Callable[..., Any], library: ModuleType
) -> None:
    """A peer that says nothing is sent no key and nothing twice."""
    guard()
    server.script(steps.answer(), steps.reset)
    send("POST", server.url, content=b"7")
    with pytest.raises(library.TransportError):
        send("POST", server.url, content=b"7")
    assert keys(server) == [[], []]


@pytest.mark.parametrize("mine", ["order-7", '"order-7"'])
def test_a_key_of_the_code_is_left_as_it_is(
    server: Any, steps: Any, guard: Callable[..., Any], send: Callable[..., Any], mine: str
) -> None:
    """The one that the service wrote is on every attempt, letter for letter, and no second one beside it."""
    guard(idempotency_keys="always")
    server.script(steps.answer(503), steps.answer())
    send("POST", server.url, content=b"7", headers={"Idempotency-Key": mine})
    assert keys(server) == [[mine], [mine]]


def test_the_request_of_the_caller_is_not_changed(
    server: Any, steps: Any, guard: Callable[..., Any], library: ModuleType
) -> None:
    """A request object that is sent twice by its code is two calls with two keys, and keeps its own headers."""
    guard(idempotency_keys="always")
    with library.Client() as client:
        request = client.build_request("POST", server.url, content=b"7")
        before = dict(request.headers)
        client.send(request)
        client.send(request)
        assert dict(request.headers) == before
    (first,), (second,) = keys(server)
    assert first != second


def test_a_redirect_is_a_call_of_its_own(
    server: Any, steps: Any, guard: Callable[..., Any], library: ModuleType
) -> None:
    """A 307 to another path repeats the POST with another key: what the first peer knows of is not that request."""
    guard(idempotency_keys="always")
    server.script(steps.answer(307, location="/there"), steps.answer())
    with library.Client(follow_redirects=True) as client:
        client.post(server.url, content=b"7")
    (first,), (second,) = keys(server)
    assert first != second


def test_a_one_shot_body_is_not_repeated_for_any_key(
    server: Any, steps: Any, guard: Callable[..., Any], library: ModuleType
) -> None:
    """A generator has no second reading: one attempt, no key, although the setting says always."""
    guarded = guard(idempotency_keys="always")
    server.script(steps.answer(503), steps.answer())
    with library.Client() as client:
        assert client.post(server.url, content=iter([b"7"])).status_code == 503
    assert keys(server) == [[]]
    assert [event.reason for event in guarded.events if isinstance(event, NotRetried)] == ["one_shot_body"]


def test_an_overloaded_peer_is_not_asked_again(
    server: Any, steps: Any, guard: Callable[..., Any], send: Callable[..., Any]
) -> None:
    """`x-envoy-overloaded: true` on a GET's 503: one attempt."""
    guarded = guard()
    server.script(steps.answer(503, x_envoy_overloaded="true"), steps.answer())
    assert send("GET", server.url).status_code == 503
    assert len(server.received) == 1
    assert [event.reason for event in guarded.events if isinstance(event, NotRetried)] == ["overloaded"]


FAULTS = ["good", "plain", "unavailable", "broken", "not_found", "reset", "close", "reset_in_body", "end_in_body"]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(script=st.lists(st.sampled_from(FAULTS), max_size=12), on_loop=st.booleans())
def test_no_unsafe_request_reaches_a_real_peer_twice_without_a_key(
    server: Any, steps: Any, guard: Callable[..., Any], library: ModuleType, script: list[str], on_loop: bool
) -> None:
    """Eight POSTs through any faults of a server: twice only with one key, and that key for no other call."""
    ways = {
        "good": steps.answer(**ADVERTISED),
        "plain": steps.answer(),
        "unavailable": steps.answer(503),
        "broken": steps.answer(500, **ADVERTISED),
        "not_found": steps.answer(404, **ADVERTISED),
        **{name: getattr(steps, name) for name in FAULTS[5:]},
    }
    guarded = guard(**GENEROUS)
    server.received.clear()
    server.script(*(ways[name] for name in script), otherwise=ways["good"])
    calls = 8

    async def on_a_loop() -> None:
        async with library.AsyncClient() as client:
            for number in range(calls):
                with suppress(library.TransportError):
                    await client.post(server.url, content=str(number).encode())

    def on_a_thread() -> None:
        with library.Client() as client:
            for number in range(calls):
                with suppress(library.TransportError):
                    client.post(server.url, content=str(number).encode())

    asyncio.run(on_a_loop()) if on_loop else on_a_thread()
    guarded.undo()
    seen = set[str]()
    for number in range(calls):
        arrived = [received for received in server.received if received.body == str(number).encode()]
        told = {tuple(received.all("idempotency-key")) for received in arrived}
        assert len(told) == 1
        key = told.pop()
        assert len(arrived) == 1 or len(key) == 1
        assert not set(key) & seen
        seen.update(key)
