"""Customers who do not wait for each other (an open-loop load), and some who do, to find a capacity: their process.

`python -m tests.overload.customers` reads one order a line (JSON: `port`, and what `Phase` has) and answers each with
the path of a file of what was seen. Raw sockets, because a client that costs as much as the server proves nothing.
"""

import asyncio
import json
import random
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["Phase", "Seen"]

CLASSES: tuple[tuple[str, str, float], ...] = (
    ("priority", "/checkout/", 0.1),
    ("sheddable", "/reports/", 0.3),
    ("plain", "/items/", 0.6),
)
IMPATIENT, BROKEN = 0, -1
"""In place of a status: the customer has given up after `Phase.patience`; the connection failed him."""


@dataclass(frozen=True, slots=True)
class Phase:
    """`rate` requests a second, or (0) `at_once` customers who ask again as soon as they are answered."""

    port: int
    seconds: float
    rate: float = 0.0
    at_once: int = 0
    patience: float = 1.0
    seed: int = 20


@dataclass(frozen=True, slots=True)
class Seen:
    """One request. Seconds since the beginning of its phase, and until its end."""

    kind: str
    due: float
    late: float
    took: float
    status: int


class Connection(asyncio.Protocol):
    """One connection with at most one request on it."""

    def __init__(self, over: "Callable[[Connection, int], None]") -> None:
        self._over = over
        self._buffer = b""
        self.transport: asyncio.Transport | None = None
        self.request = b""
        self.state: tuple[str, float, float] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.closing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if self.closing:
            transport.close()
        else:
            transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        lines = head.lower().split(b"\r\n")
        length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
        if len(body) < length:
            return
        self.closing = self.closing or b"connection: close" in lines
        self._buffer = b""
        self._over(self, int(head[9:12]))

    def connection_lost(self, exc: Exception | None) -> None:
        self.closing = True
        if self.state is not None:
            self._over(self, BROKEN)


class Customers:
    """All of them. Connections are kept, as browsers and proxies do, and closed by who has given up."""

    def __init__(self, phase: Phase) -> None:
        self._phase = phase
        self._loop = asyncio.get_running_loop()
        self._random = random.Random(phase.seed)
        self._idle: deque[Connection] = deque()
        self._dialing: set[asyncio.Task[object]] = set()
        self._began = self._loop.time()
        self._number = 0
        self._under_way = 0
        self._again = phase.rate == 0
        self._quiet = asyncio.Event()
        self.seen: list[Seen] = []

    async def all(self) -> list[Seen]:
        """The phase, and the end of all that was asked in it."""
        phase = self._phase
        if phase.rate:
            for due in self._arrivals(phase.rate):
                if (left := self._began + due - self._loop.time()) > 0:
                    await asyncio.sleep(left)  # noqa: TID251  (customers come when they come)
                self._ask(due)
        else:
            for _ in range(phase.at_once):
                self._ask(0.0)
            await asyncio.sleep(phase.seconds)  # noqa: TID251  (that is how long it goes on)
            self._again = False
        if self._under_way:
            await self._quiet.wait()
        for one in self._idle:
            if one.transport is not None:
                one.transport.close()
        return self.seen

    def _arrivals(self, rate: float) -> list[float]:
        """Poisson: customers know nothing of each other."""
        due, found = 0.0, []
        while (due := due + self._random.expovariate(rate)) < self._phase.seconds:
            found.append(due)
        return found

    def _ask(self, due: float) -> None:
        kind, path, _ = CLASSES[self._random.choices(range(len(CLASSES)), [share for *_, share in CLASSES])[0]]
        self._number += 1
        self._under_way += 1
        now = self._loop.time() - self._began
        one = self._connection()
        one.state = (kind, due, now)
        one.timer = self._loop.call_at(self._began + now + self._phase.patience, self._over, one, IMPATIENT)
        one.request = b"GET %b%d HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: */*\r\n\r\n" % (path.encode(), self._number)
        if one.transport is not None:
            one.transport.write(one.request)

    def _connection(self) -> Connection:
        while self._idle:
            one = self._idle.pop()
            if not one.closing:
                return one
        one = Connection(self._over)
        task = self._loop.create_task(self._dial(one))
        self._dialing.add(task)
        task.add_done_callback(self._dialing.discard)
        return one

    async def _dial(self, one: Connection) -> None:
        try:
            await self._loop.create_connection(lambda: one, "127.0.0.1", self._phase.port)
        except OSError:
            one.closing = True
            if one.state is not None:
                self._over(one, BROKEN)

    def _over(self, one: Connection, status: int) -> None:
        assert one.state is not None
        kind, due, asked = one.state
        now = self._loop.time() - self._began
        one.state = None
        if one.timer is not None:
            one.timer.cancel()
        if status == IMPATIENT:
            one.closing = True
        if one.closing:
            if one.transport is not None:
                one.transport.close()
        else:
            self._idle.append(one)
        self.seen.append(Seen(kind, due, asked - due if due else 0.0, now - asked, status))
        self._under_way -= 1
        if self._again:
            self._ask(0.0 if now < 0 else now)
        elif not self._under_way:
            self._quiet.set()


def _main() -> None:
    folder = Path(sys.argv[1])
    for number, line in enumerate(sys.stdin):
        phase = Phase(**json.loads(line))

        async def run(phase: Phase = phase) -> list[Seen]:
            return await Customers(phase).all()

        seen = asyncio.run(run())
        path = folder / f"phase-{number}.json"
        path.write_text(json.dumps([asdict(one) for one in seen]))
        print(path, flush=True)


if __name__ == "__main__":
    _main()
