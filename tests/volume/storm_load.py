"""An open-loop load: requests leave by the clock, whatever became of those before; each one's outcome is kept.

A bare protocol on kept connections, one request at a time on each: it must cost less than what it measures.
"""

import asyncio
import socket
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import cast

__all__ = ["Outcome", "Outcomes", "load"]

REQUEST = b"GET /work HTTP/1.1\r\nhost: storm\r\n\r\n"
END = b"\r\n\r\n"
RISE = 4
"""Seconds before the first that counts, in which the rate rises from nothing."""
TICK = 0.001
AT_ONCE = struct.pack("ii", 1, 0)
"""SO_LINGER: who gives up leaves no port behind in TIME_WAIT, of which there are but 28,000."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """`status` is 0 where no answer came; `seconds` count from when the request was due."""

    status: int
    seconds: float
    clear: bool
    """A refusal says when to come again, or whose fault it was."""


@dataclass(slots=True)
class Outcomes:
    """What became of the requests, by the second in which they were due."""

    sent: dict[int, int] = field(default_factory=dict)
    of: dict[int, list[Outcome]] = field(default_factory=dict)

    def good(self, second: int) -> int:
        """Requests of a second that were answered with 200."""
        return sum(outcome.status == 200 for outcome in self.of.get(second, ()))

    @property
    def answered(self) -> int:
        """Requests that had an answer or an error in time."""
        return sum(map(len, self.of.values()))


class _Connection(asyncio.Protocol):
    """A kept connection with at most one request under way."""

    def __init__(self, load: "_Load") -> None:
        self._load = load
        self._held = b""
        self.due: tuple[int, float] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are like it, and no children of it
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        if self.due is not None:
            self._transport.write(REQUEST)

    def ask(self, due: tuple[int, float]) -> None:
        self.due = due
        self._transport.write(REQUEST)

    def data_received(self, data: bytes) -> None:
        self._held += data
        head, found, body = self._held.partition(END)
        if not found:
            return
        low = head.lower()
        if len(body) < int(low.partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0):
            return
        self._held = b""
        self._tell(int(head[9:12]), b"\nretry-after: " in low or b"\nproxy-status: " in low)
        if b"connection: close" in low:
            self._transport.abort()
        else:
            self._load.idle.append(self)

    def connection_lost(self, exc: Exception | None) -> None:
        # A server closes what was idle for some seconds: that is no failure of a request.
        if self in self._load.idle:
            self._load.idle.remove(self)
        self._tell(0, clear=False)

    def give_up(self) -> None:
        self._tell(0, clear=False)
        self._transport.abort()

    def _tell(self, status: int, clear: bool) -> None:
        if self.due is not None:
            due, self.due = self.due, None
            self._load.tell(self, due, status, clear)


class _Load:
    def __init__(self, port: int, patience: float) -> None:
        self.out = Outcomes()
        self.idle: list[_Connection] = []
        self._port = port
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[_Connection, float] = {}
        self._opening: set[asyncio.Task[None]] = set()

    def send(self, second: int, due: float) -> None:
        """Begin one request, on a kept connection where there is one."""
        self.out.sent[second] = self.out.sent.get(second, 0) + 1
        if self.idle:
            connection = self.idle.pop()
            self._waiting[connection] = due
            connection.ask((second, due))
        else:
            task = self._loop.create_task(self._open(second, due))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self, second: int, due: float) -> None:
        connection = _Connection(self)
        connection.due = (second, due)
        try:
            async with asyncio.timeout(self._patience):
                await self._loop.create_connection(lambda: connection, "127.0.0.1", self._port)
        except (OSError, TimeoutError):
            self.tell(connection, (second, due), 0, clear=False)
        else:
            if connection.due is not None:
                self._waiting[connection] = due

    def tell(self, connection: _Connection, due: tuple[int, float], status: int, clear: bool) -> None:
        """Keep what became of a request."""
        self._waiting.pop(connection, None)
        self.out.of.setdefault(due[0], []).append(Outcome(status, self._loop.time() - due[1], clear))

    def give_up(self) -> None:
        """Leave those that have waited too long: they are in the order in which they were begun."""
        late = self._loop.time() - self._patience
        for connection in [connection for connection, due in self._waiting.items() if due < late]:
            connection.give_up()

    async def drain(self) -> None:
        """Wait for what is under way, and close."""
        while self._waiting or self._opening or self.idle:
            await asyncio.sleep(TICK)  # noqa: TID251  (a load has a clock)
            self.give_up()
            if not self._waiting and not self._opening:
                for connection in list(self.idle):
                    connection.give_up()


async def load(
    port: int, rate: float, seconds: float, at_second: Callable[[int], None], *, patience: float
) -> Outcomes:
    """Send `rate` requests a second for `seconds`, each with `patience` seconds; `at_second` is told each begun one.

    `at_second` runs on a thread of its own, in order; the load does not wait for it.
    """
    loop = asyncio.get_running_loop()
    run = _Load(port, patience)
    # Rising first: a thousand connections opened in the first second are another trial.
    rising = [RISE * (number / (rate * RISE / 2)) ** 0.5 - RISE for number in range(int(rate * RISE / 2))]
    began = loop.time() + RISE
    told = -1
    asked = []
    with ThreadPoolExecutor(1) as thread:
        for due in (*rising, *(number / rate for number in range(int(rate * seconds)))):
            if due >= 0 and int(due) != told:
                told = int(due)
                asked.append(thread.submit(at_second, told))
                run.give_up()
            if (wait := began + due - loop.time()) > 0:
                await asyncio.sleep(wait)  # noqa: TID251  (a load has a rate)
            run.send(told, began + due)
        await run.drain()
    for question in asked:
        question.result()
    return run.out
