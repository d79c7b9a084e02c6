"""Which pattern fits which origin, and which of several wins."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handrail.resilience.origins import OriginRule, laid, normal, parts, settings_of, text_of
from handrail.resilience.registry import Registry
from handrail.resilience.settings import ResilienceSettings


def rule(pattern: str, **values: object) -> OriginRule:
    """A rule as the settings make it."""
    return OriginRule(normal(pattern), tuple(values.items()))


@pytest.mark.parametrize(
    ("pattern", "origin", "fits"),
    [
        ("http://payment:8003", "http://payment:8003", True),
        ("http://payment:8003", "http://payment", False),
        ("http://payment:8003", "https://payment:8003", False),
        ("HTTP://Payment:80/", "http://payment", True),
        ("payment", "http://payment", True),
        ("payment", "https://payment", True),
        ("payment", "http://payment:8003", False),
        ("payment:8003", "https://payment:8003", True),
        ("payment:*", "http://payment:8003", True),
        ("https://*.stripe.com", "https://api.stripe.com", True),
        ("https://*.stripe.com", "https://a.b.stripe.com", True),
        ("https://*.stripe.com", "https://stripe.com", False),
        ("https://*.stripe.com", "https://api.stripe.com.evil.test", False),
        ("https://*.stripe.com", "https://apixstripe.com", False),
        ("https://api.*.test", "https://api.eu.west.test", True),
        ("pay-*:*", "http://pay-eu:1", True),
        ("pay-*:*", "http://pay-eu.evil.test:1", False),
        ("*", "http://anything.at.all", True),
        ("*", "http://anything:8080", False),
        ("http://*:*", "http://[::1]:9", True),
        ("http://[::1]:8003", "http://[::1]:8003", True),
    ],
)
def test_fits(pattern: str, origin: str, fits: bool) -> None:
    """Scheme and port optional, `*` for labels or a part of one, never across a dot within a label."""
    assert rule(pattern).fits(parts(origin)) is fits


def test_a_socket_is_known_by_the_name_in_the_url() -> None:
    """Behind a Unix socket the registry's host has the socket's path; patterns do not."""
    assert rule("http://docker").fits(("http", "docker@/run/docker.sock", 80))


def test_the_most_specific_wins_field_by_field() -> None:
    """No `*` before `*`, more characters before fewer, later before earlier; fields that only one names all hold."""
    general = ResilienceSettings(attempts=9)
    rules = [
        rule("https://api.example.com", attempts=2),
        rule("https://*.example.com", attempts=3, backoff_cap=3.0),
        rule("*:*", attempts=4, backoff_cap=4.0, total_timeout=40.0),
        rule("*.com:*", total_timeout=50.0, breaker_open_for=5.0),
        rule("*.com:*", breaker_open_for=6.0),
    ]
    for order in (rules, [*reversed(rules[:3]), *rules[3:]]):
        found = settings_of(general, order, ("https", "api.example.com", 443))
        assert (found.attempts, found.backoff_cap, found.total_timeout, found.breaker_open_for) == (2, 3.0, 50.0, 6.0)
    assert settings_of(general, rules, ("https", "example.org", 443)).attempts == 4
    assert settings_of(general, rules[:2], ("https", "example.org", 443)) is general


@given(
    st.floats(0.01, 100), st.floats(0.01, 100), st.sampled_from(["total_timeout", "backoff_cap", "breaker_open_for"])
)
def test_what_is_laid_over_never_contradicts_what_gives_way(first: float, second: float, name: str) -> None:
    """One chosen value can never make the rest contradict it."""
    general = laid(ResilienceSettings(), {"total_timeout": first})
    settings = laid(general, {name: second})
    assert getattr(settings, name) == second
    assert settings.problems() == []


@given(st.text(alphabet="ab.*-:/[]1@ ", max_size=12))
def test_a_pattern_is_refused_or_has_one_normal_form(text: str) -> None:
    """Whatever is written, it is a ValueError or a pattern that reads the same again and can be asked."""
    try:
        once = normal(text)
    except ValueError:
        return
    assert normal(once) == once
    assert OriginRule(once, ()).fits(("http", "a.b", 80)) in (True, False)


def test_an_origin_reads_back() -> None:
    """What stands in traces and errors can be asked for."""
    for origin in (("http", "a", 80), ("https", "a.b", 8443), ("http", "::1", 8003)):
        assert parts(text_of(origin)) == origin


def test_an_entry_has_the_settings_of_its_origin() -> None:
    """Resolved once, where the entry is made: pipeline and settings agree."""
    kept = Registry(ResilienceSettings(), rules=[rule("http://a", attempts=1)])
    assert kept.pipeline("http", "a", 80).settings.attempts == 1
    assert "Retry(1 attempts" in str(kept.pipeline("http", "a", 80).pipeline)
    assert kept.pipeline("http", "b", 80).settings.attempts == 3


@pytest.mark.parametrize("pattern", ["http://bücher.example", "http://xn--bcher-kva.example", "*.example"])
@pytest.mark.parametrize("host", ["bücher.example", "xn--bcher-kva.example"])
def test_a_name_is_the_same_in_letters_and_in_punycode(pattern: str, host: str) -> None:
    """Of a URL httpx decodes the first label and no other; others decode none."""
    assert OriginRule(normal(pattern), ()).fits(("http", host, 80))
    assert not OriginRule(normal(pattern), ()).fits(("http", f"{host}.de", 80))
