"""One pipeline per origin, and a bound on how many."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handrail.resilience import Call, Entry, Registry, Resend, ResilienceSettings, Tools
from handrail.resilience.testing import FakeClock, Reply, ScriptedWire


def registry(origins: int = 8) -> tuple[Registry, FakeClock]:
    """A registry of few origins whose breakers open at the first failure."""
    clock = FakeClock()
    settings = ResilienceSettings(max_origins=origins, breaker_minimum_calls=1)
    return Registry(settings, Tools(clock=clock)), clock


def targets(registry: Registry) -> set[str]:
    """What is kept."""
    return {entry.target for entry in registry.entries()}


@pytest.mark.parametrize(
    ("origin", "text"),
    [
        (("http", "host", 80), "http://host"),
        (("https", "host", 443), "https://host"),
        (("http", "host", 8003), "http://host:8003"),
        (("http", "host", 443), "http://host:443"),
        (("http", "::1", 8003), "http://[::1]:8003"),
    ],
)
def test_an_origin_reads_as_people_write_it(origin: tuple[str, str, int], text: str) -> None:
    """The default port is left out, IPv6 stands in brackets."""
    assert registry()[0].pipeline(*origin).target == text


def test_the_same_origin_has_the_same_pipeline() -> None:
    """State is kept per scheme, host and port, and nothing else."""
    kept, _ = registry()
    assert kept.pipeline("http", "a", 80) is kept.pipeline("http", "a", 80)
    others = [("https", "a", 80), ("http", "b", 80), ("http", "a", 81)]
    assert len({id(kept.pipeline(*origin)) for origin in [("http", "a", 80), *others]}) == 4


def test_an_open_breaker_survives_a_crawl() -> None:
    """New origins without end push out what is closed and idle, not the memory of a peer that is down."""
    kept, _ = registry()
    kept.pipeline("http", "down", 80).pipeline.run_sync(ScriptedWire(503).call())
    busy = kept.pipeline("http", "busy", 80)
    for number in range(100):
        kept.pipeline("http", f"page{number}", 80)
        assert kept.pipeline("http", "busy", 80) is busy
        assert len(kept.entries()) <= 8
    assert kept.pipeline("http", "down", 80).breaker.state == "open"


def test_a_breaker_whose_time_is_over_may_go() -> None:
    """Open circuits that nobody asked for again do not fill the registry for ever."""
    kept, clock = registry()
    for number in range(8):
        kept.pipeline("http", f"down{number}", 80).pipeline.run_sync(ScriptedWire(503).call())
    clock.advance(3600)
    kept.pipeline("http", "down7", 80).pipeline.run_sync(ScriptedWire(503).call())
    for number in range(20):
        kept.pipeline("http", f"page{number}", 80)
    assert "http://down7" in targets(kept)
    assert "http://down0" not in targets(kept)


@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=100), st.integers(1, 10))
def test_the_bound_holds(visits: list[tuple[int, bool]], bound: int) -> None:
    """Whatever is called and fails, there are never more entries than allowed, and the newest is there."""
    kept, _ = registry(bound)
    for number, fails in visits:
        entry = kept.pipeline("http", f"host{number}", 80)
        if fails and entry.breaker.state == "closed":
            entry.pipeline.run_sync(ScriptedWire(503).call())
        assert len(kept.entries()) <= bound
        assert kept.pipeline("http", f"host{number}", 80) is entry


def test_an_open_breaker_stays_longer_than_one_with_failures() -> None:
    """Use and single failures give way to what is known to be down."""
    kept = Registry(ResilienceSettings(max_origins=2, breaker_minimum_calls=2), Tools(clock=FakeClock()))
    for host, failures in (("down", 2), ("flaky", 1)):
        for _ in range(failures):
            kept.pipeline("http", host, 80).pipeline.run_sync(ScriptedWire(503).call(resend=Resend.UNSAFE))
    kept.pipeline("http", "flaky", 80)
    kept.pipeline("http", "new", 80)
    assert targets(kept) == {"http://down", "http://new"}


def test_calls_under_way_stay_longest() -> None:
    """An origin with calls under way is not forgotten before an idle one: its bulkhead would let as many again in."""
    kept, _ = registry(2)
    kept.pipeline("http", "busy", 80)
    kept.pipeline("http", "down", 80).pipeline.run_sync(ScriptedWire(503).call())

    class Crawling(ScriptedWire):
        def send_sync(self, call: Call[Reply]) -> Reply:
            for number in range(10):
                kept.pipeline("http", f"page{number}", 80)
            assert "http://busy" in targets(kept)
            return super().send_sync(call)

    kept.pipeline("http", "busy", 80).pipeline.run_sync(Crawling(200).call())
    kept.pipeline("http", "more", 80)
    kept.pipeline("http", "again", 80)
    assert "http://busy" not in targets(kept)


def test_what_was_used_long_ago_goes_like_the_rest() -> None:
    """Use counts until the next sweep only."""
    kept, _ = registry(2)
    for host in ("old", "old", "first", "second"):
        kept.pipeline("http", host, 80)
    assert targets(kept) == {"http://old", "http://second"}
    kept.pipeline("http", "third", 80)
    assert targets(kept) == {"http://second", "http://third"}


def test_threads_that_ask_together_get_one_pipeline() -> None:
    """Eight threads that all saw a new origin missing: one entry."""
    kept, _ = registry()
    together, seen = threading.Barrier(8, timeout=60), threading.local()

    class Meeting(dict[tuple[str, str, int], Entry]):
        def get(self, key, default=None):  # pyright: ignore[reportIncompatibleMethodOverride]  # one overload is enough
            found = super().get(key, default)
            if not hasattr(seen, "first"):
                seen.first = True
                together.wait()
            return found

    kept._entries = Meeting()
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(kept.pipeline, "http", "new", 80) for _ in range(8)]
        assert len({id(future.result()) for future in asked}) == 1


def test_a_crawl_forgets_what_it_came_by_first() -> None:
    """Many origins, each called once: the oldest go, an eighth at a time, and one with failures stays."""
    kept = Registry(ResilienceSettings(max_origins=16), Tools(clock=FakeClock()))
    marked = kept.pipeline("http", "failed", 80)
    marked.pipeline.run_sync(ScriptedWire(503, "ok").call())
    for number in range(15):
        kept.pipeline("http", f"host{number}", 80)
    kept.pipeline("http", "one-more", 80)
    targets = {entry.target for entry in kept.entries()}
    assert {"http://failed", "http://host2", "http://one-more"} <= targets
    assert targets.isdisjoint({"http://host0", "http://host1"})
    assert len(targets) == 15
