"""Services on the virtual clock, with load that comes as it likes (an open loop), behind load shedding."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from handrail.resilience.inbound._reply import Replies
from handrail.resilience.inbound._shedding_levels import Levels
from handrail.resilience.inbound.settings import InboundSettings
from handrail.resilience.inbound.shedding import LoadShedding
from handrail.resilience.inbound.streams import OpenStreams
from handrail.resilience.testing import FakeClock, RecordingListener, sleep

App = Callable[[Any, Any, Any], Awaitable[None]]


@dataclass(frozen=True)
class Got:
    """One request: when it came, how long it took, and the answer's status, 0 without one."""

    came: float
    seconds: float
    status: int
    path: str
    headers: dict[bytes, bytes]


class Service:
    """An app behind load shedding, and the answers that its clients had."""

    def __init__(
        self, app: App, *, routes: Any = (), left: Any = lambda _scope: None, streams: int = 0, **settings: Any
    ) -> None:
        self.clock = FakeClock()
        self.told = RecordingListener()
        self.streams = OpenStreams(streams)
        self.got: list[Got] = []
        self.random = random.Random(7)
        self.stopped = 0.0
        inbound = InboundSettings(**settings)
        self.layer = LoadShedding(
            app,
            settings=inbound,
            streams=self.streams,
            replies=Replies(trace_id=lambda: None),
            emit=self.told,
            levels=Levels([(path.__eq__, level) for path, level in routes], inbound.priority_header),
            left=left,
            clock=self.clock,
            used=lambda: self.clock.now() - self.stopped,
            jitter=self.random.random,
        )

    @property
    def load(self) -> Any:
        """Of the loop that runs, or ran last."""
        return list(self.layer.loads())[-1]

    def stop(self, seconds: float) -> None:
        """The process does not run: others have the processor, or it was told to."""
        self.clock.advance(seconds)
        self.stopped += seconds

    async def ask(self, path: str = "/", came: float | None = None, receive: Any = None, **extra: Any) -> Got:
        """One request; `came` where it had to wait outside."""
        began = self.clock.now() if came is None else came
        starts: list[Any] = []

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                starts.append(message)

        scope = {"type": "http", "method": "GET", "path": path, "headers": [], **extra}
        try:
            await self.layer(scope, receive or forever, send)
        finally:
            start: Any = starts[0] if starts else {"status": 0, "headers": ()}
            got = Got(began, self.clock.now() - began, start["status"], path, dict(start["headers"]))
            self.got.append(got)
        return got

    async def pour(self, rate: float, seconds: float, path: str | Callable[[], str] = "/") -> "set[asyncio.Task[Got]]":
        """So many requests a second, at random, whatever becomes of them. Returns those that are under way yet."""
        tasks: set[asyncio.Task[Got]] = set()
        came = self.clock.now()
        end = came + seconds
        while (came := came + self.random.expovariate(rate)) < end:
            if came > self.clock.now():
                await sleep(came - self.clock.now())
            task = asyncio.create_task(self.ask(path if isinstance(path, str) else path(), came))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        return tasks

    def between(self, begin: float, end: float, path: str | None = None) -> "Figures":
        """What became of the requests that came from `begin` to `end`, in seconds of the clock."""
        return Figures([got for got in self.got if begin <= got.came < end and path in (None, got.path)], end - begin)


class Figures:
    """Of some requests."""

    def __init__(self, got: list[Got], seconds: float) -> None:
        self.all = got
        self.took = sorted(one.seconds for one in got if one.status == 200)
        self.refused = [one for one in got if one.status == 503]
        self._seconds = seconds

    @property
    def served(self) -> float:
        """The share that was."""
        return len(self.took) / len(self.all)

    def goodput(self, within: float) -> float:
        """Requests a second that were served within so many seconds."""
        return sum(seconds <= within for seconds in self.took) / self._seconds

    def quantile(self, share: float) -> float:
        """Seconds."""
        return self.took[int(share * (len(self.took) - 1))]


async def forever() -> Any:
    """A client that stays."""
    await asyncio.Event().wait()


async def answer(send: Any, status: int = 200, kind: bytes = b"text/plain") -> None:
    """The whole of one."""
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind)]})
    await send({"type": "http.response.body", "body": b"well"})


class Pool:
    """An app whose requests each hold one of `size` connections for some `seconds`, give or take."""

    def __init__(self, size: int, seconds: float, spread: float = 0.3) -> None:
        self.seconds = seconds
        self._spread = spread
        self.free = asyncio.Semaphore(size)
        self._random = random.Random(11)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async with self.free:
            await sleep(self.seconds * self._random.lognormvariate(0, self._spread))
        await answer(send)


async def quiet(service: Service, tasks: "set[asyncio.Task[Got]]") -> None:
    """Wait until all have ended, then look: nothing may be under way or wait."""
    await asyncio.gather(*tasks, return_exceptions=True)
    load = service.load
    assert (load.under_way, load.parked, load.queue.count, service.streams.count) == (0, 0, 0, 0)
