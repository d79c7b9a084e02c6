"""An answer of ours to a failed dependency says whether anybody further out should retry: for every client library."""

import asyncio
import importlib
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import httpx
import pytest
import requests
import urllib3

from handrail.resilience import outbound
from handrail.resilience.inbound._answer import Answer, answer_to
from handrail.resilience.outbound.failure import Failure, failure_of, mark
from handrail.resilience.registry import Registry
from handrail.resilience.settings import ResilienceSettings

Ask = Callable[[str, str], Exception]


def with_httpx(method: str, url: str) -> None:
    httpx.request(method, url).raise_for_status()


def with_requests(method: str, url: str) -> None:
    requests.request(method, url).raise_for_status()


def with_aiohttp(method: str, url: str, **options: Any) -> None:
    async def main() -> None:
        async with aiohttp.ClientSession(**options) as session, session.request(method, url) as response:
            response.raise_for_status()

    asyncio.run(main())


def with_aiohttp_of_itself(method: str, url: str) -> None:
    with_aiohttp(method, url, raise_for_status=True)


def with_urllib3(method: str, url: str) -> None:
    with urllib3.PoolManager() as pool:
        pool.request(method, url)


WAYS = [with_httpx, with_requests, with_aiohttp, with_aiohttp_of_itself]


@pytest.fixture
def guard() -> Iterator[Callable[..., None]]:
    """Installs under all libraries; pauses between attempts have no length."""
    undos: list[Callable[[], None]] = []

    def install(**settings: Any) -> None:
        registry = Registry(ResilienceSettings(**{"backoff_base": 0.0, **settings}))
        undos.extend(
            outbound.install(importlib.import_module(name), registry) for name in ("httpx", "requests", "aiohttp")
        )

    yield install
    for undo in reversed(undos):
        undo()


def answered(way: Callable[[str, str], None], method: str, url: str) -> Answer:
    with pytest.raises(Exception) as caught:
        way(method, url)
    found = answer_to(caught.value)
    assert found is not None, repr(caught.value)
    return found


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("theirs", "ours"), [(429, 503), (502, 503), (503, 503), (504, 504)])
def test_an_answer_whose_retries_are_used_up(
    server: Any, steps: Any, guard: Any, way: Any, theirs: int, ours: int
) -> None:
    """Retried and failed again: ours in kind, the origin named, and nobody should add attempts."""
    guard(attempts=2)
    server.script(otherwise=steps.answer(theirs))
    found = answered(way, "GET", f"{server.url}/items?token=secret")
    assert (found.status, found.kind, found.target) == (ours, f"dependency-{theirs}", server.url)
    assert (found.overloaded, len(server.received)) == (True, 2)
    assert "secret" not in found.detail


@pytest.mark.parametrize("way", WAYS)
def test_an_answer_that_may_be_asked_for_again(server: Any, steps: Any, guard: Any, way: Any) -> None:
    """A POST is not repeated by us; its caller may know better. What the peer asks to wait is handed on."""
    guard()
    server.script(otherwise=steps.answer(503, Retry_After="7"))
    found = answered(way, "POST", server.url)
    assert (found.status, found.retry_after, found.overloaded) == (503, 7.0, False)


@pytest.mark.parametrize("way", WAYS)
def test_a_peer_that_said_so_itself(server: Any, steps: Any, guard: Any, way: Any) -> None:
    """What the hop behind says of its retries is handed on."""
    guard()
    server.script(otherwise=steps.answer(503, x_envoy_overloaded="true"))
    assert answered(way, "POST", server.url).overloaded


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("status", [404, 500])
def test_other_answers_are_not_ours(server: Any, steps: Any, guard: Any, way: Any, status: int) -> None:
    """Their own fault, or the service's: it stays the service's error."""
    guard()
    server.script(otherwise=steps.answer(status))
    with pytest.raises(Exception) as caught:
        way("GET", server.url)
    assert answer_to(caught.value) is None


@pytest.mark.parametrize("way", [*WAYS, with_urllib3])
@pytest.mark.parametrize(("attempts", "again"), [(1, False), (2, True)])
def test_a_timeout(server: Any, steps: Any, guard: Any, way: Any, attempts: int, again: bool) -> None:
    """504 for what was too slow; after retries nobody should add more."""
    guard(attempts=attempts, attempt_timeout=0.05)
    server.script(otherwise=steps.hang)
    found = answered(way, "GET", server.url)
    assert (found.status, found.target, found.overloaded) == (504, server.url, again)


@pytest.mark.parametrize("way", [*WAYS, with_urllib3])
def test_a_peer_that_is_not_there(silent: Any, guard: Any, way: Any) -> None:
    """503 with the attempts that were made."""
    guard(attempts=2)
    found = answered(way, "GET", silent.url)
    assert (found.status, found.kind, found.overloaded) == (503, "dependency-unreachable", True)


@pytest.mark.parametrize(("method", "again"), [("GET", True), ("PATCH", False)])
def test_what_urllib3_makes_of_an_answer(server: Any, steps: Any, guard: Any, method: str, again: bool) -> None:
    """It has no `raise_for_status()`: the answer carries the note, also where the peer asks to wait."""
    guard(attempts=2)
    for step in (steps.answer(503), steps.answer(503, Retry_After="0")):
        server.script(otherwise=step)
        with urllib3.PoolManager() as pool:
            noted = failure_of(pool.request(method, server.url))
        assert (noted is not None and noted.used_up) is again


def test_an_error_without_a_response() -> None:
    """One that code made by hand is no answer of a dependency."""
    assert answer_to(requests.HTTPError("made by hand")) is None


def test_credentials_in_a_url_are_not_told(server: Any, steps: Any, guard: Any) -> None:
    """The origin is named without what stands before its @."""
    guard()
    server.script(otherwise=steps.answer(503))
    url = server.url.replace("http://", "http://me:secret@")
    found = answered(with_requests, "POST", url)
    assert (found.target, "secret" in found.detail) == (server.url, False)


def test_what_cannot_be_marked_is_left() -> None:
    """A fallback may answer with anything."""
    failed = object()
    mark(failed, Failure("http://peer", 1, "503"))
    assert failure_of(failed) is None
