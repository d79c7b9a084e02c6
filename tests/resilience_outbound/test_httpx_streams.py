"""Streamed calls: the attempt ends with the headers; from there the body is the caller's."""

import asyncio
import time

import pytest


def test_stream_is_not_read_ahead(server, steps, guard, library):
    """The caller gets the response while the body is still to come, in the chunks that it comes in."""
    guard()
    server.script(steps.hang_in_body)
    with library.Client() as client, client.stream("GET", server.url) as response:
        chunks = response.iter_raw()
        assert next(chunks) == b"half of it"
        assert not response.is_closed


def test_total_never_cuts_a_stream(server, steps, guard, library):
    """A body that drips for longer than attempt and total timeout goes on."""
    guard(attempt_timeout=1.5, total_timeout=1.5)
    server.script(steps.drip)

    async def main():
        async with library.AsyncClient() as client, client.stream("GET", server.url) as response:
            chunks, body, ends = response.aiter_raw(), b"", time.monotonic() + 2
            while time.monotonic() < ends:
                body += await anext(chunks)
            return body

    assert set(asyncio.run(main())) == set(b"x")


def test_stream_may_pause_for_longer_than_an_attempt(server, steps, guard, library):
    """After the headers the client's own read timeout holds on a thread too, not what was left of the attempt."""
    guard(attempt_timeout=1.5, total_timeout=1.5)

    def pauses(server, connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\na")
        server.gone.wait(2)
        return steps.raw(b"b")(server, connection)

    server.script(pauses)
    with library.Client() as client, client.stream("GET", server.url) as response:
        assert response.read() == b"ab"


def test_idle_stream_ends_by_the_read_timeout_of_the_library(server, steps, guard, library):
    """Silence within a streamed body is bounded by httpx's own read timeout, and never retried."""
    guard()
    server.script(steps.hang_in_body)
    client = library.Client(timeout=library.Timeout(5, read=0.1))
    with client, client.stream("GET", server.url) as response, pytest.raises(library.ReadTimeout):
        response.read()
    assert len(server.received) == 1


def test_failing_stream_is_retried_before_its_body(server, steps, guard, library):
    """A 503 to a streamed GET is thrown away, connection and all, and the next response goes to the caller."""
    guard()
    server.script(steps.answer(503, b"x" * 100_000), steps.answer(200, b"stream"))

    async def main():
        async with library.AsyncClient() as client:
            async with client.stream("GET", server.url) as response:
                body = await response.aread()
            pool = repr(client._transport._pool)
        return body, pool

    body, pool = asyncio.run(main())
    assert body == b"stream"
    assert "0 active" in pool


def test_headers_of_a_stream_are_bounded(server, steps, guard, library):
    """Until the headers are there, the attempt timeout holds for a stream as for any call."""
    guard(attempt_timeout=2)
    server.script(steps.hang)

    async def main():
        async with library.AsyncClient() as client, client.stream("GET", server.url) as response:
            return response.status_code

    assert asyncio.run(main()) == 200
    assert len(server.received) == 2


def test_same_request_sent_first_whole_then_streamed(server, steps, guard, library):
    """How the body is read is said anew by each send; a request object may be used for both."""
    guard()
    with library.Client() as client:
        request = client.build_request("GET", server.url)
        assert client.send(request).content == b"fine"
        server.script(steps.hang_in_body)
        response = client.send(request, stream=True)
        assert next(response.iter_raw()) == b"half of it"
        response.close()


def test_transport_used_by_itself_is_a_stream(server, steps, guard, library):
    """Without a client nobody says that the body is wanted whole: it is left to the caller."""
    guard()
    server.script(steps.answer(503), steps.hang_in_body)
    with library.HTTPTransport() as transport:
        response = transport.handle_request(library.Request("GET", server.url))
        assert next(iter(response.stream)) == b"half of it"
        response.close()
    assert len(server.received) == 2
