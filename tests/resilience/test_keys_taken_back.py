"""A promise to honour keys that is taken back while calls are under way: what leans on it is not sent again."""

from contextlib import suppress

import pytest

from handrail.resilience import Resend, ResilienceSettings, Tools
from handrail.resilience.call import Call
from handrail.resilience.defaults import Plan, standard
from handrail.resilience.keys import HONOURS
from handrail.resilience.testing import FakeClock, Reply, ScriptedWire, run

both = pytest.mark.parametrize("on_loop", [True, False], ids=["loop", "thread"])


class Origin:
    """A peer that has said that it honours keys."""

    def __init__(self, mode: str = "auto") -> None:
        self.clock = FakeClock()
        tools = Tools(clock=self.clock, jitter=lambda: 0.5)
        settings = ResilienceSettings(idempotency_keys=mode)
        self.pipeline = standard("http://peer", settings, tools, Plan(settings, tools).state("http://peer"))
        self.post(Reply(200, headers={HONOURS: "?1"}))

    def post(self, *steps: str | int | Reply | BaseException, on_loop: bool = False) -> ScriptedWire:
        return self.play(ScriptedWire(*steps, clock=self.clock), on_loop)

    def play(self, wire: ScriptedWire, on_loop: bool = False) -> ScriptedWire:
        call = wire.call(operation="POST", resend=Resend.UNSAFE)

        async def main() -> None:
            await self.pipeline.run(call)

        with suppress(ConnectionError):
            run(main(), self.clock) if on_loop else self.pipeline.run_sync(call)
        return wire


@both
@pytest.mark.parametrize("status", [408, 429])
def test_an_answer_without_the_promise_is_not_sent_again(on_loop: bool, status: int) -> None:
    """The peer's own answer takes it back: the call that heard it is not repeated on the strength of it."""
    assert len(Origin().post(Reply(status), "ok", on_loop=on_loop).sent) == 1


class Overtaken(ScriptedWire):
    """While its first attempt is under way, another call to the peer hears that keys are honoured no longer."""

    origin: Origin

    def _meanwhile(self, call: Call[Reply]) -> None:
        if call.attempt == 1:
            self.origin.post(Reply(200))

    async def send(self, call: Call[Reply]) -> Reply:
        self._meanwhile(call)
        return await super().send(call)

    def send_sync(self, call: Call[Reply]) -> Reply:
        self._meanwhile(call)
        return super().send_sync(call)


@both
@pytest.mark.parametrize(("mode", "times"), [("auto", 1), ("always", 2)])
def test_what_another_call_hears_meanwhile_counts(on_loop: bool, mode: str, times: int) -> None:
    """A POST that broke off under a promise since taken back reaches the peer once; what the code promises stands."""
    origin = Origin(mode)
    wire = Overtaken("fail", "ok", clock=origin.clock)
    wire.origin = origin
    assert len(origin.play(wire, on_loop).sent) == times


@both
@pytest.mark.parametrize("step", ["fail", 503])
def test_what_another_call_hears_during_the_pause_counts(on_loop: bool, step: str | int) -> None:
    """The attempt that was planned is not made; its own outcome goes up, and is not thrown away."""
    origin = Origin()
    wire = ScriptedWire(step, "ok", clock=origin.clock)
    sleep, sleep_sync = origin.clock.sleep, origin.clock.sleep_sync

    async def slept(seconds: float) -> None:
        origin.post(Reply(200))
        await sleep(seconds)

    def slept_sync(seconds: float) -> None:
        origin.post(Reply(200))
        sleep_sync(seconds)

    origin.clock.sleep, origin.clock.sleep_sync = slept, slept_sync  # type: ignore[method-assign] # between the two
    origin.play(wire, on_loop)
    assert len(wire.sent) == 1
    assert wire.discarded == []
