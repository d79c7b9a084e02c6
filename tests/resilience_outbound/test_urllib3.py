"""urllib3 used by itself: its default retries become ours, what the code wrote stays, and errors are its own kinds."""

import copy
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import urllib3
from urllib3.exceptions import HTTPError, MaxRetryError, ProtocolError, ReadTimeoutError

from handrail.resilience import errors, outbound
from handrail.resilience.call import deadline
from handrail.resilience.events import Event, Listeners
from handrail.resilience.policy import Tools
from handrail.resilience.registry import Registry
from handrail.resilience.settings import ResilienceSettings


@pytest.fixture
def guard() -> Iterator[Callable[..., Registry]]:
    undos: list[Callable[[], None]] = []

    def install(**settings: Any) -> Registry:
        events: list[Event] = []
        numbers = ResilienceSettings(**{"backoff_base": 0.0, **settings})
        registry = Registry(numbers, Tools(emit=Listeners(events.append)))
        undos.append(outbound.install(urllib3, registry))
        return registry

    yield install
    for undo in undos:
        undo()


@pytest.fixture
def pool() -> Iterator[urllib3.PoolManager]:
    with urllib3.PoolManager() as made:
        yield made


def test_default_retries_are_ours(server, steps, guard, pool):
    """503 is retried though urllib3 would not, and three attempts are three: the two do not multiply."""
    guard()
    server.script(steps.answer(503))
    assert pool.request("GET", server.url).data == b"fine"
    server.received.clear()
    server.script(otherwise=steps.reset)
    with pytest.raises(MaxRetryError) as caught:
        pool.request("GET", server.url)
    assert isinstance(caught.value.reason, ProtocolError)
    assert len(server.received) == 3


def test_unsafe_is_sent_once(server, steps, guard, pool):
    """POST is not repeated once it was sent; the error is the one that urllib3 raises."""
    guard()
    server.script(steps.close)
    with pytest.raises(ProtocolError):
        pool.request("POST", server.url, body=b"x")
    assert len(server.received) == 1


@pytest.mark.parametrize(
    ("retries", "sent"), [(False, 1), (0, 1), (2, 3), (urllib3.Retry(1), 2), (urllib3.Retry(False), 1)]
)
def test_written_retries_are_the_wish_of_the_code(server, steps, guard, pool, retries, sent):
    """Whatever `retries=` says is done, and nothing more: an SDK with retries of its own passes False."""
    guard()
    server.script(otherwise=steps.close)
    with pytest.raises(HTTPError):
        pool.request("GET", server.url, retries=retries)
    assert len(server.received) == sent


def test_redirects_are_followed_as_ever(server, steps, guard, pool):
    """Three hops by default, each of them a call with its own attempts; the fourth is too many."""
    guard()
    hop = steps.answer(302, location="/next")
    server.script(hop, steps.answer(503), hop, hop, steps.answer(200, b"there"))
    assert pool.request("GET", server.url).data == b"there"
    server.script(otherwise=hop)
    with pytest.raises(MaxRetryError, match="too many redirects"):
        pool.request("GET", server.url)


def test_retry_after_ends_as_by_default(server, steps, guard, pool):
    """A peer that asks to wait until the attempts are spent: its last answer, which urllib3's default comes to."""
    server.script(otherwise=steps.answer(503, retry_after="0"))
    assert pool.request("GET", server.url).status == 503
    server.received.clear()
    guard(attempts=2)
    assert pool.request("GET", server.url).status == 503
    assert len(server.received) == 2
    assert pool.request("POST", server.url).status == 503


def test_timeout_where_none_was_given(server, steps, guard, pool):
    """A pool without a timeout has the attempt's; one that was written is never cut."""
    guard(attempt_timeout=0.4, attempts=1)
    server.script(steps.hang)
    with pytest.raises(MaxRetryError) as caught:
        pool.request("GET", server.url)
    assert isinstance(caught.value.reason, ReadTimeoutError)
    server.script(steps.slow, steps.slow)
    assert pool.request("GET", server.url, timeout=5).status == 200
    assert urllib3.PoolManager(timeout=5.0).request("GET", server.url).status == 200


@pytest.mark.parametrize("again", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_our_errors_are_urllib3s(server, steps, guard, pool, again):
    """`except urllib3.exceptions.HTTPError` catches what handrail raises itself, copied or not."""
    guard(attempts=1, breaker_minimum_calls=2, breaker_open_for=60)
    server.script(otherwise=steps.answer(503))
    for _ in range(2):
        pool.request("GET", server.url)
    with pytest.raises(MaxRetryError) as refused:
        pool.request("GET", server.url + "/x")
    with deadline(-1), pytest.raises(ReadTimeoutError) as late:
        pool.request("GET", server.url)
    for error, kind in ((refused.value, errors.CircuitOpen), (late.value, errors.DeadlineExceeded)):
        for one in (error, again(error)):
            assert isinstance(one, kind)
            assert isinstance(one, HTTPError)
            assert (one.target, str(one)) == (server.url, str(error))
    assert refused.value.url == "/x"


def test_pools_of_another_kind_are_left_alone(server, steps, guard):
    """A pool that connects in its own way (a Unix socket, a mock) shares no breaker with the host it names."""
    registry = guard()

    class Own(urllib3.HTTPConnectionPool):
        def _new_conn(self) -> Any:
            return super()._new_conn()

    server.script(steps.answer(503))
    host, port = server.listener.getsockname()
    assert Own(host, port).request("GET", "/").status == 503
    assert registry.entries() == []


def test_stream_is_untouched(server, steps, guard, pool):
    """preload_content=False: the caller reads, and gives the connection back."""
    guard()
    with pool.request("GET", server.url, preload_content=False) as response:
        assert response.read(2) == b"fi"
        assert response.read() == b"ne"
    pool.request("GET", server.url)
    assert server.connections == 1


def test_callers_headers_stay_as_they_were(server, steps, guard, pool):
    """A dict of headers is copied for each attempt, in whatever case its names are written."""
    guard()
    headers = {"X-Envoy-Expected-Rq-Timeout-Ms": "7", "Idempotency-Key": "k"}
    server.script(steps.answer(503))
    assert pool.request("POST", server.url, headers=headers).status == 200
    assert headers == {"X-Envoy-Expected-Rq-Timeout-Ms": "7", "Idempotency-Key": "k"}
    assert [one.all("x-envoy-expected-rq-timeout-ms") for one in server.received] == [["7"], ["7"]]
