"""A second retry layer over ours is noticed and named; everything that only looks like one is not."""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context

import backoff
import pytest
import stamina
import tenacity

from handrail.resilience import Pipeline, Retry, Tools, TotalTimeout, second
from handrail.resilience.budget import Budget
from handrail.resilience.call import Call
from handrail.resilience.events import SecondRetry
from handrail.resilience.testing import FakeClock, RecordingListener, Reply, ScriptedWire

Fetch = Callable[[], Reply]
FetchAsync = Callable[[], Awaitable[Reply]]


class UrlCall(Call[Reply]):
    """A call that can be told from others."""

    __slots__ = ("url",)
    url: str | None

    def likeness(self) -> object:
        return self.url


class Service:
    """A client of a peer that is down, with our retries; `calls` counts the logical ones."""

    def __init__(self, *steps: str | int | Reply, attempts: int = 3, budget: Budget | None = None) -> None:
        self.clock = FakeClock()
        self.told = RecordingListener()
        tools = Tools(clock=self.clock, emit=self.told, jitter=lambda: 0.0)
        retry = Retry(attempts=attempts, budget=budget, tools=tools)
        self.pipeline = Pipeline(TotalTimeout(30.0, tools=tools), retry)
        self.wire = ScriptedWire(*(steps or ("fail",)), clock=self.clock)
        self.calls = 0

    def _call(self, url: str | None, operation: str) -> UrlCall:
        self.calls += 1
        call = UrlCall(self.wire, target="http://peer", operation=operation, resend=self.wire.call().resend)
        call.url = url
        return call

    def get(self, url: str | None = "/stock", operation: str = "GET") -> Reply:
        return self.pipeline.run_sync(self._call(url, operation))

    async def aget(self, url: str | None = "/stock", operation: str = "GET") -> Reply:
        return await self.pipeline.run(self._call(url, operation))

    @property
    def found(self) -> list[tuple[str, str]]:
        """Layer and function-independent file of each finding."""
        return [(event.layer, event.place.rpartition(":")[0]) for event in self.told.of(SecondRetry)]


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    """Nothing said yet, nothing remembered in this thread."""
    second._said.clear()
    token = second.remembered.set(None)
    yield
    second.remembered.reset(token)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The lines of ours: backoff writes some of its own."""
    return [record.getMessage() for record in caplog.records if record.name == "handrail"]


def by_tenacity(fetch: Fetch) -> None:
    @tenacity.retry(stop=tenacity.stop_after_attempt(2), wait=tenacity.wait_none())
    def call() -> Reply:
        return fetch()

    call()


def by_tenacity_block(fetch: Fetch) -> None:
    for attempt in tenacity.Retrying(stop=tenacity.stop_after_attempt(2), wait=tenacity.wait_none()):
        with attempt:
            fetch()


def by_stamina(fetch: Fetch) -> None:
    @stamina.retry(on=ConnectionError, attempts=2, wait_initial=0, wait_jitter=0)
    def call() -> Reply:
        return fetch()

    call()


def by_stamina_block(fetch: Fetch) -> None:
    for attempt in stamina.retry_context(on=ConnectionError, attempts=2, wait_initial=0, wait_jitter=0):
        with attempt:
            fetch()


def by_backoff(fetch: Fetch) -> None:
    @backoff.on_exception(backoff.constant, ConnectionError, max_tries=2, interval=0)
    def call() -> Reply:
        return fetch()

    call()


def by_hand(fetch: Fetch) -> None:
    for _ in range(2):
        with suppress(ConnectionError):
            fetch()


SYNC: dict[Callable[[Fetch], None], str] = {
    by_tenacity: "tenacity",
    by_tenacity_block: "tenacity",
    by_stamina: "stamina",
    by_stamina_block: "stamina",
    by_backoff: "backoff",
    by_hand: "hand-written",
}


@pytest.mark.parametrize("way", SYNC)
def test_a_second_layer_is_named_on_a_thread(way: Callable[[Fetch], None], caplog: pytest.LogCaptureFixture) -> None:
    """Its library and the line of the service's own code: an event, and one warning that says what to do."""
    service = Service()
    with suppress(ConnectionError, tenacity.RetryError), caplog.at_level(logging.WARNING, "handrail"):
        way(service.get)
    assert service.calls == 2
    assert service.found == [(SYNC[way], __file__)]
    (said,) = warnings(caplog)
    assert said.startswith(f"GET http://peer at {__file__}:")
    assert "failed after the retries of handrail (3 attempts) and is made again by " in said
    assert 'attempts = 1 under [origins."http://peer"]' in said


async def tenacity_async(fetch: FetchAsync) -> None:
    @tenacity.retry(stop=tenacity.stop_after_attempt(2), wait=tenacity.wait_none())
    async def call() -> Reply:
        return await fetch()

    await call()


async def tenacity_block_async(fetch: FetchAsync) -> None:
    async for attempt in tenacity.AsyncRetrying(stop=tenacity.stop_after_attempt(2), wait=tenacity.wait_none()):
        with attempt:
            await fetch()


async def stamina_async(fetch: FetchAsync) -> None:
    @stamina.retry(on=ConnectionError, attempts=2, wait_initial=0, wait_jitter=0)
    async def call() -> Reply:
        return await fetch()

    await call()


async def stamina_block_async(fetch: FetchAsync) -> None:
    async for attempt in stamina.retry_context(on=ConnectionError, attempts=2, wait_initial=0, wait_jitter=0):
        with attempt:
            await fetch()


async def backoff_async(fetch: FetchAsync) -> None:
    @backoff.on_exception(backoff.constant, ConnectionError, max_tries=2, interval=0)
    async def call() -> Reply:
        return await fetch()

    await call()


async def hand_async(fetch: FetchAsync) -> None:
    for _ in range(2):
        with suppress(ConnectionError):
            await fetch()
        await FakeClock().sleep(1)


ASYNC: dict[Callable[[FetchAsync], Awaitable[None]], str] = {
    tenacity_async: "tenacity",
    tenacity_block_async: "tenacity",
    stamina_async: "stamina",
    stamina_block_async: "stamina",
    backoff_async: "backoff",
    hand_async: "hand-written",
}


@pytest.mark.parametrize("way", ASYNC)
def test_a_second_layer_is_named_on_a_loop(
    way: Callable[[FetchAsync], Awaitable[None]], caplog: pytest.LogCaptureFixture
) -> None:
    """The same for each of them in its asynchronous form."""
    service = Service()

    async def main() -> None:
        with suppress(ConnectionError, tenacity.RetryError):
            await way(service.aget)

    with caplog.at_level(logging.WARNING, "handrail"):
        asyncio.run(main())
    assert service.calls == 2
    assert service.found == [(ASYNC[way], __file__)]
    assert len(warnings(caplog)) == 1


def test_the_place_is_the_line_of_the_call() -> None:
    """file:line of the innermost frame that is the service's own."""
    service = Service()
    for _ in range(2):
        with suppress(ConnectionError):
            service.get()
    code, first = inspect.getsourcelines(Service.get)
    assert [event.place for event in service.told.of(SecondRetry)] == [f"{__file__}:{first + len(code) - 1}"]


def test_each_place_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """Each repetition is an event, for the trace it stands in; the log gets one line for each place."""
    service = Service()
    with caplog.at_level(logging.WARNING, "handrail"):
        for _ in range(5):
            with suppress(ConnectionError):
                service.get()
    assert len(service.found) == 4
    assert len(warnings(caplog)) == 1


def test_a_reply_that_is_made_again_counts_too() -> None:
    """A loop until the status is good: nothing was raised."""
    service = Service(503)
    for _ in range(2):
        service.get()
    assert [layer for layer, _ in service.found] == ["hand-written"]


@pytest.mark.parametrize(
    "service",
    [
        Service(budget=Budget(ratio=0.0, floor=0)),
        Service(Reply(503, headers={"x-envoy-overloaded": "true"})),
        Service(503, Reply(503, headers={"x-envoy-overloaded": "true"})),
    ],
    ids=["budget", "overloaded", "overloaded meanwhile"],
)
def test_retries_that_were_refused_count_as_used_up(service: Service) -> None:
    """Spent budget, overloaded peer: whoever goes on all the same is the amplification that was refused."""
    for _ in range(2):
        with suppress(ConnectionError):
            service.get()
    assert [layer for layer, _ in service.found] == ["hand-written"]


def test_what_we_do_not_retry_is_theirs_to_retry() -> None:
    """With attempts = 1, or an error that we would not repeat, there is no second layer."""
    for service in (Service(attempts=1), Service(404), Service(500, attempts=1)):
        for _ in range(3):
            with suppress(ConnectionError):
                service.get()
        assert service.found == []


def test_a_poll_is_not_a_retry() -> None:
    """The same call from the same line, more than three seconds later."""
    service = Service()
    for _ in range(4):
        with suppress(ConnectionError):
            service.get()
        service.clock.advance(3.5)
    assert service.found == []


@pytest.mark.parametrize(("pause", "layers"), [(10.0, ["tenacity"]), (61.0, [])])
def test_a_library_on_the_stack_may_pause_for_longer(pause: float, layers: list[str]) -> None:
    """Ten seconds between the tries of tenacity are its own pause; after a minute nothing is remembered."""
    service = Service()
    stop, wait = tenacity.stop_after_attempt(2), tenacity.wait_fixed(pause)
    with suppress(tenacity.RetryError):
        tenacity.Retrying(stop=stop, wait=wait, sleep=service.clock.advance)(service.get)
    assert service.calls == 2
    assert [layer for layer, _ in service.found] == layers


def test_another_call_is_not_a_retry() -> None:
    """Another URL, another method, or a call whose library cannot tell, from one and the same line."""
    service = Service()
    for url, operation in (("/a", "GET"), ("/b", "GET"), ("/b", "PUT"), (None, "GET"), (None, "GET"), ("/c", "GET")):
        with suppress(ConnectionError):
            service.get(url, operation)
    assert service.found == []


def test_the_same_call_from_another_line_is_not_a_retry() -> None:
    """Two places of a service that need the same thing, each with its own handling."""
    service = Service()

    def needed() -> None:
        with suppress(ConnectionError):
            service.get()

    needed()
    needed()
    assert service.found == []


def test_gather_of_the_same_call_is_not_a_retry() -> None:
    """Tasks beside each other have contexts of their own."""
    service = Service()

    async def main() -> None:
        await asyncio.gather(*(service.aget() for _ in range(5)), return_exceptions=True)

    asyncio.run(main())
    assert service.calls == 5
    assert service.found == []


def test_requests_one_after_the_other_are_not_a_retry() -> None:
    """The next request of the service runs in a context of its own and remembers nothing of the one before."""
    service = Service()
    for _ in range(3):
        with suppress(ConnectionError):
            copy_context().run(service.get)
    assert service.found == []


def test_jobs_of_an_executor_are_not_a_retry() -> None:
    """A pool's thread serves one request after the other in one context; within a job a loop is still seen."""
    service = Service()

    def twice() -> None:
        for _ in range(2):
            with suppress(ConnectionError):
                service.get()

    with ThreadPoolExecutor(1) as pool:
        for _ in range(3):
            assert pool.submit(service.get).exception() is not None
        assert service.found == []
        pool.submit(twice).result()
    assert [layer for layer, _ in service.found] == ["hand-written"]


def test_a_good_call_remembers_nothing() -> None:
    """Neither does one that our own retries saved: nothing is kept, and nothing is looked for."""
    service = Service()
    service.wire = ScriptedWire("fail", "ok", clock=service.clock)
    for _ in range(3):
        service.get()
    assert second.remembered.get() is None
    assert service.found == []


def test_our_own_retries_are_not_a_second_layer() -> None:
    """A call made from within an attempt of another one: the tenacity between the two is ours."""
    outer, inner = Service(), Service()

    def send() -> Reply:
        for _ in range(2):
            with suppress(ConnectionError):
                inner.get()
        raise ConnectionResetError

    outer.wire = ScriptedWire(send, clock=outer.clock)
    with suppress(ConnectionError):
        outer.get()
    assert {layer for layer, _ in inner.found} == {"hand-written"}
