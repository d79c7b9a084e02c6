"""requests with handrail under it: what is retried, bounded, raised, told to the peer, and left alone."""

import copy
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import requests
import urllib3
from requests.adapters import BaseAdapter, HTTPAdapter

from handrail.resilience import errors, outbound
from handrail.resilience.call import deadline
from handrail.resilience.events import AttemptFailed, Event, Listeners, NotRetried
from handrail.resilience.outbound.failure import failure_of
from handrail.resilience.policy import Tools
from handrail.resilience.registry import Registry
from handrail.resilience.settings import ResilienceSettings


class Guarded:
    def __init__(self, left_alone: Callable[[], bool] = lambda: False, **settings: Any) -> None:
        self.events: list[Event] = []
        numbers = ResilienceSettings(**{"backoff_base": 0.0, **settings})
        self.registry = Registry(numbers, Tools(emit=Listeners(self.events.append)))
        self.undo = outbound.install(requests, self.registry, left_alone)


@pytest.fixture
def guard() -> Iterator[Callable[..., Guarded]]:
    made: list[Guarded] = []

    def install(**settings: Any) -> Guarded:
        made.append(Guarded(**settings))
        return made[-1]

    yield install
    for one in made:
        one.undo()


def test_safe_calls_are_retried(server, steps, guard):
    """GET is sent again after 503, a reset and a body that breaks off, each time with its number."""
    guard(attempts=4)
    server.script(steps.answer(503), steps.reset, steps.end_in_body)
    assert requests.get(server.url).text == "fine"
    assert [one.all("x-envoy-attempt-count") for one in server.received] == [[], ["2"], ["3"], ["4"]]


@pytest.mark.parametrize("step", ["answer", "reset", "end_in_body"])
def test_unsafe_calls_are_not(server, steps, guard, step):
    """POST reaches the peer once, whatever breaks after it was sent."""
    guarded = guard()
    server.script(steps.answer(503) if step == "answer" else getattr(steps, step))
    with suppress(requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
        requests.post(server.url, data=b"x")
    assert len(server.received) == 1
    assert any(isinstance(event, NotRetried) and event.reason == "unsafe_method" for event in guarded.events)


def test_refused_is_retried_for_every_method(silent, guard):
    """What never left is sent again; the error is requests' own, with a note."""
    guard()
    with pytest.raises(requests.ConnectionError) as caught:
        requests.post(silent.url, data=b"x")
    assert type(caught.value) is requests.ConnectionError
    assert "3 attempts" in caught.value.__notes__[0]
    failure = failure_of(caught.value)
    assert failure is not None
    assert (failure.target, failure.attempts, failure.cause) == (silent.url, 3, "connect")


def test_key_makes_it_safe(server, steps, guard):
    """A POST with an Idempotency-Key is retried with the same key; what can be read once is not."""
    guard()
    server.script(steps.answer(503))
    assert requests.post(server.url, data=b"x", headers={"idempotency-key": "k"}).status_code == 200
    assert [one.all("idempotency-key") for one in server.received] == [["k"], ["k"]]
    server.script(steps.answer(503))
    assert requests.put(server.url, data=(part for part in [b"a", b"b"])).status_code == 503


def test_timeout_where_none_was_given(server, steps, guard):
    """A call without timeout= ends with the attempt's; requests' ReadTimeout goes up."""
    guard(attempt_timeout=0.3, attempts=2)
    server.script(otherwise=steps.hang)
    with pytest.raises(requests.ReadTimeout):
        requests.get(server.url)
    assert len(server.received) == 2


@pytest.mark.parametrize("step", ["hang_in_body", "drip"])
def test_body_is_bounded(server, steps, guard, step):
    """A body that hangs, or drips for ever, ends with the attempt as well, and is told."""
    guarded = guard(attempt_timeout=0.6, attempts=1)
    server.script(otherwise=getattr(steps, step))
    began = time.monotonic()
    with pytest.raises(requests.ConnectionError, match="Read timed out"):
        requests.get(server.url)
    assert time.monotonic() - began < 8
    assert [event.cause for event in guarded.events if isinstance(event, AttemptFailed)] == ["timeout"]


@pytest.mark.parametrize("timeout", [5, (5, 5), urllib3.Timeout(connect=5, read=5)])
def test_written_timeout_is_never_cut(server, steps, guard, timeout):
    """What the code wrote is its wish: the settings' shorter timeout does not apply."""
    guard(attempt_timeout=0.05, total_timeout=0.1, attempts=1)
    server.script(steps.slow)
    assert requests.get(server.url, timeout=timeout).text == "fine"


def test_deadline_cuts_all(server, steps, guard):
    """The caller's deadline ends a call earlier than any timeout; with none left nothing is sent."""
    guard(attempts=1)
    server.script(otherwise=steps.hang)
    with deadline(0.5), pytest.raises(requests.ReadTimeout):
        requests.get(server.url, timeout=30)
    with deadline(-1), pytest.raises(requests.ReadTimeout) as caught:
        requests.get(server.url)
    assert isinstance(caught.value, errors.DeadlineExceeded)
    assert len(server.received) == 1


def test_stream_may_pause(server, steps, guard):
    """A stream is bounded to its headers: after them, the silence that the code allowed holds again."""
    guard(attempt_timeout=1.5)

    def late(of, connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab")
        of.gone.wait(2)
        connection.sendall(b"cd")
        return True

    server.script(late)
    with requests.get(server.url, stream=True) as response:
        assert b"".join(response.iter_content(1)) == b"abcd"


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_open_circuit_is_a_connection_error(server, steps, guard, again):
    """`except requests.RequestException` catches it; attributes, notes and copies are whole."""
    guard(attempts=1, breaker_minimum_calls=2, breaker_open_for=60)
    server.script(otherwise=steps.answer(503))
    for _ in range(2):
        requests.get(server.url)
    with pytest.raises(requests.RequestException) as caught:
        requests.get(server.url + "/x")
    error = caught.value
    error.add_note("seen")
    for one in (error, again(error)):
        assert isinstance(one, errors.CircuitOpen)
        assert isinstance(one, requests.ConnectionError)
        assert (type(one).__name__, one.target, one.__notes__) == ("CircuitOpen", server.url, ["seen"])
        assert one.request is not None
        assert one.request.url == server.url + "/x"
        assert "circuit open for http://127.0.0.1" in str(one)
    assert len(server.received) == 2


def test_own_retries_are_not_multiplied(server, steps, guard):
    """A session with retries of its own keeps them, as many as it wrote, and gets none of ours."""
    guarded = guard()
    server.script(otherwise=steps.answer(503))
    with requests.Session() as session:
        session.mount("http://", HTTPAdapter(max_retries=urllib3.Retry(3, status_forcelist=[503])))
        with pytest.raises(requests.exceptions.RetryError):
            session.get(server.url)
    assert len(server.received) == 4
    assert [event.reason for event in guarded.events if isinstance(event, NotRetried)] == ["own_retries"]


def test_sessions_made_earlier_and_functions_passed_around(server, steps, guard):
    """The class is patched: a session, an adapter and `requests.get` taken before are covered."""
    get = requests.get
    with requests.Session() as session:
        guard()
        for call in (get, session.get):
            server.script(steps.answer(503))
            assert call(server.url).status_code == 200


def test_callers_objects_stay_as_they_were(server, steps, guard):
    """A prepared request and a dict of headers get nothing of ours; the response names the caller's request."""
    guard()
    server.script(steps.answer(503))
    headers = {"x-mine": "1"}
    with requests.Session() as session:
        request = session.prepare_request(requests.Request("GET", server.url, headers=headers))
        before = dict(request.headers)
        response = session.send(request)
    assert (headers, dict(request.headers)) == ({"x-mine": "1"}, before)
    assert response.request is request
    assert server.received[1].all("x-envoy-attempt-count") == ["2"]


def test_mocks_are_left_alone(guard):
    """An adapter of somebody's own is asked once, also for an origin that does not exist."""
    guarded = guard()
    asked = []

    class Mock(BaseAdapter):
        def send(self, request: Any, *args: Any, **options: Any) -> Any:
            asked.append(request.url)
            raise requests.ConnectionError("mocked")

        def close(self) -> None:
            pass

    with requests.Session() as session:
        session.mount("http://", Mock())
        with pytest.raises(requests.ConnectionError, match="mocked"):
            session.get("http://nowhere.invalid/")
    assert (asked, guarded.registry.entries()) == (["http://nowhere.invalid/"], [])


def test_exporters_are_left_alone(server, steps, guard):
    """Code that exports telemetry gets no policies, neither in requests nor in the pools below."""
    guarded = guard(left_alone=lambda: True)
    server.script(steps.answer(503))
    assert requests.get(server.url).status_code == 503
    assert guarded.registry.entries() == []
    assert server.received[0].all("x-envoy-expected-rq-timeout-ms") == []


def test_untrusted_certificate_is_our_mistake(server, guard):
    """TLS to a port that speaks none fails; it is neither retried for POST nor dressed as something else."""
    guard()
    with pytest.raises(requests.exceptions.SSLError):
        requests.post(server.url.replace("http", "https"), timeout=5)


def test_threads_share_nothing_but_the_breaker(server, steps, guard):
    """Many threads over one session, each call with its own attempts: no lock is held during a call."""
    guard(breaker_minimum_calls=10_000)
    gate = threading.Barrier(8, timeout=60)

    def meet(of, connection):
        gate.wait()  # passes only if all calls are under way at a time
        return steps.answer(503 if not of.received[-1].all("never") else 200)(of, connection)

    server.script(*[meet] * 8)
    found: list[int] = []
    with requests.Session() as session:
        threads = [threading.Thread(target=lambda: found.append(session.get(server.url).status_code)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert found == [200] * 8
    assert len(server.received) == 16


def test_undo_gives_the_classes_back(guard):
    """After the undo nothing of ours is left; installing twice is the same as once."""
    before = HTTPAdapter.send, urllib3.HTTPConnectionPool.urlopen
    guarded = guard()
    assert outbound.install(requests, guarded.registry) is guarded.undo
    assert HTTPAdapter.send is not before[0]
    guarded.undo()
    guarded.undo()
    assert (HTTPAdapter.send, urllib3.HTTPConnectionPool.urlopen) == before
