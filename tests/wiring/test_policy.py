"""`handrail.policy`: other settings for the calls of a block, on every way into a call."""

import asyncio
import contextvars
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

import handrail
from handrail import SettingsError, _wire
from handrail.resilience import Entry, Registry, ResilienceSettings
from handrail.resilience.events import FallbackUsed
from handrail.resilience.overrides import at_hand
from handrail.tracing.testing import Spans


def entry(registry: Registry, host: str = "peer") -> Entry:
    """What a client library is given for a call."""
    return registry.pipeline("http", host, 80)


def test_a_block_has_its_own_numbers() -> None:
    """Inside, the pipeline has them; outside, the one of the origin is there again."""
    registry = Registry()
    usual = entry(registry)
    with handrail.policy(attempts=1, total_timeout=5):
        inside = entry(registry)
        assert (inside.settings.attempts, inside.settings.total_timeout) == (1, 5.0)
        assert str(inside.pipeline).startswith("TotalTimeout(5 s) > Retry(1 attempts")
    assert entry(registry) is usual


def test_state_is_shared_by_all_policies() -> None:
    """The breaker of an origin hears of every call, whatever numbers the code gave it."""
    registry = Registry()
    usual = entry(registry)
    with handrail.policy(attempts=1):
        assert entry(registry).state is usual.state
        assert entry(registry).breaker is usual.breaker


def test_the_inner_is_laid_over_the_outer() -> None:
    """Name by name; what the inner one does not say is as outside, and comes back after it."""
    registry = Registry()
    with handrail.policy(attempts=1, total_timeout=5):
        with handrail.policy(attempts=2):
            now = entry(registry).settings
            assert (now.attempts, now.total_timeout) == (2, 5.0)
        assert entry(registry).settings.attempts == 1
    assert at_hand.get() is None


def test_a_route_keeps_the_policy() -> None:
    """Where paths of the origin have breakers of their own, numbers and fallback are those of the block as well."""
    registry = Registry(ResilienceSettings(breaker_routes=("/charges/*",)))
    with handrail.policy(attempts=1, total_timeout=5, fallback=lambda _: None):
        route = entry(registry).route("/charges/1")
        assert str(route.pipeline).startswith("Fallback() > TotalTimeout(5 s) > Retry(1 attempts")
        assert route.times_chosen
        assert route.breaker is not entry(registry).breaker


def test_what_an_attempt_gains_the_total_gains() -> None:
    """A longer attempt is no contradiction: as with a client's own timeout, the total grows with it."""
    registry = Registry()
    with handrail.policy(attempt_timeout=60):
        now = entry(registry).settings
        assert (now.attempt_timeout, now.total_timeout) == (60.0, 80.0)
    with handrail.policy(total_timeout=2):
        assert entry(registry).settings.attempt_timeout == 2.0


def test_pipelines_are_kept_and_bounded() -> None:
    """The same policy has the same pipeline, whatever function is its fallback; a thousand keep no thousand."""
    registry = Registry()

    def under(**options: Any) -> Entry:
        with handrail.policy(**options):
            return entry(registry)

    assert under(attempts=1) is under(attempts=1)
    assert under(fallback=lambda _: None) is under(fallback=lambda _: None)
    assert under(fallback=None) is not under(fallback=lambda _: None)
    for number in range(1, 1001):
        under(total_timeout=number)
    assert len(entry(registry)._others or ()) <= 32


def test_it_goes_into_tasks_and_threads() -> None:
    """Tasks begun in the block have it, also after its end; a thread that copies the context, too."""
    registry = Registry()

    async def asks() -> int:
        return entry(registry).settings.attempts

    async def main() -> tuple[int, int, int]:
        with handrail.policy(attempts=1):
            task = asyncio.create_task(asks())
            thread = await asyncio.to_thread(lambda: entry(registry).settings.attempts)
        return await task, thread, await asks()

    assert asyncio.run(main()) == (1, 1, 3)


def test_it_goes_into_executors_and_no_further(spans: Spans) -> None:
    """With handrail on, also where Python itself copies no context; a bare thread, which may serve for ever, not."""
    handrail.protect(_app)
    registry = Registry()
    seen: list[int] = []

    def look() -> None:
        seen.append(entry(registry).settings.attempts)

    with handrail.policy(attempts=1), ThreadPoolExecutor(1) as pool:
        pool.submit(look).result()
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
    assert seen == [1, 3]


def test_one_object_serves_many_tasks_at_once() -> None:
    """A policy made once for a module is entered by overlapping tasks, again and in itself."""
    registry = Registry()
    brief = handrail.policy(attempts=1)

    async def use(inner: asyncio.Event, leave: asyncio.Event) -> list[int]:
        found = [entry(registry).settings.attempts]
        with brief:
            inner.set()
            await leave.wait()
            with brief:
                found.append(entry(registry).settings.attempts)
        return [*found, entry(registry).settings.attempts]

    async def main() -> list[list[int]]:
        events = [asyncio.Event() for _ in range(3)]
        first = asyncio.create_task(use(events[0], events[1]))
        await events[0].wait()
        second = asyncio.create_task(use(events[1], events[2]))
        events[2].set()
        return [await first, await second]

    assert asyncio.run(main()) == [[3, 1, 3], [3, 1, 3]]


def test_a_block_left_elsewhere_changes_nothing_there() -> None:
    """Left in another context than it was entered in (a fixture, a generator): no error."""
    block = handrail.policy(attempts=1)
    contextvars.copy_context().run(block.__enter__)
    block.__exit__(None, None, None)
    assert at_hand.get() is None
    with handrail.policy(attempts=2):
        here = at_hand.get()
        block.__exit__(None, None, None)
        assert at_hand.get() is here


def test_around_a_function() -> None:
    """As a decorator: with and without async, name and signature kept; a generator is refused."""
    registry = Registry()

    @handrail.policy(attempts=1)
    def plain(host: str) -> int:
        """Kept."""
        return entry(registry, host).settings.attempts

    @handrail.policy(attempts=2)
    async def on_loop(host: str) -> int:
        return entry(registry, host).settings.attempts

    assert (plain("peer"), asyncio.run(on_loop("peer"))) == (1, 2)
    assert (plain.__name__, plain.__doc__) == ("plain", "Kept.")
    assert asyncio.iscoroutinefunction(on_loop)
    with pytest.raises(TypeError, match="generator"):
        handrail.policy(attempts=1)(iter_of_nothing)


def iter_of_nothing() -> Any:
    """A generator."""
    yield


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"attempts": 0}, "attempts = 0 (policy): must be a whole number from 1 (no retries) to 20"),
        ({"attempts": "3"}, "attempts = '3' (policy): must be a whole number, such as 3, without quotes"),
        ({"attempt_timeout": -1}, "attempt_timeout = -1 (policy): must be seconds from 0.001 to 86400"),
        ({"idempotent": "yes"}, "idempotent = 'yes' (policy): must be true or false"),
        ({"fallback": 3}, "fallback = 3 (policy): must be a function that takes the error or the failed response"),
        ({"retries": 3}, "retries = 3 (policy): no such option of a policy; known are attempts,"),
        ({"breaker_window": 3}, "breaker_window = 3 (policy): no such option of a policy"),
        (
            {"attempt_timeout": 9, "total_timeout": 5},
            "attempt_timeout = 9.0 (policy): must be at most total_timeout, which is 5 s",
        ),
    ],
)
def test_a_mistake_is_said_at_once(options: dict[str, Any], said: str) -> None:
    """Name, value and what is allowed, before any call is made."""
    with pytest.raises(SettingsError) as caught:
        handrail.policy(**options)
    assert said in str(caught.value)


@pytest.mark.parametrize(("idempotent", "mode"), [(True, "always"), (False, "off")])
def test_idempotent_says_how_keys_are_given(idempotent: bool, mode: str) -> None:
    """True: every POST and PATCH of the block has a key; False: none has."""
    registry = Registry(ResilienceSettings(idempotency_keys="auto"))
    with handrail.policy(idempotent=idempotent):
        assert entry(registry).settings.idempotency_keys == mode


async def _app(scope: Any, receive: Any, send: Any) -> None: ...


@pytest.fixture
def dead() -> str:
    """An address where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/"


@pytest.fixture
def calls(spans: Spans, dead: str) -> "tuple[str, list[object]]":
    """Handrail is on; the address of nobody, and what is told meanwhile."""
    handrail.protect(_app, backoff_base=0.0)
    told: list[object] = []
    process = _wire.current()
    assert process is not None
    process.listeners.add(told.append)
    return dead, told


def test_a_fallback_answers_in_place_of_a_dead_peer(calls: tuple[str, list[object]]) -> None:
    """httpx, on a thread and on a loop: the fallback's response is the client's, asked once, after all attempts."""
    url, told = calls
    asked: list[object] = []

    def instead(failed: object) -> httpx.Response:
        asked.append(failed)
        return httpx.Response(200, json={"items": []})

    async def on_loop() -> httpx.Response:
        async def later(failed: object) -> httpx.Response:
            return instead(failed)

        async with httpx.AsyncClient() as client:
            with handrail.policy(fallback=later, attempts=2):
                return await client.get(url)

    with handrail.policy(fallback=instead, attempts=2):
        found = [httpx.get(url), asyncio.run(on_loop())]
    assert [response.json() for response in found] == [{"items": []}] * 2
    assert [response.request.url for response in found] == [url] * 2
    assert [type(failed) for failed in asked] == [httpx.ConnectError] * 2
    assert [(event.kind, event.cause) for event in told if isinstance(event, FallbackUsed)] == [
        ("fallback", "connect")
    ] * 2


def test_a_policy_with_a_time_is_more_than_the_clients_timeout() -> None:
    """What the block says about time holds, though the client was made with a long one."""
    registry = Registry()
    assert entry(registry).times_chosen is False
    with handrail.policy(attempts=1):
        assert entry(registry).times_chosen is False
    with handrail.policy(total_timeout=1):
        assert entry(registry).times_chosen is True


def test_pipelines_can_be_printed(calls: tuple[str, list[object]]) -> None:
    """Each origin that was called, with what stands around it; nothing where handrail is off."""
    url, _ = calls
    with pytest.raises(httpx.ConnectError), handrail.policy(attempts=1):
        httpx.get(url)
    ((target, text),) = handrail.pipelines().items()
    assert url.startswith(target)
    assert text.startswith("TotalTimeout(30 s) > Retry(3 attempts")
    _wire.switch_off()
    assert handrail.pipelines() == {}
