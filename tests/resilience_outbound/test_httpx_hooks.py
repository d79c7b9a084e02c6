"""Clients with response hooks: what a hook is there to refuse is not read before it is asked."""

import asyncio
from math import inf

import pytest

from handrail.resilience.outbound._httpx_hold import _declared

BOUND = 1024 * 1024
LONG = b"x" * (BOUND + 300_000)


class RefusedError(Exception):
    """Raised by a hook."""


@pytest.fixture(params=["async", "sync"])
def fetch(request, library):
    """One GET with a response hook; returns the body."""

    def from_async(url, hook):
        async def called(response):
            hook(response)

        async def main():
            async with library.AsyncClient(event_hooks={"response": [called]}) as client:
                return (await client.get(url)).content

        return asyncio.run(main())

    def from_sync(url, hook):
        with library.Client(event_hooks={"response": [hook]}) as client:
            return client.get(url).content

    return from_async if request.param == "async" else from_sync


def refuse(response):
    raise RefusedError


def begins(head, steps):
    """Headers and what of the body is given with them; then silence."""

    def step(server, connection):
        connection.sendall(head)
        return steps.hang(server, connection)

    return step


def chunked(body):
    return b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(body), body)


def test_a_long_body_is_not_read_before_the_hook(server, steps, guard, fetch):
    """A body that says it is longer than the bound is left to the hook, which refuses it at once."""
    guard()
    server.script(begins(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (BOUND + 1), steps))
    with pytest.raises(RefusedError):
        fetch(server.url, refuse)
    assert len(server.received) == 1


def test_a_body_of_unknown_length_is_held_to_the_bound(server, steps, guard, fetch):
    """A body that does not say how long it is comes before the hook once it is longer than the bound."""
    guard()
    server.script(begins(chunked(LONG), steps))
    with pytest.raises(RefusedError):
        fetch(server.url, refuse)
    assert len(server.received) == 1


def test_what_was_held_and_the_rest_are_one_body(server, steps, guard, fetch):
    """Where the hook lets it pass, the body is whole, and its rest may pause for longer than an attempt."""
    guard(attempt_timeout=2, total_timeout=2)

    def pauses(server, connection):
        connection.sendall(chunked(LONG))
        server.gone.wait(2.5)
        return steps.raw(b"3\r\nend\r\n0\r\n\r\n")(server, connection)

    server.script(pauses)
    seen = []
    assert fetch(server.url, lambda response: seen.append(response.is_stream_consumed)) == LONG + b"end"
    assert seen == [False]
    assert len(server.received) == 1


@pytest.mark.parametrize("step", ["hang_in_body", "end_in_body", "reset_in_body"])
def test_short_bodies_still_belong_to_the_attempt(server, steps, guard, fetch, step):
    """Up to the bound, a body that hangs or breaks is a failed attempt, and the hook sees the good answer alone."""
    guard(attempt_timeout=2)
    server.script(getattr(steps, step), steps.raw(chunked(b"good") + b"0\r\n\r\n"))
    seen = []
    assert fetch(server.url, lambda response: seen.append(response.status_code)) == b"good"
    assert seen == [200]
    assert len(server.received) == 2


def test_without_hooks_the_length_does_not_matter(server, steps, guard, library):
    """A client without response hooks reads the body at once anyway: all of it belongs to the attempt."""
    guard(attempt_timeout=5)
    broken = b"HTTP/1.1 200 OK\r\ncontent-length: 9000000\r\n\r\n" + LONG

    def breaks(server, connection):
        connection.sendall(broken)
        return False

    server.script(breaks)
    with library.Client(event_hooks={"request": [lambda request: None]}) as client:
        assert client.get(server.url).content == b"fine"
    assert len(server.received) == 2


def test_a_length_of_thousands_of_digits_is_a_long_body(library):
    """Python refuses to read such a number; HTTP/2 lets it through for HEAD."""
    response = library.Response(200, headers={"content-length": "9" * 5000})
    assert _declared(response) == inf
