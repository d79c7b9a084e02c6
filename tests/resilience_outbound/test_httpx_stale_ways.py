"""Two clients that are somebody else to the peer, or trust another one, share no kept answer."""

import asyncio
import gc
import ssl
import weakref
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from handrail.resilience.outbound._way import same
from tests.certificates import authority

pytestmark = pytest.mark.filterwarnings("ignore:`cert=:DeprecationWarning")  # it still works, and is still used

Options = dict[str, Any]
Make = Callable[[Path, str], Options]


def _certificate(folder: Path, url: str) -> Options:
    made = authority(folder, f"me{len(list(folder.iterdir()))}")
    return {"cert": (str(made.cert), str(made.key))}


def _other_trust(folder: Path, url: str) -> Options:
    return {"verify": ssl.create_default_context(cafile=authority(folder, "them").cert)}


WAYS: dict[str, Make] = {
    "a client certificate": _certificate,
    "another trust": _other_trust,
    "a context of one's own": lambda _folder, _url: {"verify": ssl.create_default_context()},
    "no trust needed": lambda _folder, _url: {"verify": False},
    "a proxy": lambda _folder, url: {"proxy": url},
    "a proxy with a password": lambda _folder, url: {"proxy": url.replace("://", "://me:secret@")},
}


Get = Callable[..., int]


@pytest.fixture(params=["thread", "loop"])
def get(request: pytest.FixtureRequest, library: ModuleType) -> Get:
    """One request by a client of its own; the status."""

    def on_thread(url: str, **options: Any) -> int:
        with library.Client(**options) as client:
            return int(client.get(url).status_code)

    def on_loop(url: str, **options: Any) -> int:
        async def main() -> int:
            async with library.AsyncClient(**options) as client:
                return int((await client.get(url)).status_code)

        return asyncio.run(main())

    return on_thread if request.param == "thread" else on_loop


@pytest.mark.parametrize("way", WAYS)
def test_another_way_has_no_part_in_an_answer(
    server: Any, steps: Any, guard: Any, get: Get, tmp_path: Path, way: str
) -> None:
    """Neither is the plain client given what the other one got, nor the other what the plain one got."""
    guard(stale_on_error=60.0, attempts=1, breaker_failure_rate=1.0)
    other = WAYS[way](tmp_path, server.url)
    for url, first, second in ((f"{server.url}/a", {}, other), (f"{server.url}/b", other, {})):
        server.script(steps.answer(), otherwise=steps.answer(503))
        assert get(url, **first) == 200
        assert get(url, **second) == 503
        assert get(url, **first) == 200, "kept it was"


@pytest.mark.parametrize("way", ["a client certificate", "no trust needed", "a proxy", "a proxy with a password"])
def test_two_clients_of_the_same_settings_share(
    server: Any, steps: Any, guard: Any, get: Get, tmp_path: Path, way: str
) -> None:
    """A client for each call is what most services have: its certificate is known by its file, its proxy by its URL."""
    guard(stale_on_error=60.0, attempts=1)
    options = WAYS[way](tmp_path, server.url)
    server.script(steps.answer(), otherwise=steps.answer(503))
    assert [get(server.url, **options) for _ in range(2)] == [200, 200]


def test_a_client_that_was_there_before_shares_with_itself_alone(
    server: Any, steps: Any, guard: Any, library: ModuleType
) -> None:
    """What it was told of certificates nobody knows any more."""
    with library.Client() as before, library.Client() as other:
        guard(stale_on_error=60.0, attempts=1)
        server.script(steps.answer(), otherwise=steps.answer(503))
        assert [client.get(server.url).status_code for client in (before, before, other)] == [200, 200, 503]


def test_a_transport_with_another_pool_is_another(server: Any, steps: Any, guard: Any, library: ModuleType) -> None:
    """The pool is what connects: where somebody has put in his own, what the transport was told means nothing."""
    guard(stale_on_error=60.0, attempts=1)
    server.script(steps.answer(), otherwise=steps.answer(503))
    with library.Client() as client, library.Client() as changed:
        changed._transport._pool = library.HTTPTransport(verify=ssl.create_default_context())._pool
        assert [one.get(server.url).status_code for one in (client, client, changed)] == [200, 200, 503]


def test_what_is_the_same() -> None:
    """Values by their value, and their type; objects by themselves; long texts by a digest; nothing is held."""

    class Thing:
        pass

    class Slotted:
        __slots__ = ()

    thing = Thing()
    assert same(("a", 1, None, {"b": [True]})) == same(["a", 1, None, {"b": (True,)}])
    assert same(1) != same(True) != same("True")
    assert same("x" * 5000) == same("x" * 5000) != same("x" * 5001)
    assert same(thing) == same(thing) != same(Thing())
    assert same(Slotted()) != same(Slotted())
    kept = same(thing)
    assert isinstance(kept, weakref.ref)
    del thing
    gc.collect()
    assert kept() is None
    assert kept != same(Thing())
    assert {kept: 1}[kept] == 1
