"""`handrail.breakers()`: what people and admin endpoints do with breakers."""

import asyncio
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import httpx
import httpx2
import pytest
import requests
import urllib3

import handrail
from handrail import _wire
from handrail.resilience import CircuitOpen
from handrail.resilience.testing import ScriptedWire

ORIGIN = ("http", "payment", 8003)
TARGET = "http://payment:8003"


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Iterator[_wire.Process]:
    """handrail, switched on for the test."""
    _wire.switch_off()
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    yield _wire.switch_on({"attempts": 1, "breaker_routes": ("/charges/*",)})
    _wire.switch_off()


def call(process: _wire.Process, step: str | int, path: str = "/") -> int:
    """One call to a path of the origin."""
    entry = process.registry.pipeline(*ORIGIN).route(path)
    return entry.pipeline.run_sync(ScriptedWire(step).call(target=TARGET)).status


def test_there_are_none_before_handrail_is_on() -> None:
    """An admin endpoint of a service that does not use it shows nothing, and fails at nothing but a name."""
    _wire.switch_off()
    assert dict(handrail.breakers()) == {}
    with pytest.raises(LookupError, match="not switched on"):
        handrail.breakers().of(TARGET)


def test_they_are_listed_by_origin_with_what_they_are(process: _wire.Process) -> None:
    """State, share, number of calls and remaining time, all of them plain values."""
    for _ in range(10):
        call(process, 503)
    call_to = process.registry.pipeline("http", "stock", 80).pipeline
    call_to.run_sync(ScriptedWire("ok").call())
    seen = handrail.breakers()
    assert list(seen) == [TARGET, "http://stock"]
    one = seen[TARGET]
    assert (one.target, one.state, one.failure_rate, one.calls) == (TARGET, "open", 1.0, 10)
    assert one.retry_after is not None
    assert 13 < one.retry_after < 17
    assert one.reason == "100 % of 10 calls failed in the last 30 s"
    assert (seen["http://stock"].state, seen["http://stock"].retry_after) == ("closed", 0.0)
    assert json.dumps({one.target: [one.state, one.isolated, one.recovering, one.retry_after] for one in seen.values()})
    assert "open: 100 % of 10 calls failed" in repr(seen)


def test_an_unknown_target_is_named_with_the_known_ones(process: _wire.Process) -> None:
    """Who mistypes an origin sees how they are written."""
    call(process, "ok")
    with pytest.raises(KeyError, match=f"no breaker for 'payment'; there are: {TARGET}"):
        handrail.breakers()["payment"]


def test_isolate_holds_and_close_lets_go_from_any_thread(process: _wire.Process) -> None:
    """The hand is another thread's; the calls are refused until it closes, with no time to come back at."""
    one = handrail.breakers().of(f"{TARGET}/anything?q=1")
    with ThreadPoolExecutor(1) as hand:
        assert hand.submit(one.isolate).result() is True
        assert hand.submit(one.isolate).result() is False
        with pytest.raises(CircuitOpen, match="isolated by hand") as refused:
            call(process, "ok")
        assert refused.value.retry_after is None
        assert (one.state, one.isolated, one.retry_after) == ("open", True, None)
        assert hand.submit(one.close).result() is True
    assert call(process, "ok") == 200
    assert (one.state, one.isolated, one.recovering) == ("closed", False, True)
    assert repr(one) == f"<Breaker {TARGET} closed (recovering)>"
    assert one.reset() is False
    assert not one.recovering


def test_a_route_is_held_alone(process: _wire.Process) -> None:
    """A breaker of a route refuses the calls of that route, and none of the rest of the origin."""
    handrail.breakers().of(f"{TARGET}/charges/7").isolate()
    assert [one.isolated for one in handrail.breakers().values()] == [False, True]
    with pytest.raises(CircuitOpen, match=r"http://payment:8003/charges/\*"):
        call(process, "ok", "/charges/1")
    assert call(process, "ok", "/refunds/1") == 200


@pytest.mark.parametrize("url", ["payment:8003", "ftp://payment", "http://", "/charges"])
def test_what_is_no_origin_is_refused(process: _wire.Process, url: str) -> None:
    """A name alone says neither scheme nor port."""
    with pytest.raises(ValueError, match="no http or https URL"):
        handrail.breakers().of(url)


LETTERS = "http://bücher.example:8003"


def _by_aiohttp(url: str) -> None:
    async def main() -> None:
        async with aiohttp.ClientSession() as session:
            await session.get(url)

    asyncio.run(main())


@pytest.mark.parametrize(
    "get",
    [
        httpx.get,
        httpx2.get,
        lambda url: requests.get(url, timeout=1),
        lambda url: urllib3.PoolManager().request("GET", url),
        _by_aiohttp,
    ],
    ids=["httpx", "httpx2", "requests", "urllib3", "aiohttp"],
)
@pytest.mark.parametrize("called", [LETTERS, "http://xn--bcher-kva.example:8003"])
def test_a_name_in_letters_is_the_one_that_is_called(
    process: _wire.Process, get: Callable[[str], object], called: str
) -> None:
    """Clients say it in letters or as the DNS has it: one origin, one breaker, found by either."""
    handrail.breakers().of(LETTERS).isolate()
    with pytest.raises(CircuitOpen):
        get(called)
    (found,) = handrail.breakers()
    assert found == "http://xn--bcher-kva.example:8003"
    assert handrail.breakers()[LETTERS].isolated
    assert handrail.breakers().of(found).isolated


def test_names_that_the_dns_tells_apart_are_apart(process: _wire.Process) -> None:
    """With an eszett a name is another one than with two s (IDNA 2008), as it is to the clients."""
    handrail.breakers().of("https://straße.example").isolate()
    assert not handrail.breakers().of("https://strasse.example").isolated
    assert len(handrail.breakers()) == 2


def test_what_is_no_name_is_an_origin_nevertheless(process: _wire.Process) -> None:
    """No rule reads it: it is kept as it is written, and nothing fails."""
    name = "http://" + "ü" * 80
    handrail.breakers().of(f"{name}/").isolate()
    assert handrail.breakers()[name].isolated
