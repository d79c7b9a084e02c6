"""What the caller sees when handrail itself says no: errors of ours that are the library's own kind too."""

import asyncio
import copy
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor

import pytest

from handrail.resilience import errors
from handrail.resilience.call import deadline
from handrail.resilience.outbound.failure import failure_of


def test_open_circuit_is_a_connect_error(server, steps, guard, send, library):
    """`except httpx.ConnectError`, TransportError or HTTPError catches it; all our attributes are there."""
    guard(attempts=1, breaker_minimum_calls=2, breaker_open_for=60)
    server.script(otherwise=steps.answer(503))
    assert [send("GET", server.url).status_code for _ in range(2)] == [503, 503]
    with pytest.raises(library.HTTPError) as caught:
        send("GET", server.url + "/x")
    error = caught.value
    assert isinstance(error, errors.CircuitOpen)
    assert isinstance(error, library.ConnectError)
    assert type(error).__name__ == "CircuitOpen"
    assert (error.target, error.policy) == (server.url, "circuit_breaker")
    assert 0 < (error.retry_after or 0) <= 66
    assert caught.value.request.url.path == "/x"
    assert "circuit open for http://127.0.0.1" in str(error)
    assert len(server.received) == 2


LATE = (errors.AttemptTimedOut, errors.DeadlineExceeded)
KINDS = (errors.CircuitOpen, errors.BulkheadFull, errors.RetryBudgetSpent, *LATE)
WAYS = [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy]


def told(error):
    """What a person and a handler are told by an error."""
    state = {name: value for name, value in vars(error).items() if name != "_request"}
    return type(error), str(error), error.args, error.policy, state


@pytest.mark.parametrize("way", WAYS, ids=["pickle", "copy", "deepcopy"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dressed", [False, True])
def test_errors_are_copied_whole(library, kind, way, dressed):
    """Pickle, copy and deepcopy keep class, message, attributes, notes and request of every error of ours."""
    from handrail.resilience.outbound._httpx_library import Library

    about = {"limit": 1.0, "elapsed": 1.25} if kind in LATE else {"retry_after": 3.0}
    error = kind("no", target="http://x", **about)
    if dressed:
        Library(library).dress(error, library.Request("GET", "http://x/y"))
        assert isinstance(error, library.TransportError)
    error.add_note("seen")
    again = way(error)
    assert again is not error
    assert told(again) == told(error)
    assert again.__notes__ == ["seen"]
    if dressed:
        assert (again.request.method, str(again.request.url)) == ("GET", "http://x/y")


IN_A_WORKER = """
import {library}
from handrail.resilience import outbound
from handrail.resilience.call import deadline
from handrail.resilience.policy import Tools
from handrail.resilience.registry import Registry
from handrail.resilience.settings import ResilienceSettings

outbound.install({library}, Registry(ResilienceSettings(), Tools()))
with deadline(-1):
    {library}.get("http://127.0.0.1:9/")
"""


def test_errors_come_back_from_another_process(library):
    """What a worker of a ProcessPoolExecutor raised is the library's error in the parent, and the pool lives on."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        for _ in range(2):
            with pytest.raises(library.ReadTimeout) as caught:
                pool.submit(exec, IN_A_WORKER.format(library=library.__name__), {}).result(60)
            assert isinstance(caught.value, errors.DeadlineExceeded)
            assert caught.value.target == "http://127.0.0.1:9"


def test_settings_error_is_copied():
    """The error of a bad setting is pickled like the others, and stays a ValueError."""
    again = pickle.loads(pickle.dumps(errors.SettingsError("attempts: 0")))
    assert (type(again), again.args) == (errors.SettingsError, ("attempts: 0",))


def test_handlers_for_the_library_come_first(guard, library):
    """Looked up along the bases, an app's handler for the library's errors is found before one for ours."""
    from handrail.resilience.outbound._httpx_library import Library

    error = errors.AttemptTimedOut("late", target="http://x", limit=1.0, elapsed=1.1)
    Library(library).dress(error, library.Request("GET", "http://x"))
    bases = type(error).__mro__
    assert bases.index(library.HTTPError) < bases.index(errors.HandrailError) < bases.index(TimeoutError)


def test_attempt_timeout_on_a_loop_is_a_read_timeout(server, steps, guard, library):
    """`except httpx.TimeoutException` catches our timer, which carries its limit and note."""
    guard(attempt_timeout=0.3, attempts=2)
    server.script(otherwise=steps.hang)

    async def main():
        async with library.AsyncClient() as client:
            await client.get(server.url)

    with pytest.raises(library.TimeoutException) as caught:
        asyncio.run(main())
    error = caught.value
    assert isinstance(error, errors.AttemptTimedOut)
    assert isinstance(error, library.ReadTimeout)
    assert error.limit == 0.3
    assert caught.value.request.url == server.url
    assert any("2 attempts" in note for note in error.__notes__)


def test_timeouts_of_ours_are_timeouts_of_python(library):
    """`except TimeoutError` catches them as it does those of asyncio; so `except OSError` does, as the docs warn."""
    from handrail.resilience.outbound._httpx_library import Library

    error = errors.AttemptTimedOut("late", target="http://x", limit=1.0, elapsed=1.1)
    Library(library).dress(error, library.Request("GET", "http://x"))
    assert isinstance(error, TimeoutError)
    assert isinstance(error, OSError)
    assert error.errno is None
    assert str(error) == "late"


def test_attempt_timeout_on_a_thread_stays_the_library_error(server, steps, guard, library):
    """On a thread the library's own read timeout ends the attempt, within our limit."""
    guard(attempt_timeout=0.3, attempts=2)
    server.script(otherwise=steps.hang)
    with pytest.raises(library.ReadTimeout) as caught:
        library.get(server.url, timeout=None)
    assert type(caught.value) is library.ReadTimeout
    assert len(server.received) == 2


def test_dripping_body_on_a_thread_is_ended(server, steps, guard, library):
    """A body that never pauses long enough for the read timeout still ends with the attempt."""
    guard(attempt_timeout=0.5, attempts=1)
    server.script(steps.drip)
    with pytest.raises(library.TimeoutException) as caught:
        library.get(server.url)
    assert isinstance(caught.value, errors.AttemptTimedOut)
    assert server.gone.wait(60)


def test_spent_deadline_sends_nothing(server, guard, send, library):
    """With no time left of the caller's deadline, the call ends before it begins."""
    guard()
    with deadline(-1), pytest.raises(library.TimeoutException) as caught:
        send("GET", server.url)
    assert isinstance(caught.value, errors.DeadlineExceeded)
    assert server.received == []


def test_deadline_cuts_even_explicit_timeouts(server, steps, guard, send, library):
    """A 60 s timeout of the code yields to what is left of the caller's deadline."""
    guard()
    server.script(otherwise=steps.hang)
    with deadline(0.7), pytest.raises(library.TimeoutException):
        send("GET", server.url, timeout=60)
    assert server.gone.wait(60)


@pytest.mark.parametrize(("fault", "cause", "attempts"), [("close", "network", 3), ("hang", "timeout", 3)])
def test_transient_originals_carry_what_is_known(server, steps, guard, library, fault, cause, attempts):
    """An original error that leaves the pipeline says target, attempts and cause to whoever answers for it."""
    guard(attempt_timeout=0.3)
    server.script(otherwise=getattr(steps, fault))
    with pytest.raises(library.HTTPError) as caught:
        library.get(server.url)
    failure = failure_of(caught.value)
    assert failure is not None
    assert (failure.target, failure.attempts, failure.cause) == (server.url, attempts, cause)


def test_errors_that_are_no_failure_of_the_peer_carry_nothing(server, steps, guard, library):
    """A body that does not decode is not a dependency that is down: it came, and leaves unmarked."""
    guard()
    server.script(steps.answer(200, b"no gzip", content_encoding="gzip"))
    with pytest.raises(library.DecodingError) as caught:
        library.get(server.url)
    assert failure_of(caught.value) is None
    assert len(server.received) == 1


def test_refused_certificate_is_not_retried(guard, library, tmp_path):
    """A certificate that is not trusted will not be trusted at the next attempt either."""
    import ssl

    from handrail.resilience.classify import CONNECT, MISUSE
    from handrail.resilience.outbound._httpx_library import Library

    judge = Library(library).judge
    refused = library.ConnectError("tls")
    refused.__cause__ = ssl.SSLCertVerificationError("self-signed certificate")
    assert judge(refused) is MISUSE
    assert judge(library.ConnectError("refused")) is CONNECT


def test_every_library_error_has_a_verdict(library):
    """No error class of the library is mistaken for a foreign one, and nothing foreign for the library's."""
    from handrail.resilience.classify import CANCELLED, CONNECT, FOREIGN, MISUSE, NETWORK, POOL, TIMEOUT
    from handrail.resilience.outbound._httpx_library import Library

    table = {
        "ConnectError": CONNECT,
        "ConnectTimeout": CONNECT,
        "PoolTimeout": POOL,
        "ReadTimeout": TIMEOUT,
        "WriteTimeout": TIMEOUT,
        "ReadError": NETWORK,
        "WriteError": NETWORK,
        "CloseError": NETWORK,
        "RemoteProtocolError": NETWORK,
        "ProxyError": NETWORK,
        "LocalProtocolError": MISUSE,
        "UnsupportedProtocol": MISUSE,
        "DecodingError": MISUSE,
        "TooManyRedirects": MISUSE,
        "InvalidURL": MISUSE,
    }
    judge = Library(library).judge
    assert {name: judge(getattr(library, name)("x")) for name in table} == table
    assert judge(library.StreamConsumed()) is MISUSE
    assert judge(ValueError()) is FOREIGN
    assert judge(OSError()) is FOREIGN
    assert judge(asyncio.CancelledError()) is CANCELLED
    assert judge(KeyboardInterrupt()) is CANCELLED
