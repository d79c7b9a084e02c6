"""What an attempt tells its peer: the time left, its number, the key; and what it never changes."""

from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handrail.resilience import Call, Resend, Tools
from handrail.resilience.bound import deadline
from handrail.resilience.keyed import Key
from handrail.resilience.outbound.headers import HeaderNames, milliseconds, no_more_than, outgoing
from handrail.resilience.service import ServiceSettings
from handrail.resilience.testing import FakeClock, ScriptedWire

MS, ATTEMPT, KEY = "x-envoy-expected-rq-timeout-ms", "x-envoy-attempt-count", "idempotency-key"


def call(attempt: int = 1, left: float | None = None, key: str | None = None) -> Call[Any]:
    made: Call[Any] = ScriptedWire().call()
    made.attempt = attempt
    if key is not None:
        made.key = Key(key)
        made.key.store = ""
    if left is not None:
        made.attempt_ends = 1000 + left
    return made


def told(given: Call[Any], written: dict[str, str] | None = None, **service: Any) -> dict[str, str]:
    tools = Tools(clock=FakeClock(), headers=HeaderNames.of(ServiceSettings(**service)))
    return dict(outgoing(given, tools, None if written is None else written.get))


def test_the_first_attempt_tells_its_time_alone() -> None:
    """Absent means the first, as Envoy counts; without a bound there is nothing to tell."""
    assert told(call(left=2.5)) == {MS: "2500"}
    assert told(call()) == {}


def test_later_attempts_tell_their_number_and_the_key() -> None:
    """One key for the call, whatever the attempt."""
    assert told(call(2, 1.0, "k")) == {MS: "1000", ATTEMPT: "2", KEY: "k"}
    assert told(call(1, 1.0, "k")) == {MS: "1000", KEY: "k"}


def test_names_are_set_by_the_service() -> None:
    """Its own, or `off`; while deadlines are only observed no time is told."""
    own = told(call(2, 1.0), timeout_header="X-Left-Ms", attempt_header="X-Try")
    assert own == {"x-left-ms": "1000", "x-try": "2"}
    assert told(call(2, 1.0), timeout_header="off", attempt_header="off") == {}
    assert told(call(2, 1.0), deadline_mode="observe") == {ATTEMPT: "2"}


@pytest.mark.parametrize(
    ("written", "sent"),
    [("40", "40"), ("9000", "1000"), ("soon", "1000"), ("0", "1000"), ("", "1000"), ("7" * 90, "1000")],
)
def test_the_code_may_ask_for_less(written: str, sent: str) -> None:
    """Never more than the code itself wrote, and what it wrote that is no number is replaced."""
    assert told(call(left=1.0), {MS: written}) == {MS: sent}


@given(st.floats(-10, 1e6), st.text(max_size=12))
def test_never_longer_than_there_is(left: float, written: str) -> None:
    """Rounded down, at least 1 ms, at most what was written."""
    ms = milliseconds(left)
    assert ms == 1 or ms <= left * 1000
    assert 1 <= no_more_than(written, ms) <= ms


def _ms(received: Any) -> int:
    (value,) = received.all(MS)
    return int(value)


def test_each_attempt_on_the_wire_tells_of_itself(server: Any, steps: Any, guard: Any, send: Any) -> None:
    """One header each, less time with each attempt, and the number from the second on."""
    server.script(steps.answer(503), steps.answer(503))
    guard(total_timeout=5.0, attempt_timeout=5.0)
    assert send("GET", server.url).status_code == 200
    first, second, third = server.received
    assert 5000 >= _ms(first) >= _ms(second) >= _ms(third) > 4000
    assert [one.all(ATTEMPT) for one in server.received] == [[], ["2"], ["3"]]


def test_the_callers_deadline_is_told_on(server: Any, guard: Any, send: Any) -> None:
    """A nearer deadline of the work at hand goes out in place of the attempt's own bound."""
    guard()
    with deadline(3.0):
        send("GET", server.url)
    assert 2000 < _ms(server.received[0]) <= 3000


def test_the_request_of_the_code_stays_its_own(server: Any, guard: Any, library: ModuleType) -> None:
    """What the code wrote is sent as written, its own smaller time stands, and its objects are not touched."""
    guard()
    request = library.Request("GET", server.url, headers=[("X-Own", "1"), (MS.upper(), "70"), ("x-own", "2")])
    before = list(request.headers.raw)
    with library.Client() as client:
        response = client.send(request)
        assert response.request.headers.raw == before
        client.send(request)
    assert list(request.headers.raw) == before
    assert [(one.all("x-own"), one.all(MS)) for one in server.received] == [(["1", "2"], ["70"])] * 2


def test_a_stream_without_a_bound_tells_none(server: Any, guard: Any, library: ModuleType) -> None:
    """The code said that it waits as long as it takes: nobody is told otherwise."""
    guard()
    with library.Client() as client, client.stream("GET", server.url, timeout=None) as response:
        response.read()
    assert server.received[0].all(MS) == []


def test_another_way_of_keeping_headers_gets_the_same(guard: Any, server: Any, library: ModuleType) -> None:
    """A subclass of the library's Headers goes by its public methods."""

    class Own(library.Headers):  # type: ignore[misc,name-defined]  # a class of a fixture
        pass

    guard()
    request = library.Request("GET", server.url)
    request.headers = Own(request.headers)
    with library.Client() as client:
        client.send(request)
    assert 0 < _ms(server.received[0]) <= 10_000
    assert MS not in request.headers


def test_a_keyed_call_has_its_key_on_every_attempt(server: Any, steps: Any, guard: Any, library: ModuleType) -> None:
    """The peer sees one and the same key, however often it is asked."""
    server.script(steps.answer(503))
    guard(idempotency_keys="always")
    with library.Client() as client:
        client.post(server.url, json={"a": 1})
    keys = [one.all(KEY) for one in server.received]
    assert len(keys) == 2
    assert len(keys[0]) == 1
    assert keys[0] == keys[1]


def test_resend_is_not_changed_by_headers() -> None:
    """Telling is telling: the call is judged by what the code wrote."""
    made = call(2, 1.0, "k")
    told(made)
    assert made.resend is Resend.SAFE
