"""The breaker against a reference model: any interleaving of calls, outcomes and time."""

from collections.abc import Awaitable, Coroutine, Generator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from handrail.resilience import CircuitBreaker, CircuitOpen, Tools
from handrail.resilience.call import Call
from handrail.resilience.classify import FOREIGN, NETWORK, OK
from handrail.resilience.testing import FakeClock, Reply, ScriptedWire

MINIMUM, RATE, WINDOW, OPEN_FOR = 4, 0.5, 10, 5.0
START = 1000.0


@dataclass
class Model:
    """The rules once more, written for reading: all outcomes in a list, one number for each period."""

    now: float = START
    state: str = "closed"
    period: int = 0
    ended: list[tuple[int, bool]] = field(default_factory=list)
    next_probe: float = 0.0

    def admits(self) -> int | None:
        """The period that an admitted call belongs to, or None where it is refused."""
        if self.state == "closed":
            return self.period
        if self.now < self.next_probe:
            return None
        self.state, self.period, self.next_probe = "half_open", self.period + 1, self.now + OPEN_FOR
        return self.period

    def ends(self, period: int, outcome: str) -> None:
        """A call ended; what comes from an earlier period changes nothing."""
        if period != self.period or self.state == "open":
            return
        if self.state == "half_open":
            self._probed(outcome)
        elif outcome != "neutral":
            self.ended.append((int(self.now), outcome == "bad"))
            rate, calls = self.rate()
            if outcome == "bad" and calls >= MINIMUM and rate >= RATE:
                self._open()

    def _probed(self, outcome: str) -> None:
        if outcome == "neutral":
            self.period, self.next_probe = self.period + 1, self.now
        elif outcome == "bad":
            self._open()
        else:
            self.state, self.period, self.ended = "closed", self.period + 1, []

    def _open(self) -> None:
        self.state, self.period, self.next_probe = "open", self.period + 1, self.now + OPEN_FOR

    def rate(self) -> tuple[float, int]:
        alive = [bad for second, bad in self.ended if int(self.now) - second < WINDOW]
        return (sum(alive) / len(alive) if alive else 0.0), len(alive)


class _Suspend:
    """Suspends the coroutine once, with no loop around it."""

    def __await__(self) -> Generator[None, None, None]:
        yield


OUTCOMES = st.sampled_from(["good", "bad", "raised", "neutral", "cancelled"])
MEANING = {"good": "good", "bad": "bad", "raised": "bad", "neutral": "neutral", "cancelled": "neutral"}


class BreakerMachine(RuleBasedStateMachine):
    """Calls are begun, ended in any order and in any way, and time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock(START)
        self.model = Model()
        self.breaker = CircuitBreaker(
            "http://peer",
            failure_rate=RATE,
            minimum_calls=MINIMUM,
            window=WINDOW,
            open_for=OPEN_FOR,
            tools=Tools(clock=self.clock),
        )
        self.outcomes: dict[int, str] = {}
        self.under_way: list[tuple[int, int, Coroutine[Any, Any, Reply]]] = []
        self.begun = 0
        self.step = self.breaker.wrap(self._inner)

    async def _inner(self, call: Call[Reply]) -> Reply:
        number = int(call.operation)
        await _Suspend()
        outcome = self.outcomes[number]
        call.verdict = {"good": OK, "neutral": FOREIGN}.get(outcome, NETWORK)
        if outcome in ("raised", "neutral"):
            raise ConnectionResetError
        return Reply(200)

    @rule()
    def begin(self) -> None:
        """A call comes: it is admitted exactly where the model admits it."""
        self.begun += 1
        call = ScriptedWire().call(operation=str(self.begun))
        running: Awaitable[Reply] = self.step(call)
        assert isinstance(running, Coroutine)
        expected = self.model.admits()
        if expected is None:
            with pytest.raises(CircuitOpen) as refused:
                running.send(None)
            assert refused.value.retry_after == self.model.next_probe - self.model.now
        else:
            running.send(None)
            self.under_way.append((self.begun, expected, running))

    @precondition(lambda self: self.under_way)
    @rule(which=st.integers(0, 1000), outcome=OUTCOMES)
    def end(self, which: int, outcome: str) -> None:
        """A call under way ends; any of them may be the next."""
        number, period, running = self.under_way.pop(which % len(self.under_way))
        self.outcomes[number] = outcome
        self.model.ends(period, MEANING[outcome])
        try:
            if outcome == "cancelled":
                running.close()
            else:
                running.send(None)
        except (StopIteration, ConnectionResetError):
            pass

    @rule(quarters=st.integers(1, 60))
    def wait(self, quarters: int) -> None:
        """Time passes, by amounts that are exact in binary."""
        self.clock.advance(quarters / 4)
        self.model.now += quarters / 4

    @invariant()
    def agrees(self) -> None:
        """State and remaining time are the model's; while closed, the rate as well."""
        assert self.breaker.state == self.model.state
        if self.model.state == "closed":
            assert self.breaker.counts() == self.model.rate()
            assert self.breaker.retry_after() == 0
        else:
            assert self.breaker.retry_after() == max(0.0, self.model.next_probe - self.model.now)

    def teardown(self) -> None:
        for _, _, running in self.under_way:
            running.close()


TestBreaker = BreakerMachine.TestCase
TestBreaker.__doc__ = "No interleaving of calls, outcomes and time tells the breaker from its model."
TestBreaker.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
