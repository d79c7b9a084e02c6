"""What is made for an origin that is met: as little as a call that goes well needs, and nothing of another origin."""

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from handrail.resilience import Entry, Registry, ResilienceSettings, Tools
from handrail.resilience._permits import Permits
from handrail.resilience.budget import Budget
from handrail.resilience.bulkhead import Bulkhead
from handrail.resilience.circuit import CircuitBreaker
from handrail.resilience.origins import OriginRule
from handrail.resilience.retry import Retry
from handrail.resilience.testing import FakeClock, ScriptedWire

LOCK = Permits()._lock


def slots(made: object) -> Iterator[str]:
    """The names of all that an object may hold."""
    for kind in type(made).__mro__:
        yield from getattr(kind, "__slots__", ())


def same(name: str, one: object, other: object) -> bool:
    """Whether an attribute is the same number or tool in both."""
    return bool(getattr(one, name) == getattr(other, name))


def test_another_origin_gets_the_same_numbers() -> None:
    """What is made by a pattern has each of its attributes, and the numbers and tools of the pattern."""
    tools = Tools(clock=FakeClock())
    retry = Retry(attempts=7, backoff_base=1.5, backoff_cap=9.0, longest_wait=4.0, key_mode="always", tools=tools)
    budget = Budget(ratio=0.7, window=3.0, floor=9)
    breaker = CircuitBreaker("x", failure_rate=0.9, minimum_calls=3, window=4.0, open_for=2.0, tools=tools)
    bulkhead = Bulkhead("x", limit=7, queue=8, wait=0.5, tools=tools)
    pairs = [
        (retry, retry.of(budget, Registry().pipeline("http", "y", 80).state), {"budget", "_known"}),
        (budget, budget.of(5.0, LOCK), {"_lock", "window"}),
        (breaker, breaker.of("y", LOCK), {"target", "_lock", "_window"}),
        (bulkhead, bulkhead.of("y", Permits()), {"target", "permits"}),
    ]
    for pattern, made, own in pairs:
        assert {name for name in slots(pattern) if not same(name, pattern, made)} == own


def test_no_origin_knows_of_another() -> None:
    """A breaker, a budget, a queue or a key that two origins shared would let one of them fail the other."""
    registry = Registry()
    one, other = registry.pipeline("http", "one", 80), registry.pipeline("http", "other", 80)
    for name in ("breaker", "budget", "keys", "permits", "routes"):
        assert getattr(one.state, name) is not getattr(other.state, name)
    for name in ("_window", "_lock"):
        assert getattr(one.breaker, name) is not getattr(other.breaker, name)
    assert one.state.budget.window is not other.state.budget.window
    for _ in range(10):
        one.pipeline.run_sync(ScriptedWire(501).call())
    assert (one.breaker.state, other.breaker.state) == ("open", "closed")
    assert (one.breaker.counts(), other.breaker.counts()) == ((1.0, 10), (0.0, 0))


def test_a_call_that_goes_well_makes_no_state_machine() -> None:
    """pybreaker, buckets and the form for the other kind of client are made when they are first needed."""
    entry = Registry(tools=Tools(clock=FakeClock())).pipeline("http", "peer", 80)
    entry.pipeline.run_sync(ScriptedWire("ok").call())
    assert entry.breaker.state == "closed"
    assert entry.breaker._made is None
    assert entry.breaker.counts() == (0.0, 1)
    assert entry.pipeline._run is None
    entry.breaker.isolate()
    assert entry.breaker.state == "open"


async def _called(entry: Entry) -> None:
    await entry.pipeline.run(ScriptedWire("ok").call())


@pytest.mark.parametrize("on_loop", [True, False])
def test_what_is_forgotten_is_gone_at_once(on_loop: bool) -> None:
    """No part of an origin holds itself: a crawl leaves nothing to the garbage collector."""
    registry = Registry(ResilienceSettings(max_origins=1))
    gc.collect()
    gc.disable()
    try:
        entry = registry.pipeline("http", "first", 80)
        if on_loop:
            asyncio.run(_called(entry))
        else:
            entry.pipeline.run_sync(ScriptedWire("ok").call())
        kept = weakref.WeakSet([entry.pipeline._run or entry.pipeline._run_sync])
        del entry
        registry.pipeline("http", "second", 80)
        assert not kept
    finally:
        gc.enable()


@pytest.mark.parametrize("host", ["a.example.test", "b.example.test"])
def test_origins_with_the_same_rules_share_their_settings(host: str) -> None:
    """A pattern is worked out once, not for each origin that it fits; the numbers are those of the pattern."""
    rule = OriginRule("http://*.example.test", (("attempts", 1),))
    registry = Registry(rules=[rule])
    first, other = registry.pipeline("http", "z.example.test", 80), registry.pipeline("http", host, 80)
    assert other.settings is first.settings
    assert other.settings.attempts == 1
    assert registry.pipeline("http", "elsewhere", 80).settings is registry.settings
