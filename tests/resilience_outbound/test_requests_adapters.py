"""Adapters of a service's own above requests' are guarded however they hand on what they were given."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool

from handrail.resilience import outbound
from handrail.resilience.registry import Registry
from handrail.resilience.settings import ResilienceSettings


@pytest.fixture(autouse=True)
def guarded() -> Iterator[None]:
    undo = outbound.install(requests, Registry(ResilienceSettings(backoff_base=0.0)))
    yield
    undo()


class Positional(HTTPAdapter):
    """As CacheControl's and many hand-written ones."""

    def send(
        self, request: Any, stream: Any = False, timeout: Any = None, verify: Any = True, cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:  # fmt: skip
        return super().send(request, stream, timeout, verify, cert, proxies)


class TooMany(HTTPAdapter):
    def send(self, request: Any, *args: Any, **options: Any) -> requests.Response:
        return super().send(request, False, None, True, None, None, "more")  # type: ignore[call-arg] # the mistake


def test_arguments_by_position(server: Any, steps: Any) -> None:
    """`super().send(request, stream, timeout, verify, cert, proxies)` has retries as every call has."""
    server.script(steps.answer(503), steps.answer(503))
    with requests.Session() as session:
        session.mount("http://", Positional())
        assert session.get(server.url).text == "fine"
    assert [one.all("x-envoy-attempt-count") for one in server.received] == [[], ["2"], ["3"]]


def test_too_many_arguments(server: Any) -> None:
    """A call that requests refuses is refused as without handrail, and nothing is sent."""
    with requests.Session() as session:
        session.mount("http://", TooMany())
        with pytest.raises(TypeError, match="positional"):
            session.get(server.url)
    assert not server.received


class Taped(HTTPConnection):
    """As vcr puts it into the pools while a cassette is in use."""


Taped.__module__ = "vcr.stubs.requests_stubs"


@pytest.mark.parametrize("ask", [requests.get, lambda url: urllib3.request("GET", url)])
def test_cassettes_of_vcr(server: Any, steps: Any, ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is played or taped is sent as the code says it: a cassette with one 503 has no second."""
    monkeypatch.setattr(HTTPConnectionPool, "ConnectionCls", Taped)
    server.script(otherwise=steps.answer(503))
    ask(server.url)
    assert len(server.received) == 1
    monkeypatch.undo()
    ask(server.url)
    assert len(server.received) == 4
