"""A child made by fork while calls are under way: it has the parent's knowledge, and none of its calls."""

import threading
from typing import Any

from handrail.resilience import Registry, ResilienceSettings, Tools
from handrail.resilience.testing import FakeClock, ScriptedWire
from tests.forked import in_child


def _registry(limit: int) -> Registry:
    settings = ResilienceSettings(bulkhead_limit=limit, bulkhead_queue=0, breaker_minimum_calls=1, throttle=2)
    return Registry(settings, Tools(clock=FakeClock(), jitter=lambda: 0.5))


def test_the_places_of_the_parents_calls_are_free() -> None:
    """Its threads are not in the child, and would never give them back; in the parent they stay taken."""
    registry = _registry(2)
    entry = registry.pipeline("http", "peer", 80)
    entry.breaker.isolate()
    entry.state.permits.held += [None, None]

    def child() -> None:
        here = registry.pipeline("http", "peer", 80)
        assert here.breaker.isolated
        here.breaker.reset()
        assert here.pipeline.run_sync(ScriptedWire("ok").call()).status == 200

    assert in_child(child) == 0
    assert len(entry.state.permits.held) == 2


def test_no_lock_of_the_parent_is_held() -> None:
    """A thread that was in the midst of counting a failure, or of meeting an origin, leaves its lock locked."""
    registry = _registry(10)
    state = registry.pipeline("http", "peer", 80).state
    assert state.tally is not None
    locks: list[Any] = [registry._lock, state.breaker._lock, state.budget._lock, state.permits._lock, state.tally._lock]
    held, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        for lock in locks:
            lock.acquire()
        held.set()
        go_on.wait(60)
        for lock in locks:
            lock.release()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(60)

    def child() -> None:
        for host in ("peer", "other"):
            assert registry.pipeline("http", host, 80).pipeline.run_sync(ScriptedWire(501).call()).status == 501
            assert registry.pipeline("http", host, 80).breaker.state == "open"

    try:
        assert in_child(child) == 0
    finally:
        go_on.set()
        thread.join()
