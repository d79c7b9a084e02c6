"""A breaker on a clock that stands still, and a peer that does as it is told."""

from handrail.resilience import CircuitBreaker, Pipeline, Tools
from handrail.resilience._circuit_rules import Rules
from handrail.resilience.events import CircuitChanged
from handrail.resilience.testing import FakeClock, RecordingListener, Reply, ScriptedWire, run

__all__ = ["Bench"]


class Bench:
    """Opens at half of four calls in ten seconds, for five; chance sways nothing."""

    def __init__(
        self,
        *,
        open_max: float = 20.0,
        slow_call: float = 0.0,
        slow_rate: float = 1.0,
        ramp: int = 0,
        minimum_calls: int = 4,
    ) -> None:
        self.clock = FakeClock()
        self.told = RecordingListener()
        self.draw = 0.5
        self.rules = Rules(
            failure_rate=0.5,
            minimum_calls=minimum_calls,
            window=10.0,
            open_for=5.0,
            open_max=open_max,
            slow_call=slow_call,
            slow_rate=slow_rate,
            ramp=ramp,
        )
        tools = Tools(clock=self.clock, emit=self.told, jitter=lambda: self.draw)
        self.breaker = CircuitBreaker("http://peer", self.rules, tools=tools)
        self.pipeline = Pipeline(self.breaker)

    def play(self, step: str | int | BaseException, on_loop: bool = False, *, takes: float = 0.0) -> Reply:
        """One call that comes to `step` after `takes` seconds."""
        call = ScriptedWire(step, clock=self.clock, takes=takes).call()
        return run(self.pipeline.run(call), self.clock) if on_loop else self.pipeline.run_sync(call)

    def opened(self) -> "Bench":
        """After four failures."""
        for _ in range(4):
            self.play(503)
        assert self.breaker.state == "open"
        return self

    def closed_again(self) -> "Bench":
        """The same, and a probe that went well."""
        self.opened().clock.advance(5.0)
        self.play("ok")
        assert self.breaker.state == "closed"
        return self

    @property
    def changes(self) -> list[tuple[str, str]]:
        """From what to what the circuit went."""
        return [(event.before, event.after) for event in self.told.of(CircuitChanged)]

    @property
    def causes(self) -> list[str]:
        """And why."""
        return [event.cause for event in self.told.of(CircuitChanged)]
