"""Breakers for single paths of an origin."""

import pytest

from handrail.resilience import CircuitOpen, Registry, ResilienceSettings, Tools
from handrail.resilience._routes import matching, path_of
from handrail.resilience.testing import FakeClock, ScriptedWire

ORIGIN = ("http", "payment", 8003)


def registry() -> Registry:
    """One with a breaker for charges, which opens at the first failure."""
    given = ResilienceSettings(attempts=1, breaker_minimum_calls=1, breaker_routes=("/charges/*",))
    return Registry(given, Tools(clock=FakeClock()))


@pytest.mark.parametrize(
    ("path", "pattern"),
    [
        ("/charges/7", "/charges/*"),
        ("/charges/7/refunds", "/charges/*/refunds"),
        ("/charges/a/b", "/charges/*"),
        ("/charges", None),
        ("/v1/charges/7", None),
        ("/report.csv", "/report.csv"),
        ("/reportxcsv", None),
        ("/charges/a\nb", "/charges/*"),
    ],
)
def test_the_first_pattern_that_fits_the_whole_path_is_taken(path: str, pattern: str | None) -> None:
    """`*` stands for anything, nothing else is special."""
    assert matching(("/charges/*/refunds", "/charges/*", "/report.csv"), path) == pattern


@pytest.mark.parametrize("url", ["http://host:1/a%20b?c=/d#e", "/a%20b?c=d"])
def test_a_path_is_read_as_people_write_it(url: str) -> None:
    """Without query and fragment, decoded; of a URL or of a request line."""
    assert path_of(url) == "/a b"


def test_a_route_breaks_alone_and_shares_the_rest() -> None:
    """Its breaker is its own, by origin and pattern; budget, keys and bulkhead are the origin's."""
    kept = registry()
    entry = kept.pipeline(*ORIGIN)
    route = entry.route("/charges/1")
    assert entry.route("/charges/2") is route
    assert entry.route("/refunds/2") is entry
    assert (route.state, route.target) == (entry.state, entry.target)
    assert route.breaker.target == "http://payment:8003/charges/*"
    route.pipeline.run_sync(ScriptedWire(503).call())
    with pytest.raises(CircuitOpen, match=r"http://payment:8003/charges/\*"):
        route.pipeline.run_sync(ScriptedWire("ok").call())
    assert entry.pipeline.run_sync(ScriptedWire("ok").call()).status == 200
    assert [breaker.state for breaker in entry.breakers()] == ["closed", "open"]


def test_new_settings_keep_what_a_hand_holds_open() -> None:
    """Neither the origin's breaker nor a route's is let go; a route that is no longer named is forgotten."""
    kept = registry()
    for path in ("/", "/charges/1"):
        kept.pipeline(*ORIGIN).route(path).breaker.isolate()
    kept.renew(ResilienceSettings(breaker_minimum_calls=3, breaker_routes=("/charges/*",)))
    assert [breaker.isolated for breaker in kept.pipeline(*ORIGIN).breakers()] == [True, True]
    kept.renew(ResilienceSettings(breaker_minimum_calls=3))
    assert [breaker.isolated for breaker in kept.pipeline(*ORIGIN).breakers()] == [True]
    assert kept.pipeline(*ORIGIN).route("/charges/1") is kept.pipeline(*ORIGIN)


def test_an_origin_whose_route_is_open_survives_a_crawl() -> None:
    """What is remembered of a peer that is down is pushed out last, a hand's hold last of all."""
    given = ResilienceSettings(attempts=1, breaker_minimum_calls=1, breaker_routes=("/charges/*",), max_origins=8)
    kept = Registry(given, Tools(clock=FakeClock()))
    kept.pipeline(*ORIGIN).route("/charges/1").pipeline.run_sync(ScriptedWire(503).call())
    kept.pipeline("http", "held", 80).breaker.isolate()
    for number in range(100):
        kept.pipeline("http", f"page{number}", 80)
    assert [one.state for one in kept.pipeline(*ORIGIN).breakers()] == ["closed", "open"]
    for number in range(100):
        kept.pipeline("http", f"down{number}", 80).pipeline.run_sync(ScriptedWire(503).call())
    assert kept.pipeline("http", "held", 80).breaker.isolated
