"""The last hop of the storm: counts what reaches it, answers by a mode that is set from outside.

    python -m tests.volume.storm_peer PORT

`GET /mode/ok`, `/mode/dead` (503 to all) and `/mode/sick` (503 to two of five) set it; `GET /count` tells how many
other requests came. It does as little as it can, so that it is never the one that gives way.
"""

import asyncio
import sys

__all__ = ["Peer"]

GOOD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
BAD = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\ndown"
END = b"\r\n\r\n"


class Peer:
    """What all connections share."""

    def __init__(self) -> None:
        self.count = 0
        self.mode = "ok"

    def answer(self, path: bytes) -> bytes:
        """The whole answer to a GET."""
        if path.startswith(b"/mode/"):
            self.mode = path.removeprefix(b"/mode/").decode()
            return GOOD
        if path == b"/count":
            body = str(self.count).encode()
            return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
        self.count += 1
        bad = self.mode == "dead" or (self.mode == "sick" and self.count % 5 < 2)
        return BAD if bad else GOOD


class _Connection(asyncio.Protocol):
    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._held = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._held += data
        while END in self._held:
            head, _, self._held = self._held.partition(END)
            assert self._transport is not None
            self._transport.write(self._peer.answer(head.split(b" ", 2)[1]))


async def _serve(port: int) -> None:
    peer = Peer()
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(peer), "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
