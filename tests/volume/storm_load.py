"""An open-loop load: requests leave by the clock, whatever became of those before; each second's outcomes are kept."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["Outcomes", "load"]

END = b"\r\n\r\n"
RISE = 4
"""Seconds before the first that counts, in which the rate rises from nothing."""


@dataclass(slots=True)
class Outcomes:
    """What became of the requests, by the second in which they were sent."""

    sent: Counter[int] = field(default_factory=Counter)
    good: Counter[int] = field(default_factory=Counter)
    failed: Counter[int] = field(default_factory=Counter)

    @property
    def answered(self) -> int:
        """Requests that had an answer or an error in time."""
        return self.good.total() + self.failed.total()


class _Pool:
    """Keep-alive connections to one place."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self) -> int:
        # A server closes what was idle for some seconds: that is no failure of the request.
        while self._idle and (self._idle[-1][0].at_eof() or self._idle[-1][1].is_closing()):
            self._idle.pop()[1].close()
        reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(b"GET /work HTTP/1.1\r\nhost: storm\r\n\r\n")
            head = await reader.readuntil(END)
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
            await reader.readexactly(length)
        except BaseException:
            writer.close()
            raise
        if b"connection: close" in head.lower():
            writer.close()
        else:
            self._idle.append((reader, writer))
        return int(head[9:12])

    def close(self) -> None:
        for _, writer in self._idle:
            writer.close()


async def load(
    port: int, rate: float, seconds: float, at_second: Callable[[int], None], *, patience: float
) -> Outcomes:
    """Send `rate` requests a second for `seconds`, each with `patience` seconds; `at_second` is told each begun one."""
    out = Outcomes()
    pool = _Pool(port)
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()
    began = loop.time()

    async def one(second: int) -> None:
        out.sent[second] += 1
        try:
            async with asyncio.timeout(patience):
                good = await pool.ask() == 200
        except (OSError, EOFError, TimeoutError, ValueError):
            good = False
        (out.good if good else out.failed)[second] += 1

    # Rising first: a thousand connections opened in the first second are another trial.
    rising = [RISE * (number / (rate * RISE / 2)) ** 0.5 - RISE for number in range(int(rate * RISE / 2))]
    began += RISE
    told = -1
    for due in (*rising, *(number / rate for number in range(int(rate * seconds)))):
        if due >= 0 and int(due) != told:
            told = int(due)
            await asyncio.to_thread(at_second, told)
        await asyncio.sleep(max(0.0, began + due - loop.time()))  # noqa: TID251  (a load has a rate)
        task = asyncio.create_task(one(told))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    pool.close()
    return out
