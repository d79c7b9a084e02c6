"""Stale-on-error through requests and urllib3: what the code sees of an answer that was kept, and when none is."""

import gzip
import io
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import requests
import urllib3
from requests.adapters import HTTPAdapter

from handrail.resilience import outbound
from handrail.resilience.events import Event, FallbackUsed, Listeners
from handrail.resilience.outbound import _urllib3_keep
from handrail.resilience.policy import Tools
from handrail.resilience.registry import Registry
from handrail.resilience.settings import ResilienceSettings
from tests.certificates import authority

Guard = Callable[..., list[Event]]


@pytest.fixture
def guard() -> Iterator[Guard]:
    """Both guarded, with stale-on-error; returns the events."""
    undos: list[Callable[[], None]] = []

    def install(module: ModuleType = requests, **settings: Any) -> list[Event]:
        events: list[Event] = []
        chosen = {"backoff_base": 0.0, "stale_on_error": 60.0, "attempts": 1, "breaker_failure_rate": 1.0, **settings}
        registry = Registry(ResilienceSettings(**chosen), Tools(emit=Listeners(events.append)))
        undos.append(outbound.install(module, registry))
        return events

    yield install
    for undo in undos:
        undo()


def _by_requests(url: str, **options: Any) -> tuple[int, bytes]:
    found = requests.get(url, timeout=5, **options)
    return found.status_code, found.content


def _by_urllib3(url: str, **options: Any) -> tuple[int, bytes]:
    with urllib3.PoolManager() as pool:
        found = pool.request("GET", url, **options)
        return found.status, found.data


def _by_a_pool(url: str, **options: Any) -> tuple[int, bytes]:
    with urllib3.connection_from_url(url) as pool:
        found = pool.request("GET", f"/{url.partition('://')[2].partition('/')[2]}", **options)
        return found.status, found.data


EACH = pytest.mark.parametrize("get", [_by_requests, _by_urllib3, _by_a_pool], ids=["requests", "urllib3", "pool"])
Get = Callable[..., tuple[int, bytes]]


@EACH
@pytest.mark.parametrize("failure", ["answer", "reset", "close", "end_in_body"])
def test_the_last_good_answer_stands_in(server: Any, steps: Any, guard: Guard, get: Get, failure: str) -> None:
    """For a bad status, a broken connection, a body that breaks off; by a session or pool of its own for each call."""
    events = guard(attempts=2)
    failed = steps.answer(503, b"down") if failure == "answer" else getattr(steps, failure)
    server.script(steps.answer(200, b"good"), otherwise=failed)
    assert [get(f"{server.url}/items") for _ in range(3)] == [(200, b"good")] * 3
    assert len(server.received) == 5
    assert [event.kind for event in events if isinstance(event, FallbackUsed)] == ["stale"] * 2


@EACH
def test_an_open_circuit_is_stood_in_for(server: Any, steps: Any, guard: Guard, get: Get) -> None:
    """What is refused without an attempt is answered from what is kept."""
    guard(breaker_minimum_calls=2, breaker_failure_rate=0.3)
    server.script(steps.answer(), otherwise=steps.reset)
    assert [get(server.url + "/")[0] for _ in range(6)] == [200] * 6
    assert len(server.received) < 6


@EACH
def test_without_a_good_answer_the_failure_is_the_answer(server: Any, steps: Any, guard: Guard, get: Get) -> None:
    """Nothing is invented; another path has nothing of this one's."""
    guard()
    server.script(steps.answer(), otherwise=steps.answer(503, b"down"))
    assert get(server.url + "/a")[0] == 200
    assert get(server.url + "/b") == (503, b"down")


@EACH
@pytest.mark.parametrize(
    "headers",
    [{"Authorization": "Bearer x"}, {"Cookie": "session=x"}, {"Range": "bytes=0-1"}, {"Cache-Control": "no-store"}],
    ids=str,
)
def test_what_may_not_be_kept_is_not(server: Any, steps: Any, guard: Guard, get: Get, headers: dict[str, str]) -> None:
    """One user's answer is never another's, whichever library asks."""
    guard()
    server.script(steps.answer(), otherwise=steps.answer(503))
    get(server.url + "/", headers=headers)
    assert get(server.url + "/", headers=headers)[0] == 503
    assert get(server.url + "/")[0] == 503


def test_names_of_headers_as_bytes_are_names(server: Any, steps: Any, guard: Guard) -> None:
    """urllib3 takes them, and a credential is one."""
    guard(urllib3)
    server.script(steps.answer(), otherwise=steps.answer(503))
    _by_urllib3(server.url + "/", headers={b"authorization": b"Bearer x"})
    assert _by_urllib3(server.url + "/", headers={b"authorization": b"Bearer x"})[0] == 503


@EACH
def test_a_long_body_is_not_kept(server: Any, steps: Any, guard: Guard, get: Get) -> None:
    """64 KiB each, and it reaches the caller whole."""
    guard()
    long = b"x" * (64 * 1024 + 1)
    server.script(steps.answer(200, long), otherwise=steps.answer(503))
    assert get(server.url + "/") == (200, long)
    assert get(server.url + "/")[0] == 503


@EACH
def test_a_streamed_body_is_neither_kept_nor_read(server: Any, steps: Any, guard: Guard, get: Get) -> None:
    """A stream stays a stream."""
    guard()
    server.script(steps.answer(), otherwise=steps.answer(503))
    stream = {"stream": True} if get is _by_requests else {"preload_content": False}
    assert get(server.url + "/", **stream)[0] == 200
    assert get(server.url + "/")[0] == 503


@EACH
def test_a_change_forgets_the_answer(server: Any, steps: Any, guard: Guard, get: Get) -> None:
    """RFC 9111, 4.4: a POST to the URL that went well."""
    guard()
    server.script(steps.answer(), steps.answer(), otherwise=steps.answer(503))
    get(server.url + "/")
    if get is _by_requests:
        requests.post(server.url + "/", data=b"x", timeout=5)
    else:
        with urllib3.PoolManager() as pool:
            pool.request("POST", server.url + "/", body=b"x")
    assert get(server.url + "/")[0] == 503


def test_a_kept_response_of_requests_is_like_the_one_that_was_kept(server: Any, steps: Any, guard: Guard) -> None:
    """All that code asks of it: decoded body, headers as written and by any case, encoding, URL, hooks, iteration."""
    guard()
    body = gzip.compress('{"büch": [1]}'.encode())
    kind = "application/json; charset=utf-8"
    good = steps.answer(200, body, Content_Encoding="gzip", Content_Type=kind, X_Two="1", x_two="2", ETag='"a"')
    server.script(good, otherwise=steps.answer(503))
    seen: list[int] = []
    with requests.Session() as session:
        session.hooks["response"].append(lambda found, *_, **__: seen.append(found.status_code))
        first, second = (session.get(f"{server.url}/items?a=1", timeout=5) for _ in range(2))
    assert first.json() == second.json() == {"büch": [1]}
    assert seen == [200, 200]
    told = dict(second.headers)
    assert (told.pop("age"), told.pop("cache-status")) == ("0", "handrail; hit; detail=stale-on-error")
    assert told == dict(first.headers)
    assert list(second.headers)[: len(told)] == list(first.headers)
    for name in (
        "status_code",
        "reason",
        "encoding",
        "url",
        "content",
        "text",
        "ok",
        "links",
        "history",
        "is_redirect",
    ):
        assert getattr(second, name) == getattr(first, name), name
    assert second.raw.version == first.raw.version
    assert second.raw.read() == first.raw.read() == b""
    assert second.raw.closed == first.raw.closed
    assert list(second.iter_content(4)) == list(first.iter_content(4))
    assert list(second.iter_lines()) == list(first.iter_lines())
    assert dict(second.cookies) == {}
    assert second.elapsed.total_seconds() >= 0
    assert second.connection is first.connection
    second.raise_for_status()
    second.close()


def test_a_kept_response_of_urllib3_is_like_the_one_that_was_kept(server: Any, steps: Any, guard: Guard) -> None:
    """Likewise: decoded data, headers of one name apart, status, reason, version."""
    guard(urllib3)
    good = steps.answer(200, gzip.compress(b"[1]"), Content_Encoding="gzip", X_Two="1", x_two="2")
    server.script(good, otherwise=steps.answer(503))
    with urllib3.PoolManager() as pool:
        first, second = (pool.request("GET", f"{server.url}/items") for _ in range(2))
        assert first.data == second.data == b"[1]"
        for name in ("status", "reason", "version", "data", "decode_content", "closed"):
            assert getattr(second, name) == getattr(first, name), name
        told = list(second.headers.items())
        assert told[-2:] == [("age", "0"), ("cache-status", "handrail; hit; detail=stale-on-error")]
        assert told[:-2] == list(first.headers.items())
        assert second.headers.getlist("x-two") == ["1", "2"]
        assert second.read() == first.read() == b""
        assert second.geturl() == first.geturl()
        second.release_conn()
        second.drain_conn()
        assert len(pool.pools) == 1


def test_the_connection_of_the_failed_answer_is_used_again(server: Any, steps: Any, guard: Guard) -> None:
    """What stands in leaves no response open behind it."""
    guard()
    server.script(steps.answer(), otherwise=steps.answer(503))
    with requests.Session() as session:
        assert [session.get(server.url, timeout=5).status_code for _ in range(3)] == [200] * 3
    assert server.connections == 1


def test_what_was_reached_over_redirects_is_not_the_answer(server: Any, steps: Any, guard: Guard) -> None:
    """A pool of urllib3 follows them within one call; the first hop may have said that nobody may keep it."""
    guard(urllib3)
    server.script(steps.answer(302, b"", location="/there"), steps.answer(), otherwise=steps.answer(503))
    assert _by_a_pool(f"{server.url}/here")[0] == 200
    assert _by_a_pool(f"{server.url}/here")[0] == 503


def test_a_body_that_was_cut_short_is_not_kept() -> None:
    """urllib3 1.26 takes it for whole, and so does whoever asks for no `enforce_content_length`."""
    found = [
        urllib3.HTTPResponse(io.BytesIO(b"half"), {"content-length": length}, 200, enforce_content_length=False)
        for length in ("4", "100")
    ]
    assert [one.data for one in found] == [b"half", b"half"]
    whole, cut = (_urllib3_keep.parts(one, 100) for one in found)
    assert whole is not None
    assert whole.body == b"half"
    assert cut is None


def test_retries_that_the_code_wrote_are_stood_in_for(server: Any, steps: Any, guard: Guard) -> None:
    """Its own `Retry` gives up first; what is kept comes then."""
    guard(urllib3)
    server.script(steps.answer(), otherwise=steps.answer(503))
    retries = urllib3.Retry(1, status_forcelist=[503], backoff_factor=0)
    assert [_by_urllib3(server.url + "/", retries=retries)[0] for _ in range(2)] == [200, 200]
    assert len(server.received) == 3


Make = Callable[[Path, str], dict[str, Any]]


def _certificate(folder: Path, _url: str) -> dict[str, Any]:
    made = authority(folder, f"me{len(list(folder.iterdir()))}")
    return {"cert": (str(made.cert), str(made.key))}


OF_REQUESTS: dict[str, Make] = {
    "a client certificate": _certificate,
    "no trust needed": lambda _folder, _url: {"verify": False},
    "another trust": lambda folder, _url: {"verify": str(authority(folder, "them").cert)},
    "a proxy": lambda _folder, url: {"proxies": {"http": url}},
}


@pytest.mark.parametrize("way", OF_REQUESTS)
def test_sessions_that_reach_the_peer_otherwise_share_nothing(
    server: Any, steps: Any, guard: Guard, tmp_path: Path, way: str
) -> None:
    """Other certificates, trust or proxies: another client; the same of them is the same client."""
    guard()
    other = OF_REQUESTS[way](tmp_path, server.url)
    options: list[tuple[dict[str, Any], dict[str, Any]]] = [({}, other), (other, {})]
    for number, (first, second) in enumerate(options):
        url = f"{server.url}/{number}"
        server.script(steps.answer(), otherwise=steps.answer(503))
        assert [_by_requests(url, **one)[0] for one in (first, second, first)] == [200, 503, 200]


class Custom(HTTPAdapter):
    """As those that give a context with a certificate."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, ssl_context=ssl.create_default_context(), **options)


class Same(HTTPAdapter):
    """Nobody knows what else it does."""


@pytest.mark.parametrize("kind", [Custom, Same])
def test_an_adapter_of_the_codes_own_is_the_same_as_itself_alone(
    server: Any, steps: Any, guard: Guard, kind: type[HTTPAdapter]
) -> None:
    """What it does to its connections is not to be seen from here."""
    guard()
    server.script(steps.answer(), otherwise=steps.answer(503))
    with requests.Session() as one, requests.Session() as other:
        for session in (one, other):
            session.mount("http://", kind())
        assert [who.get(server.url, timeout=5).status_code for who in (one, one, other)] == [200, 200, 503]


OF_POOLS: dict[str, Make] = {
    "a certificate": lambda folder, _url: {"cert_file": str(authority(folder, "me").cert)},
    "a context": lambda _folder, _url: {"ssl_context": ssl.create_default_context()},
    "a name to be shown": lambda _folder, _url: {"assert_hostname": "somebody.test"},
    "no trust needed": lambda _folder, _url: {"cert_reqs": "CERT_NONE"},
}


@pytest.mark.parametrize("way", OF_POOLS)
def test_pools_that_reach_the_peer_otherwise_are_not_the_same(tmp_path: Path, way: str) -> None:
    """As far as urllib3 tells: by what an https pool was made with."""
    way_of = _urllib3_keep._way
    options = OF_POOLS[way](tmp_path, "")
    plain, also, other, again = (
        urllib3.HTTPSConnectionPool("peer.test", 443, **told) for told in ({}, {}, options, options)
    )
    assert way_of(plain, decoded=True) == way_of(also, decoded=True) != way_of(other, decoded=True)
    assert way_of(other, decoded=True) == way_of(again, decoded=True)
    assert way_of(plain, decoded=False) != way_of(plain, decoded=True)


def test_pools_behind_a_proxy_are_not_the_same(server: Any, steps: Any, guard: Guard) -> None:
    """The proxy answers, or lets somebody answer."""
    guard(urllib3)
    server.script(steps.answer(), otherwise=steps.answer(503))
    url = server.url + "/"
    assert _by_urllib3(url)[0] == 200
    with urllib3.ProxyManager(server.url) as proxy:
        assert proxy.request("GET", url).status == 503
    assert _by_urllib3(url)[0] == 200


def test_libraries_share_nothing(server: Any, steps: Any, guard: Guard) -> None:
    """What one has decoded, another would decode again."""
    guard()
    server.script(steps.answer(), otherwise=steps.answer(503))
    headers = {"Accept": "*/*", "User-Agent": "a", "Accept-Encoding": "gzip"}
    assert _by_urllib3(server.url + "/", headers=headers)[0] == 200
    with requests.Session() as session:
        session.headers.clear()
        assert session.get(server.url + "/", headers=headers, timeout=5).status_code == 503
