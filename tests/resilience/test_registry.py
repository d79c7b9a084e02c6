"""One pipeline per origin, and a bound on how many."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handrail.resilience import Registry, ResilienceSettings, Tools
from handrail.resilience.testing import FakeClock, ScriptedWire


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


def test_threads_that_ask_together_get_one_pipeline() -> None:
    """Eight threads, one new origin: one entry."""
    kept, _ = registry()
    together = threading.Barrier(8, timeout=10)

    def ask() -> int:
        together.wait()
        return id(kept.pipeline("http", "new", 80))

    with ThreadPoolExecutor(8) as pool:
        assert len({future.result() for future in [pool.submit(ask) for _ in range(8)]}) == 1
