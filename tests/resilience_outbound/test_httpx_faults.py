"""What is sent again and what is not, counted at the server, for every way to make a request."""

import socket

import pytest

from handrail.resilience.events import AttemptFailed, RetryScheduled

FAULTS = ["reset", "close", "reset_in_body", "end_in_body"]
SILENCES = ["hang", "hang_in_body", "drip"]
STATUSES = [408, 429, 502, 503, 504]


@pytest.mark.parametrize("fault", FAULTS)
def test_broken_get_is_sent_again(server, steps, guard, send, fault):
    """A connection that breaks, before the answer or within it, costs a GET nothing but an attempt."""
    guard()
    server.script(getattr(steps, fault))
    assert send("GET", server.url).content == b"fine"
    assert len(server.received) == 2


@pytest.mark.parametrize("fault", SILENCES)
def test_hanging_get_is_sent_again(server, steps, guard, send, fault):
    """A server that falls silent, also in the middle of the body, is left after the attempt timeout."""
    guard(attempt_timeout=2)
    server.script(getattr(steps, fault))
    assert send("GET", server.url).content == b"fine"
    assert len(server.received) == 2
    assert server.gone.wait(60), "the connection of the attempt that was given up is closed"


@pytest.mark.parametrize("status", STATUSES)
def test_transient_status_is_sent_again(server, steps, guard, send, status):
    """408, 429, 502, 503 and 504 to a GET are tried again."""
    guard()
    server.script(steps.answer(status))
    assert send("GET", server.url).status_code == 200
    assert len(server.received) == 2


@pytest.mark.parametrize("method", ["POST", "PATCH"])
@pytest.mark.parametrize("fault", [*FAULTS, *SILENCES, *STATUSES, 500])
def test_unsafe_request_is_never_sent_twice(server, steps, guard, send, library, fault, method):
    """POST and PATCH without a key reach the server once, whatever happens to them."""
    guard(**({"attempt_timeout": 0.5} if fault in SILENCES else {}))
    server.script(steps.answer(fault) if isinstance(fault, int) else getattr(steps, fault))
    if isinstance(fault, int):
        assert send(method, server.url, json={"n": 1}).status_code == fault
    else:
        with pytest.raises(library.HTTPError):
            send(method, server.url, json={"n": 1})
    assert fault not in SILENCES or server.hung.wait(60)
    assert len(server.received) == 1


@pytest.mark.parametrize("fault", [*FAULTS, *STATUSES])
def test_key_makes_post_safe_and_stays_the_same(server, steps, guard, send, fault):
    """With an Idempotency-Key a POST is sent again, with that key and the same body on every attempt."""
    guard()
    bad = steps.answer(fault) if isinstance(fault, int) else getattr(steps, fault)
    server.script(bad, bad)
    assert send("POST", server.url, json={"n": 1}, headers={"Idempotency-Key": "k-1"}).status_code == 200
    assert [received.all("idempotency-key") for received in server.received] == [["k-1"]] * 3
    assert {received.body for received in server.received} == {b'{"n":1}'}


def test_internal_error_is_sent_again_for_safe_methods_only(server, steps, guard, send):
    """500 may mean a half-done effect: tried again for GET, not for a POST with a key."""
    guard()
    server.script(steps.answer(500))
    assert send("GET", server.url).status_code == 200
    server.script(steps.answer(500))
    assert send("POST", server.url, headers={"Idempotency-Key": "k"}).status_code == 500
    assert len(server.received) == 3


def test_refused_post_is_sent_when_the_server_is_up(silent, guard, library):
    """A refused connection proves that nothing was sent: the POST is tried again, and arrives once."""
    guarded = guard()

    def emit(event):
        if isinstance(event, RetryScheduled):
            silent.listen()

    guarded.registry.tools.emit.add(emit)
    with library.Client() as client:
        assert client.post(silent.url, json={}).status_code == 200
    assert len(silent.received) == 1


def test_refused_to_the_end_raises_the_library_error(silent, guard, send, library):
    """The last original error goes up, and a note says how often and how long it was tried."""
    guard()
    with pytest.raises(library.ConnectError) as caught:
        send("GET", silent.url)
    assert type(caught.value) is library.ConnectError
    assert any("3 attempts" in note for note in caught.value.__notes__)
    assert caught.value.request.method == "GET"


def test_last_response_goes_up_when_attempts_are_exhausted(server, steps, guard, send):
    """After the last attempt the caller gets the response itself, body and all."""
    guard()
    server.script(otherwise=steps.answer(503, b"busy", retry_after="0"))
    response = send("GET", server.url)
    assert (response.status_code, response.content, len(server.received)) == (503, b"busy", 3)


def test_one_shot_body_is_never_sent_again(server, steps, guard, library):
    """A generator body cannot be read twice: one attempt, and its own error reaches the caller."""
    guard()
    server.script(steps.close)
    with library.Client() as client, pytest.raises(library.RemoteProtocolError):
        client.put(server.url, content=(part for part in [b"a", b"b"]))
    assert [received.body for received in server.received] == [b"ab"]


def test_one_shot_body_keeps_its_status(server, steps, guard, library):
    """The 503 to a generator body is the answer, not a StreamConsumed from trying again."""
    guard()
    server.script(steps.answer(503))
    with library.Client() as client:
        assert client.put(server.url, content=iter([b"a"])).status_code == 503
    assert len(server.received) == 1


def test_form_in_memory_is_sent_again_and_open_file_is_not(server, steps, guard, library, tmp_path):
    """Multipart data of bytes can be repeated as it was; a file's position is the caller's."""
    guard()
    server.script(steps.answer(503))
    with library.Client() as client:
        assert client.put(server.url, files={"a": b"1"}).status_code == 200
        assert server.received[0].body == server.received[1].body
        server.script(steps.answer(503))
        (tmp_path / "f").write_bytes(b"1")
        with (tmp_path / "f").open("rb") as file:
            assert client.put(server.url, files={"a": file}).status_code == 503


def test_lost_body_is_told(server, steps, guard, send):
    """A body that breaks after good headers is reported: the attempt's span ended with the headers."""
    guarded = guard()
    server.script(steps.reset_in_body)
    send("GET", server.url)
    assert [event.cause for event in guarded.events if isinstance(event, AttemptFailed)] == ["network"]


def test_hanging_body_is_told_as_timeout(server, steps, guard, send):
    """A body that hangs is reported as a timeout, though on a loop it ends by a cancellation."""
    guarded = guard(attempt_timeout=2)
    server.script(steps.hang_in_body)
    send("GET", server.url)
    assert [event.cause for event in guarded.events if isinstance(event, AttemptFailed)] == ["timeout"]


def test_full_pool_is_no_failure_of_the_peer(server, steps, guard, library):
    """A pool timeout says nothing about the peer: tried again, not counted by the breaker."""
    guarded = guard(breaker_minimum_calls=1)
    server.script(steps.answer(200, b"x" * 10))
    with library.Client(limits=library.Limits(max_connections=1), timeout=library.Timeout(5, pool=0.01)) as client:
        with client.stream("GET", server.url), pytest.raises(library.PoolTimeout):
            client.post(server.url)
        assert client.post(server.url).status_code == 200
    assert "circuit" not in repr(guarded.events).lower()


def test_name_that_does_not_resolve_is_a_connect_error(guard, library, monkeypatch):
    """A name that is not found is retried like a refused connection, and stays the library's error."""
    guarded = guard()

    def fail(*args, **kwargs):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with library.Client() as client, pytest.raises(library.ConnectError):
        client.post("http://inventory.test/")
    assert [event.cause for event in guarded.events if isinstance(event, RetryScheduled)] == ["connect"] * 2
