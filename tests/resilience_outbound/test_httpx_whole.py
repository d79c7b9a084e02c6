"""A body that is in memory goes to the client in one piece, and nobody can tell."""

import asyncio
import gzip
import pickle
from functools import partial

import pytest


@pytest.fixture
def pulled(library, monkeypatch):
    """The responses that httpx itself pulled through its generators."""
    found = []

    def seen(original):
        def pull(response, *args):
            found.append(response)
            return original(response, *args)

        return pull

    for name in ("iter_raw", "aiter_raw"):
        monkeypatch.setattr(library.Response, name, seen(getattr(library.Response, name)))
    return found


@pytest.fixture(params=["loop", "thread"])
def fetch(request, library):
    """GET on a loop or on a thread, by a client with these options."""

    async def on_loop(url, **options):
        async with library.AsyncClient(**options) as client:
            return await client.get(url)

    def on_thread(url, **options):
        with library.Client(**options) as client:
            return client.get(url)

    return on_thread if request.param == "thread" else lambda url, **options: asyncio.run(on_loop(url, **options))


def test_plain_body_is_not_pulled(server, steps, guard, fetch, pulled):
    """A body without a coding is handed over as it is; reading it again gives it again."""
    guard()
    server.script(steps.answer(body=b"all of it"))
    response = fetch(server.url)
    assert (response.content, response.read(), pulled) == (b"all of it", b"all of it", [])
    assert (response.is_closed, response.is_stream_consumed, response.num_bytes_downloaded) == (True, True, 9)


def test_body_of_many_chunks_keeps_their_order(server, steps, guard, fetch, pulled):
    """Chunks are put together as they came."""
    guard()
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (b"one ", b"two ", b"three"))
    server.script(steps.raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"))
    assert (fetch(server.url).content, pulled) == (b"one two three", [])


@pytest.mark.parametrize("name", ["content_encoding", "Content_Encoding"])
def test_coded_body_is_for_httpx(server, steps, guard, fetch, pulled, name):
    """What has to be decoded is read by httpx, and counted as it came over the wire."""
    guard()
    packed = gzip.compress(b"x" * 1000)
    server.script(steps.answer(body=packed, **{name: "gzip"}))
    response = fetch(server.url)
    assert (response.content, response.num_bytes_downloaded, len(pulled)) == (b"x" * 1000, len(packed), 1)


def test_second_stream_is_refused_as_before(server, guard, fetch, library):
    """A body that was read is not there as a stream any more, and its bytes are."""
    guard()
    response = fetch(server.url)
    with pytest.raises(library.StreamConsumed):
        next(iter(response.iter_raw()))
    assert b"".join(response.iter_bytes()) == b"fine"


def test_response_can_be_pickled(server, guard, fetch):
    """What httpx lets through to another process, it still does."""
    guard()
    again = pickle.loads(pickle.dumps(fetch(server.url)))
    assert (again.content, again.is_closed, again.num_bytes_downloaded) == (b"fine", True, 4)


def test_undone_reads_as_before(server, guard, fetch, pulled):
    """With handrail off again httpx reads every body."""
    guard().undo()
    fetch(server.url)
    assert len(pulled) == 1


@pytest.mark.parametrize("way", ["its stream", "its bytes"])
def test_transport_around_ours_gets_a_stream(server, steps, guard, library, way):
    """Whoever wraps the transport may take the stream, or read the response: both go as they did."""
    guard()
    server.script(steps.answer(body=b"wrapped"))

    class Around(library.AsyncHTTPTransport):  # type: ignore[name-defined,misc]  # a library that the test is given
        async def handle_async_request(self, request):
            inner = await super().handle_async_request(request)
            if way == "its stream":
                return library.Response(inner.status_code, headers=inner.headers, stream=inner.stream)
            return library.Response(inner.status_code, content=b"".join([part async for part in inner.aiter_raw()]))

    async def main():
        async with library.AsyncClient(transport=Around()) as client:
            return await client.get(server.url)

    response = asyncio.run(main())
    assert (response.content, response.is_closed) == (b"wrapped", True)


def test_hook_that_pulls_gets_every_chunk(server, steps, guard, library):
    """A response hook reads the body its own way; the client's reading after it fails as it does without us."""
    server.script(otherwise=steps.answer(body=b"for the hook"))

    async def outcome(told):
        async def hook(response):
            told.append(b"".join([part async for part in response.aiter_raw()]))

        async with library.AsyncClient(event_hooks={"response": [hook]}) as client:
            with pytest.raises(library.StreamConsumed):
                await client.get(server.url)
        return told

    bare = asyncio.run(outcome([]))
    guard()
    assert asyncio.run(outcome([])) == bare == [b"for the hook"]


def test_reading_stays_a_coroutine_function(guard, library):
    """Mocks made after the class must find the same kind of method there."""
    guard()
    assert asyncio.iscoroutinefunction(library.Response.aread)
    assert not asyncio.iscoroutinefunction(library.Response.read)
    assert asyncio.iscoroutinefunction(library.AsyncClient.send)
    assert asyncio.iscoroutinefunction(partial(library.AsyncHTTPTransport.handle_async_request, None))
