"""What hostile peers, collected coroutines and odd numbers may not do to the state of an origin or a context."""

import asyncio
import gc
import time
from collections.abc import Generator
from contextlib import suppress
from math import nan

import pytest

import handrail
from handrail.resilience import Pipeline, Registry, ResilienceSettings, Tools, current_deadline, deadline
from handrail.resilience._routes import matching
from handrail.resilience.bound import Bound, variable
from handrail.resilience.circuit import CircuitBreaker
from handrail.resilience.classify import PROXY_STATUS, RELAYED
from handrail.resilience.overrides import at_hand
from handrail.resilience.testing import FakeClock, Reply, ScriptedWire, run, sleep

both = pytest.mark.parametrize("on_loop", [True, False], ids=["loop", "thread"])


@both
def test_a_relayed_failure_is_answered_by_the_fallback(on_loop: bool) -> None:
    """503 of a peer whose own dependency failed: no failure to its breaker, but one to the caller."""
    clock = FakeClock()
    registry = Registry(ResilienceSettings(), Tools(clock=clock, jitter=lambda: 0.5))
    relayed = Reply(503, headers={PROXY_STATUS: f"{RELAYED}connection_timeout"})
    wire = ScriptedWire(relayed, clock=clock)
    with handrail.policy(fallback=lambda _: Reply(299)):
        pipeline = registry.pipeline("http", "peer", 80).pipeline

        async def main() -> Reply:
            return await pipeline.run(wire.call())

        found = run(main(), clock) if on_loop else pipeline.run_sync(wire.call())
    assert found.status == 299
    assert registry.pipeline("http", "peer", 80).breaker.failure_rate() == 0


class _Never:
    def __await__(self) -> Generator[None, None, None]:
        yield


class Collecting(FakeClock):
    """Runs the collector whenever it is asked for the time: a circuit does so under its lock."""

    armed = False

    def now(self) -> float:
        if self.armed:
            self.armed = False
            gc.collect()
        return super().now()


def test_a_coroutine_that_is_collected_under_the_lock_of_its_circuit() -> None:
    """It gives its permit back there and then, and nobody waits for himself."""
    clock = Collecting()
    breaker = CircuitBreaker("http://peer", minimum_calls=1, tools=Tools(clock=clock))
    pipeline = Pipeline(breaker)
    with suppress(ConnectionError):
        pipeline.run_sync(ScriptedWire("fail", clock=clock).call())
    clock.advance(60.0)

    def leave_a_probe() -> None:
        async def hang(_: object) -> Reply:
            await _Never()
            return Reply(200)

        async def probe() -> None:
            itself.append(driven)
            await breaker.wrap(hang)(ScriptedWire().call())

        itself: list[object] = []  # a cycle: only the collector finds it
        driven = probe()
        driven.send(None)

    gc.collect()
    gc.disable()
    try:
        leave_a_probe()
        assert breaker.state == "half_open"
        clock.armed = True
        for _ in range(2):  # the first is refused: it was admitted before the collector had run
            with suppress(handrail.CircuitOpen):
                pipeline.run_sync(ScriptedWire("ok", clock=clock).call())
    finally:
        gc.enable()
    assert breaker.state == "closed"


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("/a/*/b/*/c", "/a/1/b/2/c", True),
        ("/a/*/b/*/c", "/a/1/b/2", False),
        ("/a*a", "/a", False),
        ("/a*a", "/aa", True),
        ("/a*ab*b", "/aab", False),
        ("/a*ab*b", "/aabb", True),
        ("/*", "/\n", True),
        ("/x", "/x/", False),
        ("*b*", "/abc", True),
    ],
)
def test_stars_stand_for_anything(pattern: str, path: str, fits: bool) -> None:
    """Nothing and slashes included; what stands between two of them is never used twice."""
    assert (matching((pattern,), path) is not None) is fits


def test_a_long_path_does_not_hold_the_loop() -> None:
    """Four stars and 16,000 characters of a stranger's path: by a regular expression, hours."""
    began = time.process_time()
    assert matching(("/a/*/b/*/b/*/b/*/c",), "/a" + "/b" * 8000 + "/d") is None
    assert time.process_time() - began < 5  # the wrong way takes hours


def _under(policy: "handrail.policy") -> Generator[None, None, None]:
    with policy:
        yield


def test_blocks_of_generators_that_end_in_another_order() -> None:
    """Neither stays in force once both are over: else each later POST would have a key, and be sent again."""
    first, second = _under(handrail.policy(idempotent=True)), _under(handrail.policy(attempts=1))
    next(first)
    next(second)
    first.close()
    left = at_hand.get()
    assert left is not None
    assert left.values == {"attempts": 1}
    second.close()
    assert at_hand.get() is None


def test_a_deadline_of_nan_is_refused() -> None:
    """It would be later than every other, and set the caller's aside."""
    with deadline(5.0):
        held = current_deadline()
        with pytest.raises(ValueError, match="not nan"):
            deadline(nan)
        assert current_deadline() == held


def test_work_that_begins_the_next_work_within_its_deadline_holds_no_row_of_them() -> None:
    """A poll whose every round is begun in the block of the one before."""
    depths: list[int] = []

    async def rounds(left: int) -> None:
        with deadline(100.0):
            bound: Bound | None = variable.get()
            depth = 0
            while bound is not None:
                depth, bound = depth + 1, bound._outer
            depths.append(depth)
            after = asyncio.create_task(rounds(left - 1)) if left else None
            await sleep()
        if after is not None:
            await after

    run(rounds(50))
    assert max(depths) <= 3
