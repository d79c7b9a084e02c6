"""The breaker against a reference model: any interleaving of calls, outcomes, hands and time."""

from collections.abc import Awaitable, Coroutine, Generator
from dataclasses import dataclass, field
from itertools import takewhile
from math import inf
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from handrail.resilience import CircuitBreaker, CircuitOpen, Tools
from handrail.resilience._circuit_rules import Rules
from handrail.resilience.call import Call
from handrail.resilience.classify import FOREIGN, NETWORK, OK
from handrail.resilience.events import CircuitChanged
from handrail.resilience.testing import FakeClock, RecordingListener, Reply, ScriptedWire

MINIMUM, RATE, WINDOW, OPEN_FOR, OPEN_MAX, RAMP = 4, 0.5, 10, 5.0, 18.0, 5
SLOW, SLOW_RATE = 2.0, 0.75
TOLD = 3  # Retry-After
START = 1000.0


@dataclass
class Model:
    """The rules once more, written for reading: all outcomes in a list, one number for each period."""

    now: float = START
    draw: float = 0.5
    state: str = "closed"
    isolated: bool = False
    period: int = 0
    ended: list[tuple[int, bool, bool]] = field(default_factory=list)
    next_probe: float = 0.0
    probed_at: float = 0.0
    nominal: float = 0.0
    closed_at: float = -inf
    ramp: int | None = None
    under_way: int = 0
    pause: float = 0.0
    causes: list[str] = field(default_factory=list)

    def passes(self, seconds: float) -> None:
        """Time passes; a ramp lasts no longer than a window."""
        self.now += seconds
        if self.now - self.closed_at >= WINDOW:
            self.ramp = None

    def admits(self) -> int | None:
        """The period that an admitted call belongs to, or None where it is refused."""
        if self.wait() > 0:
            return None
        if self.state != "closed":
            if self.state == "open":
                self.causes.append("probe")
            self.state, self.period = "half_open", self.period + 1
            self.probed_at, self.next_probe = self.now, self.now + OPEN_FOR
        self.under_way += 1
        return self.period

    def wait(self) -> float:
        """Seconds until the next call may go."""
        if self.isolated:
            return inf
        if self.state == "closed":
            return self.pause if self.ramp is not None and self.under_way >= self.ramp else 0.0
        return max(0.0, self.next_probe - self.now)

    def ends(self, period: int, outcome: str, slow: bool) -> None:
        """A call ended; what comes from an earlier period changes nothing."""
        if period != self.period or self.state == "open":
            return
        self.under_way -= 1
        if self.state == "half_open":
            self._probed(outcome, slow)
        elif outcome != "neutral":
            self._counts(outcome != "good", slow)

    def _counts(self, bad: bool, slow: bool) -> None:
        self.ended.append((int(self.now), bad, slow))
        if bad or slow:
            why = self._against()
            if why:
                self._open(why)
        elif self.ramp is not None:
            self.ramp = None if self.ramp + 1 == RAMP else self.ramp + 1

    def _against(self) -> str | None:
        enough = MINIMUM if self.ramp is None else 2
        calls = self._alive()
        failed, slow = sum(bad for bad, _ in calls), sum(slow for _, slow in calls)
        in_a_row = len(list(takewhile(lambda one: one[1], reversed(self.ended))))
        if len(calls) < enough:
            return "failures" if in_a_row >= enough else None
        if failed / len(calls) >= RATE and (self.ramp is None or failed >= 2):
            return "failures"
        if slow / len(calls) >= SLOW_RATE and (self.ramp is None or slow >= 2):
            return "slow_calls"
        return "failures" if in_a_row >= 2 * MINIMUM else None

    def _probed(self, outcome: str, slow: bool) -> None:
        if outcome == "neutral":
            self.period, self.next_probe = self.period + 1, self.now
        elif outcome == "told":
            self._open("probe", TOLD)
        elif outcome == "bad" or slow:
            self._open("probe")
        else:
            self._close("probe", self.now - self.probed_at)

    def _close(self, cause: str, trip: float) -> None:
        self.causes.append(cause)
        self.state, self.period, self.isolated, self.ended, self.under_way = "closed", self.period + 1, False, [], 0
        self.ramp, self.closed_at, self.pause = 2, self.now, min(max(trip, 0.05), 1.0)

    def _open(self, cause: str, seconds: float | None = None) -> None:
        self.causes.append(cause)
        if self.state == "closed" and self.now - self.closed_at >= WINDOW:
            self.nominal = 0.0
        if seconds is None:
            self.nominal = min(2 * self.nominal, OPEN_MAX) if self.nominal else OPEN_FOR
            seconds = self.nominal * {0.0: 0.9, 0.5: 1.0, 1.0: 1.1}[self.draw]
        self.state, self.period, self.next_probe, self.ramp = "open", self.period + 1, self.now + seconds, None

    def hand(self, what: str) -> bool:
        """Somebody takes hold of it, or other instances do; whether that changed it."""
        if what == "reset":
            changed = self.hand("close")
            self.ended, self.ramp, self.nominal, self.closed_at, self.period = [], None, 0.0, -inf, self.period + 1
            return changed
        if what == "isolate" and not self.isolated:
            self._open("manual", inf)
            self.isolated = True
            return True
        if what == "close" and self.state != "closed":
            self._close("manual", 0.1)
            return True
        if what == "shared" and self.state == "closed":
            self._open("shared", 3.0)
            return True
        return False

    def _alive(self) -> list[tuple[bool, bool]]:
        return [(bad, slow) for second, bad, slow in self.ended if int(self.now) - second < WINDOW]

    def rate(self) -> tuple[float, int]:
        """The share of failures, and of how many calls."""
        alive = self._alive()
        return (sum(bad for bad, _ in alive) / len(alive) if alive else 0.0), len(alive)


class _Suspend:
    """Suspends the coroutine once, with no loop around it."""

    def __await__(self) -> Generator[None, None, None]:
        yield


OUTCOMES = st.sampled_from(["good", "good", "bad", "told", "raised", "neutral", "cancelled"])
MEANING = {"good": "good", "bad": "bad", "told": "told", "raised": "bad", "neutral": "neutral", "cancelled": "neutral"}


class BreakerMachine(RuleBasedStateMachine):
    """Calls are begun, ended in any order and in any way, hands are laid on, and time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.clock, self.told = FakeClock(START), RecordingListener()
        self.model = Model()
        rules = Rules(
            failure_rate=RATE,
            minimum_calls=MINIMUM,
            window=WINDOW,
            open_for=OPEN_FOR,
            open_max=OPEN_MAX,
            slow_call=SLOW,
            slow_rate=SLOW_RATE,
            ramp=RAMP,
        )
        tools = Tools(clock=self.clock, emit=self.told, jitter=lambda: self.model.draw)
        self.breaker = CircuitBreaker("http://peer", rules, tools=tools)
        self.outcomes: dict[int, str] = {}
        self.under_way: list[tuple[int, int, float, Coroutine[Any, Any, Reply]]] = []
        self.begun = 0
        self.step = self.breaker.wrap(self._inner)

    async def _inner(self, call: Call[Reply]) -> Reply:
        number = int(call.operation)
        await _Suspend()
        outcome = self.outcomes[number]
        call.verdict = {"good": OK, "neutral": FOREIGN}.get(outcome, NETWORK)
        if outcome in ("raised", "neutral"):
            raise ConnectionResetError
        return Reply(503, f"{TOLD}") if outcome == "told" else Reply(200)

    @rule(several=st.integers(1, 4))
    def begin(self, several: int) -> None:
        """Calls come: each is admitted exactly where the model admits it."""
        for _ in range(several):
            self.begun += 1
            call = ScriptedWire().call(operation=str(self.begun))
            running: Awaitable[Reply] = self.step(call)
            assert isinstance(running, Coroutine)
            wait, period = self.model.wait(), self.model.admits()
            if period is None:
                with pytest.raises(CircuitOpen) as refused:
                    running.send(None)
                assert refused.value.retry_after == (None if wait == inf else wait)
            else:
                running.send(None)
                self.under_way.append((self.begun, period, self.model.now, running))

    @rule(several=st.integers(1, 5), outcome=st.sampled_from(["good", "bad", "told"]))
    def play(self, several: int, outcome: str) -> None:
        """Calls come one after the other and end at once: what leads deep into the states."""
        for _ in range(several):
            before = len(self.under_way)
            self.begin(1)
            if len(self.under_way) > before:
                self.end(before, outcome, 0.5)

    @precondition(lambda self: self.under_way)
    @rule(which=st.integers(0, 1000), outcome=OUTCOMES, draw=st.sampled_from([0.0, 0.5, 1.0]))
    def end(self, which: int, outcome: str, draw: float) -> None:
        """A call under way ends; any of them may be the next."""
        number, period, began, running = self.under_way.pop(which % len(self.under_way))
        self.outcomes[number] = outcome
        self.model.draw = draw
        self.model.ends(period, MEANING[outcome], self.model.now - began >= SLOW)
        try:
            if outcome == "cancelled":
                running.close()
            else:
                running.send(None)
        except (StopIteration, ConnectionResetError):
            pass

    @rule(what=st.sampled_from(["isolate", "close", "reset", "shared"]))
    def lay_hands_on(self, what: str) -> None:
        """A hand or the others open or close it; no isolation is undone but by hand."""
        hands = {"isolate": self.breaker.isolate, "close": self.breaker.close, "reset": self.breaker.reset}
        hands["shared"] = lambda: self.breaker.force_open(3.0)
        assert hands[what]() is self.model.hand(what)

    @rule(quarters=st.integers(1, 60))
    def wait(self, quarters: int) -> None:
        """Time passes, by amounts that are exact in binary."""
        self.clock.advance(quarters / 4)
        self.model.passes(quarters / 4)

    @rule(times=st.integers(1, 2))
    def probe(self, times: int) -> None:
        """Time passes, exactly to the moment where the next call goes out; the first probe may be lost."""
        for _ in range(times):
            seconds = self.model.wait()
            if self.model.state != "closed" and seconds < inf:
                self.clock.advance(seconds)
                self.model.passes(seconds)
                self.begin(1)

    @invariant()
    def agrees(self) -> None:
        """State, remaining time and what was told are the model's; while closed, the rate as well."""
        assert self.breaker.state == self.model.state
        assert self.breaker.isolated == self.model.isolated
        assert self.breaker.recovering == (self.model.ramp is not None)
        assert self.breaker.retry_after() == self.model.wait()
        assert [event.cause for event in self.told.of(CircuitChanged)] == self.model.causes
        if self.model.state == "closed":
            assert self.breaker.counts() == self.model.rate()

    def teardown(self) -> None:
        for *_, running in self.under_way:
            running.close()


TestBreaker = BreakerMachine.TestCase
TestBreaker.__doc__ = "No interleaving of calls, outcomes, hands and time tells the breaker from its model."
TestBreaker.settings = settings(max_examples=300, stateful_step_count=60, deadline=None)
