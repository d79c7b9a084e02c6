"""The last hop of the storm: counts what reaches it, and is well, gone, silent, failing or sick as told from outside.

    python -m tests.volume.storm_peer PORT CONTROL

On CONTROL, `GET /count` tells how many requests came to PORT, and `GET /mode/...` sets what becomes of them:
ok (200), refused (nobody listens, connections are reset), silent (accepted and never answered), failing (503), sick
(503 to two of five). It does as little as it can, so that it is never the one that gives way.
"""

import asyncio
import sys
from typing import Protocol, cast

from tests.volume.storm_loop import run

__all__ = ["MODES", "Peer"]

MODES = ("refused", "silent", "failing", "sick")
GOOD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
BAD = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\ndown"
END = b"\r\n\r\n"


class Peer:
    """What all connections share."""

    def __init__(self, port: int) -> None:
        self.count = 0
        self.mode = "ok"
        self.open: set[asyncio.WriteTransport] = set()
        self._port = port
        self._server: asyncio.Server | None = None

    def answer(self, _path: bytes) -> bytes:
        """The whole answer to a GET; empty for none."""
        self.count += 1
        if self.mode == "silent":
            return b""
        return BAD if self.mode == "failing" or (self.mode == "sick" and self.count % 5 < 2) else GOOD

    def control(self, path: bytes) -> bytes:
        """The same on the other port."""
        if path.startswith(b"/mode/"):
            self._turn(path.removeprefix(b"/mode/").decode())
        body = str(self.count).encode()
        return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)

    def _turn(self, mode: str) -> None:
        if self.mode in ("refused", "silent") or mode == "refused":
            for transport in list(self.open):  # as by a process that ends
                transport.abort()
        if mode == "refused" and self._server is not None:
            self._server.close()
            self._server = None
        if self.mode == "refused" and mode != "refused":
            self._listening = asyncio.ensure_future(self.listen())
        self.mode = mode

    async def listen(self) -> None:
        """Take connections again."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(self.answer, self.open), "127.0.0.1", self._port, backlog=1024
        )


class Answer(Protocol):
    """What is said to a GET of a path."""

    def __call__(self, path: bytes, /) -> bytes:
        """The whole answer; empty for none."""
        ...


class Connection(asyncio.Protocol):
    """One connection; while it is open its transport is in the set."""

    def __init__(self, answer: Answer, all_open: set[asyncio.WriteTransport]) -> None:
        self._answer = answer
        self._open = all_open
        self._held = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's are like it, and no children of it
        self._open.add(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._open.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._held += data
        while END in self._held:
            head, _, self._held = self._held.partition(END)
            if answer := self._answer(head.split(b" ", 2)[1]):
                self._transport.write(answer)


async def _serve(port: int, control: int) -> None:
    peer = Peer(port)
    await peer.listen()
    loop = asyncio.get_running_loop()
    told = await loop.create_server(lambda: Connection(peer.control, set()), "127.0.0.1", control)
    await told.serve_forever()


if __name__ == "__main__":
    run(_serve(int(sys.argv[1]), int(sys.argv[2])))
