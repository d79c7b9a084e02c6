"""Something else in place of a call that failed for good, and never in place of anything else."""

import asyncio
from collections.abc import Callable

import pytest

import handrail
from handrail.resilience import CircuitOpen, HandrailError, Registry, ResilienceSettings, SettingsError, Tools
from handrail.resilience.events import FallbackUsed
from handrail.resilience.overrides import at_hand
from handrail.resilience.testing import FakeClock, RecordingListener, Reply, ScriptedWire, run

both = pytest.mark.parametrize("on_loop", [True, False], ids=["loop", "thread"])


class Bench:
    """A registry on a clock of its own, and a way to call it on a loop or on a thread."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.told = RecordingListener()
        tools = Tools(clock=self.clock, emit=self.told, jitter=lambda: 0.5)
        self.registry = Registry(ResilienceSettings(breaker_minimum_calls=1000), tools)

    def play(self, wire: ScriptedWire, on_loop: bool) -> Reply:
        pipeline = self.registry.pipeline("http", "peer", 80).pipeline
        return run(pipeline.run(wire.call()), self.clock) if on_loop else pipeline.run_sync(wire.call())

    @property
    def used(self) -> list[tuple[str, str]]:
        return [(event.kind, event.cause) for event in self.told.of(FallbackUsed)]


@both
@pytest.mark.parametrize(
    ("step", "cause"), [(503, "503"), (501, "501"), (429, "429"), ("fail", "network"), ("refuse", "connect")]
)
def test_it_answers_after_all_attempts(on_loop: bool, step: str | int, cause: str) -> None:
    """Failed statuses and connection errors, after the retries; a failed result is let go of."""
    bench, asked = Bench(), []
    wire = ScriptedWire(step, clock=bench.clock)

    def instead(failed: object) -> Reply:
        asked.append(failed)
        return Reply(299)

    with handrail.policy(fallback=instead):
        assert bench.play(wire, on_loop).status == 299
    assert len(asked) == 1
    assert len(wire.sent) == (1 if step == 501 else 3)
    assert bench.used == [("fallback", cause)]
    if isinstance(step, int):
        assert isinstance(asked[0], Reply)
        assert len(wire.discarded) == len(wire.sent)


@both
@pytest.mark.parametrize("step", [200, 302, 404, 409])
def test_a_success_is_not_its_matter(on_loop: bool, step: int) -> None:
    """Whatever the breaker takes for a success, 4xx too, reaches the caller."""
    bench = Bench()
    with handrail.policy(fallback=lambda _: pytest.fail("asked")):
        assert bench.play(ScriptedWire(step), on_loop).status == step
    assert bench.used == []


@both
@pytest.mark.parametrize("error", [KeyError("foreign"), asyncio.CancelledError(), KeyboardInterrupt()])
def test_what_is_no_failure_of_the_peer_goes_up(on_loop: bool, error: BaseException) -> None:
    """An exception that the client library does not know, a cancellation, the end of the process."""
    bench = Bench()
    with pytest.raises(type(error)) as caught, handrail.policy(fallback=lambda _: pytest.fail("asked")):
        bench.play(ScriptedWire(error), on_loop)
    assert caught.value is error


@both
def test_a_refusal_of_ours_is_answered_too(on_loop: bool) -> None:
    """An open circuit: nothing is sent, the fallback is given the CircuitOpen."""
    bench, asked = Bench(), []
    bench.registry.pipeline("http", "peer", 80).breaker.isolate()
    wire = ScriptedWire("ok")

    def instead(failed: object) -> Reply:
        asked.append(failed)
        return Reply(299)

    with handrail.policy(fallback=instead):
        assert bench.play(wire, on_loop).status == 299
    assert [type(failed) for failed in asked] == [CircuitOpen]
    assert wire.sent == []
    assert bench.used == [("fallback", "circuit_breaker")]


@both
def test_a_spent_deadline_is_answered_too(on_loop: bool) -> None:
    """The total timeout is inside of it."""
    bench = Bench()
    with handrail.policy(
        total_timeout=1, fallback=lambda failed: Reply(299 if isinstance(failed, HandrailError) else 1)
    ):
        assert bench.play(ScriptedWire(503, clock=bench.clock, takes=2.0), on_loop).status in (299, 1)
    assert len(bench.used) == 1


@both
@pytest.mark.parametrize("step", [503, "fail"])
def test_what_it_raises_goes_up(on_loop: bool, step: str | int) -> None:
    """With the first error as its context; the failed result is let go of, nothing is told."""
    bench = Bench()
    wire = ScriptedWire(step, clock=bench.clock)

    def broken(_: object) -> Reply:
        raise LookupError("no cached price")

    with pytest.raises(LookupError) as caught, handrail.policy(fallback=broken):
        bench.play(wire, on_loop)
    assert isinstance(caught.value.__context__, ConnectionResetError if step == "fail" else type(None))
    assert bench.used == []
    if step == 503:
        assert len(wire.discarded) == 3


@both
def test_a_failed_result_that_cannot_be_let_go_is_no_matter(on_loop: bool) -> None:
    """The caller has what stands in, not the error of closing what failed."""

    class Stuck(ScriptedWire):
        async def discard(self, result: Reply) -> None:
            raise OSError("already gone")

        def discard_sync(self, result: Reply) -> None:
            raise OSError("already gone")

    bench = Bench()
    with handrail.policy(fallback=lambda _: Reply(299)):
        assert bench.play(Stuck(501, clock=bench.clock), on_loop).status == 299


@both
def test_it_may_take_the_failed_result(on_loop: bool) -> None:
    """What it returns unchanged is the answer, still open; that is no fallback to tell of."""
    bench = Bench()
    wire = ScriptedWire(503, clock=bench.clock)
    with handrail.policy(fallback=lambda failed: failed):
        last = bench.play(wire, on_loop)
    assert last.status == 503
    assert last not in wire.discarded
    assert bench.used == []


def test_on_a_loop_it_may_be_awaited_on_a_thread_not() -> None:
    """An awaitable is waited for; on a thread nobody could, and that is said."""
    bench = Bench()

    async def later(_: object) -> Reply:
        return Reply(299)

    with handrail.policy(fallback=later):
        assert bench.play(ScriptedWire("refuse", clock=bench.clock), True).status == 299
        with pytest.raises(TypeError, match="without async"):
            bench.play(ScriptedWire("refuse", clock=bench.clock), False)


@both
def test_its_own_calls_have_no_fallback(on_loop: bool) -> None:
    """One that calls the same dead peer fails once, instead of asking itself without end; the policy is there again."""
    bench, asked = Bench(), []

    def asks_the_peer(failed: object) -> Reply:
        asked.append(failed)
        override = at_hand.get()
        assert override is not None
        assert override.fallback is None
        return bench.play(ScriptedWire("refuse", clock=bench.clock), False)

    with handrail.policy(fallback=asks_the_peer, attempts=2):
        with pytest.raises(ConnectionRefusedError):
            bench.play(ScriptedWire("refuse", clock=bench.clock), on_loop)
        override = at_hand.get()
        assert override is not None
        assert override.fallback is asks_the_peer
    assert len(asked) == 1


def test_a_cancelled_fallback_leaves_nothing_open() -> None:
    """Cancelled while it works, the failed result is let go of and the cancellation goes through."""
    bench = Bench()
    wire = ScriptedWire(501, clock=bench.clock)

    async def main() -> None:
        begun = asyncio.Event()

        async def hangs(_: object) -> Reply:
            begun.set()
            await asyncio.Event().wait()
            raise AssertionError

        with handrail.policy(fallback=hangs):
            pipeline = bench.registry.pipeline("http", "peer", 80).pipeline
            task = asyncio.ensure_future(pipeline.run(wire.call()))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main(), bench.clock)
    assert len(wire.discarded) == 1


def test_a_wrong_setting_is_no_failure_of_a_peer() -> None:
    """SettingsError is a mistake of the code and goes up."""
    error = SettingsError("wrong")
    with pytest.raises(SettingsError), handrail.policy(fallback=lambda _: pytest.fail("asked")):
        Bench().play(ScriptedWire(error), False)


@both
def test_an_inner_none_takes_an_outer_one_away(on_loop: bool) -> None:
    """`fallback=None` is a wish like any other."""
    outer: Callable[[object], Reply] = lambda _: Reply(299)  # noqa: E731 (as people write it)
    with handrail.policy(fallback=outer), handrail.policy(fallback=None), pytest.raises(ConnectionRefusedError):
        Bench().play(ScriptedWire("refuse", clock=FakeClock()), on_loop)
