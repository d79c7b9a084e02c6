"""For tests: time that moves only when told, a loop that runs on it, a recorder, a scripted peer."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

from .call import Call, Resend
from .classify import CANCELLED, CONNECT, FOREIGN, NETWORK, TIMEOUT, Verdict, of_status
from .clock import Timer
from .events import Event
from .timer import loop_timer

__all__ = ["FakeClock", "RecordingListener", "Reply", "ScriptedWire", "run", "sleep"]

T = TypeVar("T")
E = TypeVar("E", bound=Event)


class FakeClock:
    """A clock that stands still until told; `slept` lists every pause.

    On the loop of `run(main(), clock)` it moves whenever nothing else is ready, as far as the
    next timer. On any other loop, or on a thread, a sleep moves it at once.
    """

    def __init__(self, now: float = 1000.0, wall: float = 1_700_000_000.0) -> None:
        self._now = now
        self._ahead = wall - now
        self.slept: list[float] = []

    def now(self) -> float:
        """Monotonic seconds."""
        return self._now

    def wall(self) -> float:
        """Seconds since the epoch; keeps step with `now`."""
        return self._now + self._ahead

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now += seconds

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        loop = asyncio.get_running_loop()
        if isinstance(loop, _VirtualLoop) and loop.clock is self:
            await asyncio.sleep(seconds)
        else:
            self.advance(seconds)
            await asyncio.sleep(0)

    def sleep_sync(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(seconds)

    def timeout(self, seconds: float, first: Callable[[], float] | None = None) -> Timer:
        """A timer of the running loop; it follows this clock on the loop of `run`."""
        return loop_timer(seconds, first=first)


class _Idle(selectors.DefaultSelector):
    """Where the loop waits: moves the clock in place of waiting. Not select(2): it ends at descriptor 1,024."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("nothing is scheduled on the virtual loop: this would hang for ever")
            self._clock.advance(timeout)
        return ready


class _VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        super().__init__(_Idle(clock))

    def time(self) -> float:
        return self.clock.now()


def run(main: Coroutine[Any, Any, T], clock: FakeClock | None = None) -> T:
    """Run a coroutine on a loop whose time is the clock's: sleeps and timeouts take no time at all.

    Raises RuntimeError where everything waits and nothing is scheduled, instead of hanging.
    Not for sockets and threads: the loop does not wait for them.
    """
    with asyncio.Runner(loop_factory=lambda: _VirtualLoop(clock or FakeClock())) as runner:
        return runner.run(main)


async def sleep(seconds: float = 0.0) -> None:
    """Let the time of the running virtual loop pass, or with 0 only its other tasks run; never waits for real."""
    if not isinstance(asyncio.get_running_loop(), _VirtualLoop):
        raise RuntimeError("this sleep is for the virtual loop of run()")
    await asyncio.sleep(seconds)


class RecordingListener:
    """Keeps every event; give it as `Tools(emit=...)` or to `Listeners`."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def of(self, kind: type[E]) -> list[E]:
        """The events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]


class Reply:
    """What a ScriptedWire answers with."""

    def __init__(self, status: int, retry_after: str | None = None, headers: Mapping[str, str] | None = None) -> None:
        self.status = status
        self.retry_after = retry_after
        self.headers = headers or {}
        """By their names in lower case."""

    def __repr__(self) -> str:
        return f"Reply({self.status})"


Step = str | int | Reply | BaseException | Callable[[], Reply]
_NAMED: dict[str, Callable[[], BaseException]] = {
    "fail": lambda: ConnectionResetError("connection reset by the script"),
    "refuse": lambda: ConnectionRefusedError("connection refused by the script"),
}


class ScriptedWire:
    """A peer that plays a script: `ScriptedWire("fail", 503, "ok")`.

    Steps: "ok" (200), a status, a Reply, "fail" (broken off), "refuse" (never left), "hang"
    (no answer until cut off), an exception to raise, or a function that returns a Reply. The last
    step repeats. Each attempt takes `takes` seconds of `clock`. `sent` holds the attempt
    numbers seen, `discarded` the replies thrown away.
    """

    def __init__(self, *steps: Step, clock: FakeClock | None = None, takes: float = 0.0) -> None:
        self._steps = steps or ("ok",)
        self._clock = clock or FakeClock()
        self._takes = takes
        self.sent: list[int] = []
        self.discarded: list[Reply] = []

    def call(
        self,
        *,
        target: str = "http://peer",
        operation: str = "GET",
        resend: Resend = Resend.SAFE,
        attempt_timeout: float | None = None,
        total_timeout: float | None = None,
    ) -> Call[Reply]:
        """A new logical call through this wire."""
        return Call(
            self,
            target=target,
            operation=operation,
            resend=resend,
            attempt_timeout=attempt_timeout,
            total_timeout=total_timeout,
        )

    async def send(self, call: Call[Reply]) -> Reply:
        step = self._next(call)
        if step == "hang":
            await asyncio.get_running_loop().create_future()
        if self._takes:
            await self._clock.sleep(self._takes)
        return _play(step)

    def send_sync(self, call: Call[Reply]) -> Reply:
        step = self._next(call)
        if step == "hang":
            self._clock.sleep_sync(call.attempt_ends - self._clock.now())
            raise TimeoutError("cut off by the script")
        if self._takes:
            self._clock.sleep_sync(self._takes)
        return _play(step)

    def _next(self, call: Call[Reply]) -> Step:
        self.sent.append(call.attempt)
        return self._steps[min(len(self.sent), len(self._steps)) - 1]

    def judge(self, result: Reply) -> Verdict:
        return of_status(result.status)

    def judge_error(self, error: BaseException) -> Verdict:
        for kind, verdict in _VERDICTS.items():
            if isinstance(error, kind):
                return verdict
        return FOREIGN

    def retry_after(self, result: Reply) -> str | None:
        return result.retry_after

    def header(self, result: Reply, name: str) -> str | None:
        return result.headers.get(name)

    async def discard(self, result: Reply) -> None:
        self.discarded.append(result)

    def discard_sync(self, result: Reply) -> None:
        self.discarded.append(result)


_VERDICTS: dict[type[BaseException], Verdict] = {
    asyncio.CancelledError: CANCELLED,
    ConnectionRefusedError: CONNECT,
    ConnectionError: NETWORK,
    TimeoutError: TIMEOUT,
}


def _play(step: Step) -> Reply:
    if isinstance(step, str):
        if step in _NAMED:
            error = _NAMED[step]()
            raise error
        return Reply(200)
    if isinstance(step, BaseException):
        raise step
    if isinstance(step, int):
        return Reply(step)
    return step if isinstance(step, Reply) else step()
