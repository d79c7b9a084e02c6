"""Stale-on-error through httpx: what a client sees of an answer that was kept."""

import gzip

import pytest

from handrail.resilience.events import FallbackUsed


def test_a_kept_answer_is_like_the_one_that_was_kept(server, steps, guard, send):
    """Status, headers and body of the good answer, decoded as ever; URL and elapsed as of any response."""
    guarded = guard(stale_on_error=60.0, attempts=2)
    body = gzip.compress(b'{"items": [1]}')
    server.script(
        steps.answer(200, body, content_encoding="gzip", content_type="application/json", etag="1"),
        otherwise=steps.answer(503, b"down"),
    )
    first, second = send("GET", f"{server.url}/items"), send("GET", f"{server.url}/items")
    assert second.json() == first.json() == {"items": [1]}
    assert (second.status_code, second.reason_phrase, second.http_version) == (200, "Told", "HTTP/1.1")
    assert second.headers["etag"] == "1"
    assert second.headers["age"] == "0"
    assert second.headers["cache-status"] == "handrail; hit; detail=stale-on-error"
    assert str(second.url) == f"{server.url}/items"
    assert second.elapsed.total_seconds() >= 0
    assert len(server.received) == 3
    (event,) = [event for event in guarded.events if isinstance(event, FallbackUsed)]
    assert (event.kind, event.cause) == ("stale", "503")


def test_a_dead_peer_is_stood_in_for(server, steps, guard, send):
    """A connection that breaks off, and then the circuit that opened: the caller sees the last good answer."""
    guard(stale_on_error=60.0, attempts=1, breaker_minimum_calls=2, breaker_failure_rate=0.3)
    server.script(steps.answer(), otherwise=steps.reset)
    assert send("GET", server.url).content == b"fine"
    assert [send("GET", server.url).content for _ in range(4)] == [b"fine"] * 4
    assert len(server.received) < 5


def test_without_a_good_answer_the_failure_is_the_answer(server, steps, guard, send):
    """Nothing is invented."""
    guard(stale_on_error=60.0, attempts=1)
    server.script(otherwise=steps.answer(503, b"down"))
    response = send("GET", server.url)
    assert (response.status_code, response.content) == (503, b"down")


@pytest.mark.parametrize("kept", ["no-store", "private"])
def test_what_the_peer_forbids_is_not_kept(server, steps, guard, send, kept):
    """RFC 9111: `no-store` and `private`."""
    guard(stale_on_error=60.0, attempts=1)
    server.script(steps.answer(200, cache_control=kept), otherwise=steps.answer(503))
    assert [send("GET", server.url).status_code for _ in range(2)] == [200, 503]


def test_nothing_with_credentials_is_kept(server, steps, guard, send):
    """One user's answer is never another's."""
    guard(stale_on_error=60.0, attempts=1)
    server.script(steps.answer(), steps.answer(), otherwise=steps.answer(503))
    send("GET", server.url, headers={"authorization": "Bearer x"})
    send("GET", server.url, headers={"cookie": "session=x"})
    assert send("GET", server.url).status_code == 503


def test_a_streamed_body_is_not_kept(server, steps, guard, library):
    """Only what was read at once is in memory anyway; a stream stays a stream."""
    guard(stale_on_error=60.0, attempts=1)
    server.script(steps.answer(), otherwise=steps.answer(503))
    with library.Client() as client:
        with client.stream("GET", server.url) as response:
            assert response.read() == b"fine"
        assert client.get(server.url).status_code == 503


def test_a_long_body_is_not_kept(server, steps, guard, send):
    """64 KiB each, and it reaches the caller whole."""
    guard(stale_on_error=60.0, attempts=1)
    long = b"x" * (64 * 1024 + 1)
    server.script(steps.answer(200, long), otherwise=steps.answer(503))
    assert send("GET", server.url).content == long
    assert send("GET", server.url).status_code == 503


def test_the_connection_of_the_failed_answer_is_used_again(server, steps, guard, library):
    """What stands in leaves no response open behind it."""
    guard(stale_on_error=60.0, attempts=1)
    server.script(steps.answer(), otherwise=steps.answer(503))
    with library.Client(limits=library.Limits(max_connections=1)) as client:
        assert [client.get(server.url).status_code for _ in range(3)] == [200] * 3
    assert server.connections == 1
