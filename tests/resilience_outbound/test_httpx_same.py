"""For ordinary calls nothing differs between the library alone and the library with handrail under it."""

import asyncio
import gzip
import logging
import zlib
from typing import Any

import pytest

BIG = bytes(range(256)) * 8192


def _shape(response: Any) -> dict[str, Any]:
    """All of a response that a caller can see and that does not depend on the moment."""
    return {
        "status": response.status_code,
        "reason": response.reason_phrase,
        "version": response.http_version,
        "headers": response.headers.raw,
        "content": response.content,
        "text": response.text,
        "cookies": dict(response.cookies),
        "history": [_shape(earlier) for earlier in response.history],
        "url": str(response.url),
        "extensions": sorted(response.extensions),
        "downloaded": response.num_bytes_downloaded,
        "closed": response.is_closed,
        "consumed": response.is_stream_consumed,
        "elapsed": response.elapsed.total_seconds() > 0,
        "encoding": response.encoding,
        "stream": type(response.stream).__name__,
        "sent": [(name, value) for name, value in response.request.headers.raw],
        "repr": repr(response),
    }


CALLS = {
    "plain": ("GET", "/", {}),
    "gzip": ("GET", "/gzip", {}),
    "deflate": ("GET", "/deflate", {}),
    "big": ("GET", "/big", {}),
    "chunked": ("GET", "/chunked", {}),
    "empty": ("GET", "/204", {}),
    "head": ("HEAD", "/head", {}),
    "missing": ("GET", "/404", {}),
    "cookies": ("GET", "/cookie", {}),
    "redirect": ("GET", "/redirect", {"follow_redirects": True}),
    "no redirect": ("GET", "/redirect", {}),
    "post redirect": ("POST", "/see-other", {"follow_redirects": True, "json": {"a": 1}}),
    "json": ("POST", "/", {"json": {"a": 1}}),
    "form": ("POST", "/", {"data": {"a": "1"}}),
    "generator": ("POST", "/", {"content": "generator"}),
    "basic": ("GET", "/", {"auth": ("user", "secret")}),
    "digest": ("GET", "/digest", {"auth": "digest"}),
    "no length": ("GET", "/until-close", {}),
}


@pytest.fixture
def varied(server, steps):
    """A server that answers by path."""
    found = steps.answer(200, b"found", content_type="text/plain; charset=latin-1")
    digest = 'Digest realm="r", nonce="n", qop="auth", algorithm=MD5'
    by_path = {
        "/gzip": steps.answer(200, gzip.compress(b"text" * 100, mtime=0), content_encoding="gzip"),
        "/deflate": steps.answer(200, zlib.compress(b"text" * 100), content_encoding="deflate"),
        "/big": steps.answer(200, BIG),
        "/chunked": steps.raw(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"
        ),
        "/204": steps.raw(b"HTTP/1.1 204 No Content\r\n\r\n"),
        "/head": steps.raw(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"),
        "/404": steps.answer(404, b"nothing here"),
        "/cookie": steps.answer(200, b"", set_cookie="a=b; Path=/"),
        "/redirect": steps.answer(302, b"over there", location="/found"),
        "/see-other": steps.answer(303, b"", location="/found"),
        "/found": found,
    }

    def by_request(server, connection):
        received = server.received[-1]
        if received.path == "/digest" and not received.all("authorization"):
            return steps.answer(401, b"who?", www_authenticate=digest)(server, connection)
        if received.path == "/until-close":
            connection.sendall(b"HTTP/1.0 200 OK\r\n\r\nto the end")
            return False
        return by_path.get(received.path, found)(server, connection)

    server.script(otherwise=by_request)
    return server


def _options(library, options, *, on_loop):
    given = dict(options)
    if given.get("content") == "generator":

        async def parts():
            yield b"a"
            yield b"b"

        given["content"] = parts() if on_loop else (part for part in [b"a", b"b"])
    if given.get("auth") == "digest":
        given["auth"] = library.DigestAuth("user", "secret")
    return given


def _sync(library, url, method, options):
    with library.Client(base_url=url) as client:
        return _shape(client.request(method, **options)), dict(client.cookies)


def _async(library, url, method, options):
    async def main():
        async with library.AsyncClient(base_url=url) as client:
            return _shape(await client.request(method, **options)), dict(client.cookies)

    return asyncio.run(main())


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("run", [_sync, _async])
def test_same_response_and_same_requests(varied, guard, library, caplog, run, name):
    """Status, headers, bytes, cookies, log lines and what the server gets, but for the time that is left: identical."""
    caplog.set_level(logging.INFO, logger=library.__name__)
    method, path, options = CALLS[name]

    def once():
        varied.received.clear()
        caplog.clear()
        shape = run(library, varied.url, method, {"url": path, **_options(library, options, on_loop=run is _async)})
        got = [(one.method, one.path, _steady(one.headers), one.body) for one in varied.received]
        return _steady_sent(shape), got, caplog.messages

    bare = once()
    guard()
    assert once() == bare


def _steady(headers):
    # A digest carries a nonce of the client's own; the time that is left is ours, and told to nobody else.
    varying = ("authorization", "x-envoy-expected-rq-timeout-ms")
    return [(name, value) for name, value in headers if name.lower() not in varying]


def _steady_sent(shape):
    response, cookies = shape
    for one in [response, *response["history"]]:
        one["sent"] = [(name, value) for name, value in one["sent"] if name.lower() != b"authorization"]
    return response, cookies


def _probe(action):
    """What an action comes to: its value, or the kind and text of its error."""
    try:
        return action()
    except Exception as error:
        return type(error).__name__, str(error)


def test_consumed_response_behaves_the_same(varied, guard, library):
    """After a call whose body was read: iter_raw raises, iter_bytes repeats, close is harmless, as ever."""

    def once():
        with library.Client() as client:
            response = client.get(varied.url + "/gzip")
            return (
                _probe(lambda: list(response.iter_raw())),
                b"".join(response.iter_bytes()),
                response.read(),
                _probe(response.close),
                _probe(lambda: asyncio.run(response.aclose())),
                sorted(vars(response)),
            )

    bare = once()
    guard()
    assert once() == bare


def test_hooks_see_the_same(varied, guard, library):
    """Event hooks run once per request as ever, may read the body chunk by chunk, and may raise."""

    def once():
        seen = []

        def on_response(response):
            seen.append((response.status_code, response.is_closed, list(response.iter_raw(4)), sorted(vars(response))))
            raise ValueError("not wanted")

        hooks = {"request": [lambda request: seen.append(request.method)], "response": [on_response]}
        with library.Client(event_hooks=hooks) as client:
            return _probe(lambda: client.get(varied.url)), seen

    bare = once()
    guard()
    assert once() == bare


def test_chunks_stay_as_they_came(varied, guard, library):
    """A hook that counts chunks of a chunked body counts the same ones."""

    def once():
        chunks = []
        hooks = {"response": [lambda response: chunks.extend(response.iter_raw())]}
        with library.Client(event_hooks=hooks) as client:
            _probe(lambda: client.get(varied.url + "/chunked"))
        return b"".join(chunks)

    bare = once()
    guard()
    assert once() == bare == b"abcdefg"


def test_request_extensions_stay_the_callers(varied, guard, library):
    """What lies below finds the call in its copy of the request; the caller's request and dict hold no call."""
    guard()
    given = {"mine": 1}
    with library.Client() as client:
        request = client.build_request("GET", varied.url, extensions=given)
        client.send(request)
    assert given == {"mine": 1}
    assert "handrail.call" not in request.extensions


def test_connection_is_kept_alive(varied, guard, library):
    """Reading the body within the attempt gives the connection back: the next call uses it again."""
    guard()
    with library.Client() as client:
        for _ in range(3):
            client.get(varied.url)
    assert varied.connections == 1


def test_body_is_not_kept_twice(varied, guard, library):
    """Once the client has read it, the raw body is let go: a large answer is held once, not twice."""
    guard()
    with library.Client() as client:
        response = client.get(varied.url + "/big")
    held = response.stream._stream
    assert held._chunks is None
    with pytest.raises(library.StreamConsumed):
        list(held)


def test_redirect_is_one_call_for_each_hop(varied, steps, guard, library):
    """Each hop is judged and retried by itself; the one that failed is not followed by a second redirect."""
    guard()
    varied.script(steps.answer(302, location="/a"), steps.answer(503), steps.answer(200, b"there"))
    with library.Client(follow_redirects=True) as client:
        response = client.get(varied.url)
    assert response.content == b"there"
    assert [one.path for one in varied.received] == ["/", "/a", "/a"]


def test_pickled_response_is_the_same(varied, guard, library):
    """A response can still be pickled."""
    import pickle

    guard()
    response = library.get(varied.url)
    assert pickle.loads(pickle.dumps(response)).content == b"found"
