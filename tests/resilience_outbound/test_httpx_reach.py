"""Which clients and transports the guard reaches, and which it leaves alone."""

import asyncio
import inspect
import socket
import sys
import types
from types import ModuleType

import pytest
import wrapt

from handrail.resilience import outbound
from handrail.resilience.registry import Registry


def test_clients_made_before_are_covered(server, steps, guard, library):
    """The guard sits on the class: a client that exists already retries too."""
    with library.Client() as client:
        guard()
        server.script(steps.answer(503))
        assert client.get(server.url).status_code == 200


def test_async_clients_made_before_are_covered(server, steps, guard, library):
    """The same for a client on a loop."""

    async def main():
        async with library.AsyncClient() as client:
            guard()
            server.script(steps.answer(503))
            return await client.get(server.url)

    assert asyncio.run(main()).status_code == 200


def test_transport_subclass_is_covered_and_its_own_errors_stay(server, steps, guard, library):
    """A subclass comes to us by super(); what it raises by itself is neither retried nor changed."""

    class Blocked(Exception):
        pass

    class Fence(library.HTTPTransport):  # type: ignore[name-defined,misc]  # a library that the test is given
        calls = 0

        def handle_request(self, request):
            Fence.calls += 1
            if request.url.path == "/secret":
                raise Blocked("no way")
            return super().handle_request(request)

    guard()
    server.script(steps.answer(503))
    with library.Client(transport=Fence()) as client:
        assert client.get(server.url).status_code == 200
        assert (Fence.calls, len(server.received)) == (1, 2)
        with pytest.raises(Blocked):
            client.get(server.url + "/secret")
    assert Fence.calls == 2


def test_subclass_that_retries_by_itself_keeps_working(server, steps, guard, library):
    """A retry of their own around super() is one logical call of ours each time."""

    class Again(library.HTTPTransport):  # type: ignore[name-defined,misc]  # a library that the test is given
        def handle_request(self, request):
            response = super().handle_request(request)
            return super().handle_request(request) if response.status_code == 503 else response

    guard(attempts=1)
    server.script(steps.answer(503))
    with library.Client(transport=Again()) as client:
        assert client.get(server.url).status_code == 200
    assert len(server.received) == 2


def test_mock_and_asgi_transports_are_untouched(guard, library):
    """In-process calls have no network: no retry, no breaker, and the request is theirs as it is."""
    guarded = guard()
    seen = []

    def handler(request):
        seen.append(request)
        return library.Response(503)

    async def app(scope, receive, send):
        seen.append(scope)
        await send({"type": "http.response.start", "status": 503, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def main():
        async with library.AsyncClient(transport=library.ASGITransport(app)) as client:
            assert (await client.get("http://shop.test/")).status_code == 503

    with library.Client(transport=library.MockTransport(handler)) as client:
        assert client.get("http://shop.test/").status_code == 503
    asyncio.run(main())
    assert len(seen) == 2
    assert guarded.events == []
    assert list(guarded.registry.entries()) == []


def test_mock_transport_error_stays_as_it_is(guard, library):
    """What a mock raises is not ours to count or to note."""
    guard()

    def handler(request):
        raise library.ConnectError("scripted")

    with (
        library.Client(transport=library.MockTransport(handler)) as client,
        pytest.raises(library.ConnectError) as caught,
    ):
        client.get("http://shop.test/")
    assert not hasattr(caught.value, "__notes__")


def test_mounted_transport_is_covered(server, steps, guard, library):
    """Transports of `mounts=` are guarded like the default one."""
    guard()
    server.script(steps.answer(503))
    with library.Client(mounts={"http://": library.HTTPTransport()}) as client:
        assert client.get(server.url).status_code == 200


def test_other_schemes_pass_straight_through(guard, library):
    """A scheme that httpx does not speak keeps its error and gets no pipeline."""
    guarded = guard()
    with library.Client() as client, pytest.raises(library.UnsupportedProtocol):
        client.get("ftp://127.0.0.1/")
    assert list(guarded.registry.entries()) == []


def test_installing_twice_is_once(server, steps, guard, library):
    """A second install adds nothing: two attempts stay two, and one undo undoes."""
    guarded = guard(attempts=2)
    again = outbound.install(library, guarded.registry)
    assert again is guarded.undo
    server.script(otherwise=steps.answer(503))
    library.get(server.url)
    assert len(server.received) == 2


def test_undo_leaves_the_classes_as_they_were(guard, library):
    """After undo the very functions of the library are back, and undo may be called again."""
    names = [
        (library.HTTPTransport, "handle_request"),
        (library.AsyncHTTPTransport, "handle_async_request"),
        (library.Client, "send"),
        (library.AsyncClient, "send"),
    ]
    before = [vars(owner)[name] for owner, name in names]
    guarded = guard()
    assert all(vars(owner)[name] is not old for (owner, name), old in zip(names, before, strict=True))
    guarded.undo()
    guarded.undo()
    assert [vars(owner)[name] for owner, name in names] == before


def test_undone_guard_inside_a_later_wrapper_does_nothing(server, steps, guard, library, monkeypatch):
    """Where somebody wrapped ours meanwhile, it stays where it is and passes through."""
    guarded = guard()
    ours = library.HTTPTransport.handle_request
    original = ours.__wrapped__

    def wrapper(transport, request):
        return ours(transport, request)

    monkeypatch.setattr(library.HTTPTransport, "handle_request", wrapper)
    guarded.undo()
    assert library.HTTPTransport.handle_request is wrapper
    server.script(steps.answer(503))
    assert library.get(server.url).status_code == 503
    library.HTTPTransport.handle_request = original


def test_shape_of_the_methods_stays(guard, library):
    """Code that inspects the methods finds the signatures and coroutine functions that it knows."""
    before = inspect.signature(library.AsyncClient.send)
    guard()
    assert inspect.signature(library.AsyncClient.send) == before
    assert inspect.iscoroutinefunction(library.AsyncClient.send)
    assert inspect.iscoroutinefunction(library.AsyncHTTPTransport.handle_async_request)
    assert library.HTTPTransport.handle_request.__name__ == "handle_request"


def test_what_lies_below_is_called_for_each_attempt(server, steps, guard, library, monkeypatch):
    """A wrapper that was there first runs once per attempt, and reads the attempt's number from the request."""
    below = library.HTTPTransport.handle_request
    attempts = []

    def tracer(transport, request):
        attempts.append(request.extensions["handrail.call"].attempt)
        request.headers = library.Headers({**request.headers, "traceparent": f"span-{len(attempts)}"})
        return below(transport, request)

    monkeypatch.setattr(library.HTTPTransport, "handle_request", tracer)
    guarded = guard()
    server.script(steps.answer(503))
    assert library.get(server.url).status_code == 200
    guarded.undo()
    assert attempts == [1, 2]
    assert [received.all("traceparent") for received in server.received] == [["span-1"], ["span-2"]]


def test_only_known_modules():
    """Anything but the libraries that are known is refused by name."""
    with pytest.raises(ValueError, match="pycurl"):
        outbound.install(ModuleType("pycurl"), Registry())


@pytest.mark.parametrize("on_loop", [True, False])
def test_wrapt_wrapper_below_is_bound_to_the_transport(server, steps, guard, library, on_loop):
    """Tracers patch with wrapt, whose wrapper must see the transport as its instance and the request alone."""
    seen = []

    def wrapper(wrapped, instance, args, kwargs):
        seen.append((type(instance), len(args), args[0].extensions["handrail.call"].attempt))
        return wrapped(*args, **kwargs)

    owner, name = (
        (library.AsyncHTTPTransport, "handle_async_request") if on_loop else (library.HTTPTransport, "handle_request")
    )
    original = vars(owner)[name]
    wrapt.wrap_function_wrapper(owner, name, wrapper)
    wrapped = vars(owner)[name]

    async def main():
        async with library.AsyncClient() as client:
            return await client.get(server.url)

    try:
        guarded = guard()
        server.script(steps.answer(503))
        assert (asyncio.run(main()) if on_loop else library.get(server.url)).status_code == 200
        guarded.undo()
        assert vars(owner)[name] is wrapped
    finally:
        setattr(owner, name, original)
    assert seen == [(owner, 1, 1), (owner, 1, 2)]


def test_one_request_object_sent_by_many_tasks(server, steps, guard, library):
    """The same request object under way several times at once: each call counts its own attempts."""
    guard()
    server.script(steps.answer(503), steps.answer(503))

    async def main():
        async with library.AsyncClient() as client:
            request = client.build_request("GET", server.url)
            responses = await asyncio.gather(*(client.send(request) for _ in range(5)))
        return [response.status_code for response in responses]

    assert asyncio.run(main()) == [200] * 5
    assert len(server.received) == 7


def test_unix_socket_is_an_origin_of_its_own(guard, library, tmp_path):
    """What answers behind a socket file shares no breaker with the host whose name the URL borrows."""
    guarded = guard(attempts=1)
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        with library.Client(transport=library.HTTPTransport(uds=path)) as client, pytest.raises(library.ReadTimeout):
            client.get("http://localhost/", timeout=library.Timeout(5, read=0.05))
    (entry,) = guarded.registry.entries()
    assert entry.target == f"http://localhost@{path}"


def test_a_mock_below_the_transport_is_left_alone(guard, library, monkeypatch):
    """Respx answers in the place of the pool: its calls are as many as the code made, and open no breaker."""
    asked = []

    async def handle_async_request(pool, request):
        asked.append(request)
        raise library.ConnectError("mocked")

    handle_async_request.__module__ = "respx.mocks"
    monkeypatch.setitem(sys.modules, "respx.mocks", types.ModuleType("respx.mocks"))
    guarded = guard()

    async def main():
        async with library.AsyncHTTPTransport() as transport:
            pool = transport._pool
            transport._pool = type("Mocked", (type(pool),), {"handle_async_request": handle_async_request})()
            await library.AsyncClient(transport=transport).get("http://mocked.example.test")

    with pytest.raises(library.ConnectError):
        asyncio.run(main())
    assert (len(asked), guarded.registry.entries()) == (1, [])
