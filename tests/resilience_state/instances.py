"""Instances of a service in one process: each with breakers, a voter and a thread of its own."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress

from handrail.resilience import CircuitBreaker, CircuitOpen, Registry, ResilienceSettings, Tools
from handrail.resilience.clock import Clock, SystemClock
from handrail.resilience.events import CircuitChanged, Listeners
from handrail.resilience.state._redis import Found, RedisVotes, Store
from handrail.resilience.state._votes import Vote
from handrail.resilience.state.shared import SharedBreakers
from handrail.resilience.testing import FakeClock, RecordingListener, ScriptedWire, Step

PEER = "http://peer"
SETTINGS = ResilienceSettings(
    attempts=1, breaker_minimum_calls=4, breaker_open_for=10.0, breaker_open_max=10.0, breaker_ramp=0
)


class Instance:
    """One process of a service, as it were."""

    def __init__(
        self,
        connect: Callable[[], Store],
        machine: str,
        clock: Clock | None = None,
        *,
        quorum: int = 2,
        settings: ResilienceSettings = SETTINGS,
        jitter: float = 0.5,
    ) -> None:
        self.told = RecordingListener()
        listeners = Listeners(self.told)
        tools = Tools(clock=clock or SystemClock(), jitter=lambda: jitter, emit=listeners)
        self.registry = Registry(settings, tools)
        self.shared = SharedBreakers(self.registry, connect, quorum=quorum, shown="the store", machine=machine)
        listeners.add(self.shared.heard)
        self._clock = clock if isinstance(clock, FakeClock) else None

    def breaker(self, host: str = "peer") -> CircuitBreaker:
        return self.registry.pipeline("http", host, 80).breaker

    def call(self, step: Step = 503, host: str = "peer", times: int = 1) -> list[int]:
        """The numbers of attempts that were sent."""
        sent = []
        for _ in range(times):
            wire = ScriptedWire(step, clock=self._clock)
            with suppress(CircuitOpen):
                self.registry.pipeline("http", host, 80).pipeline.run_sync(wire.call(target=f"http://{host}"))
            sent += wire.sent
        return sent

    def fail(self, host: str = "peer") -> None:
        """As many failures as open the breaker."""
        self.call(503, host, SETTINGS.breaker_minimum_calls)
        assert self.breaker(host).state == "open"

    @property
    def causes(self) -> list[str]:
        """Why the breakers of this instance opened."""
        return [event.cause for event in self.told.of(CircuitChanged) if event.after == "open"]


class Memory:
    """A store that tests look into, by the clock of the instances."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.trouble = ""
        self.down = False
        self.withdrawn = 0
        self.held: dict[str, dict[str, Vote]] = {}
        self.asked: list[list[str]] = []

    def now(self) -> float:
        return self._clock.wall()

    def exchange(self, given: Mapping[str, Vote], gone: Iterable[tuple[str, Vote]], now: float) -> list[str]:
        if self.down:
            raise ConnectionError("the store went down")
        for target, vote in gone:
            self.withdrawn += 1
            self.held.get(target, {}).pop(str(vote), None)
        for target, vote in given.items():
            self.held.setdefault(target, {})[str(vote)] = vote
        return [target for target, votes in self.held.items() if any(vote.ends > now for vote in votes.values())]

    def votes(self, targets: Sequence[str], now: float, most: int = 1000) -> dict[str, Found]:
        self.asked.append(list(targets))
        held = {target: sorted(self.held.get(target, {}).values(), key=lambda vote: -vote.ends) for target in targets}
        return {target: Found(votes[:most], len(votes) >= most) for target, votes in held.items()}

    def close(self) -> None:
        """Keeps what it holds."""


class Bench:
    """Instances on machines `a`, `b`, ... around one store, all by one clock; `turn` is a round of each."""

    def __init__(self, machines: str, *, quorum: int = 2) -> None:
        self.clock = FakeClock()
        self.store = Memory(self.clock)
        self.instances = [Instance(lambda: self.store, name, self.clock, quorum=quorum) for name in machines]
        for instance in self.instances:
            assert instance.breaker().state == "closed"

    def turn(self) -> None:
        for instance in self.instances:
            instance.shared.round(self.store)

    @property
    def states(self) -> list[str]:
        return [instance.breaker().state for instance in self.instances]


def on_redis(url: str, machine: str, quorum: int = 2, settings: ResilienceSettings = SETTINGS) -> Instance:
    """An instance with real time, whose thread has begun."""
    made = Instance(lambda: RedisVotes(url, "tests"), machine, quorum=quorum, settings=settings)
    made.breaker()
    made.shared.begin()
    return made
