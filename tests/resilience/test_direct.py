"""The one step that most attempts take decides as the layers do, which it stands in for."""

import asyncio
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from handrail.resilience import (
    AttemptTimeout,
    Bulkhead,
    CircuitBreaker,
    Pipeline,
    Resend,
    ResilienceSettings,
    Retry,
    Tools,
    TotalTimeout,
    standard,
)
from handrail.resilience.defaults import Plan
from handrail.resilience.pipeline import _around, _wire
from handrail.resilience.testing import FakeClock, RecordingListener, Reply, ScriptedWire, run, sleep

SETTINGS = ResilienceSettings(
    total_timeout=4.0,
    attempt_timeout=1.0,
    breaker_minimum_calls=3,
    breaker_window=10.0,
    breaker_open_for=2.0,
    bulkhead_limit=2,
    bulkhead_queue=1,
    bulkhead_wait=0.5,
)
TARGET = "http://peer"


@dataclass(frozen=True)
class Job:
    """One call: when it begins, what the peer does, how it was made, and when its caller gives up."""

    begins: float
    steps: tuple[Any, ...]
    takes: float = 0.0
    resend: Resend = Resend.SAFE
    attempt_timeout: float | None = None
    total_timeout: float | None = None
    given_up: float | None = None
    narrow: bool = False
    """Through a pipeline to the same origin that lets one call at a time through."""


@dataclass
class World:
    """A pipeline, its state, and all that was heard of it."""

    layered: bool
    settings: ResilienceSettings = SETTINGS
    clock: FakeClock = field(default_factory=FakeClock)
    told: RecordingListener = field(default_factory=RecordingListener)

    def __post_init__(self) -> None:
        tools = Tools(clock=self.clock, emit=self.told, jitter=lambda: 0.5)
        self.state = Plan(self.settings, tools).state(TARGET)
        self.pipeline = standard(TARGET, self.settings, tools, self.state)
        self.narrow = standard(TARGET, replace(self.settings, bulkhead_limit=1), tools, self.state)
        if self.layered:
            for pipeline in (self.pipeline, self.narrow):
                pipeline._run = _around(reversed(pipeline.policies), _wire)  # type: ignore[assignment] # each is a coroutine function

    async def play(self, job: Job) -> object:
        await self.clock.sleep(job.begins)
        wire = ScriptedWire(*job.steps, clock=self.clock, takes=job.takes)
        call = wire.call(resend=job.resend, attempt_timeout=job.attempt_timeout, total_timeout=job.total_timeout)
        task = asyncio.ensure_future((self.narrow if job.narrow else self.pipeline).run(call))
        if job.given_up is not None:
            asyncio.get_running_loop().call_later(job.given_up, task.cancel)
        outcome: object
        try:
            outcome = (await task).status
        except BaseException as error:
            cause = error.__cause__, error.__suppress_context__
            outcome = type(error), str(error), cause, getattr(error, "__notes__", None)
        return outcome, call.verdict, call.attempt, call.used_up, call.held_until, wire.sent, len(wire.discarded)

    def seen(self, jobs: list[Job]) -> dict[str, object]:
        async def main() -> list[object]:
            return await asyncio.gather(*map(self.play, jobs))

        outcomes = run(main(), self.clock)
        now, breaker, permits = self.clock.now(), self.state.breaker, self.state.permits
        return {
            "outcomes": outcomes,
            "events": self.told.events,
            "time": now,
            "circuit": (breaker.state, breaker.counts(), breaker.retry_after(), breaker.reason),
            "places": (len(permits.held), len(permits.waiting)),
            "budget": self.state.budget.spent(now),
        }


RELAYED = Reply(503, headers={"proxy-status": "handrail; error=destination_unavailable"})
STEPS = st.sampled_from(
    ["ok", "ok", 404, 429, 500, 503, RELAYED, "fail", "refuse", "hang", TimeoutError("theirs"), ValueError("x")]
)
JOBS = st.builds(
    Job,
    begins=st.sampled_from([0.0, 0.0, 0.1, 0.5, 2.0, 5.0, 12.0]),
    steps=st.lists(STEPS, min_size=1, max_size=3).map(tuple),
    takes=st.sampled_from([0.0, 0.3, 0.9, 1.5]),
    resend=st.sampled_from([Resend.SAFE, Resend.SAFE, Resend.UNSAFE, Resend.ONE_SHOT]),
    attempt_timeout=st.sampled_from([None, None, 0.2, inf]),
    total_timeout=st.sampled_from([None, None, 0.6, inf]),
    given_up=st.sampled_from([None, None, None, 0.0, 0.3, 1.0, 2.5]),
    narrow=st.booleans(),
)


def ends(job: Job) -> bool:
    """Whether the call is over some time, whatever happens: an attempt without a bound must not hang."""
    return job.given_up is not None or "hang" not in job.steps or job.attempt_timeout != inf


@given(st.lists(JOBS.filter(ends), min_size=1, max_size=8))
@example([Job(0.0, ("fail",))] * 3 + [Job(3.0, ("ok",), takes=0.5), Job(3.1, ("ok",))])
@example([Job(0.0, ("ok",), takes=0.9)] * 4)
@example([Job(0.0, (RELAYED,))] * 4)
@example([Job(0.0, ("ok",), takes=0.9), Job(0.1, ("ok",), narrow=True), Job(0.3, ("ok",))])
@example([Job(0.0, ("hang",), total_timeout=0.6)])
def test_the_same_faults_come_to_the_same(jobs: list[Job]) -> None:
    """Outcomes, events and their order, circuit, places, budget and time: nothing tells the two apart."""
    assert World(layered=False).seen(jobs) == World(layered=True).seen(jobs)


@pytest.mark.parametrize("turns", range(6))
@pytest.mark.parametrize("step", ["ok", 503, "fail"])
def test_cancelled_at_any_turn_the_same_is_left(step: str | int, turns: int) -> None:
    """Wherever the caller's task is cancelled: no place is kept, and what it comes to is the same."""

    class Stepped(ScriptedWire):
        async def send(self, call: Any) -> Reply:
            await sleep()
            reply = await super().send(call)
            await sleep()
            return reply

    def left(layered: bool) -> object:
        world = World(layered)

        async def main() -> object:
            task = asyncio.create_task(world.pipeline.run(Stepped(step, clock=world.clock).call()))
            for _ in range(turns):
                await sleep()
            task.cancel("theirs")
            try:
                ended: object = (await task).status
            except BaseException as error:
                ended = type(error), error.args
            return ended

        ended, state = run(main(), world.clock), world.state
        assert not state.permits.held
        return ended, state.breaker.counts(), state.budget.spent(world.clock.now()), world.told.events

    assert left(layered=False) == left(layered=True)


def test_a_timer_that_cannot_begin_keeps_no_place() -> None:
    """What goes wrong before the call is sent gives back what was taken."""

    class Broken(FakeClock):
        def timeout(self, seconds: float, first: object = None) -> Any:
            raise RuntimeError("no timers here")

    world = World(layered=False, clock=Broken())
    with pytest.raises(RuntimeError, match="no timers"):
        run(world.pipeline.run(ScriptedWire().call()), world.clock)
    assert not world.state.permits.held


def _usual(**changed: Any) -> Pipeline:
    return standard(TARGET, ResilienceSettings(**changed))


@pytest.mark.parametrize(
    ("pipeline", "one"),
    [
        (_usual(), True),
        (_usual(hedge_after=0.1), True),
        (_usual(stale_on_error=60.0), True),
        (_usual(breaker_slow_call=1.0), False),
        (_usual(adaptive_concurrency=True), False),
        (_usual(throttle=2.0), False),
        (Pipeline(CircuitBreaker(TARGET), AttemptTimeout(1.0)), False),
        (Pipeline(Bulkhead(TARGET), CircuitBreaker(TARGET), AttemptTimeout(1.0)), False),
        (Pipeline(TotalTimeout(1.0), Retry()), False),
        (Pipeline(), False),
    ],
)
def test_who_takes_the_one_step(pipeline: Pipeline, one: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The usual three, without an option that changes what they do, wherever they are innermost."""
    made: list[object] = []

    def counted(self: AttemptTimeout, call_next: Any) -> Any:
        made.append(self)
        return call_next

    for kind in (AttemptTimeout, CircuitBreaker):
        monkeypatch.setattr(kind, "wrap", counted)
    reply = run(pipeline.run(ScriptedWire(clock=FakeClock()).call()))
    assert reply.status == 200
    layers = sum(isinstance(policy, AttemptTimeout | CircuitBreaker) for policy in pipeline.policies)
    assert len(made) == (0 if one else layers)
