"""The same call over a real connection: the peer is another process on 127.0.0.1, and only ours is measured."""

import asyncio
import subprocess
import sys
from collections.abc import Callable

import httpx
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor

from .outbound import Once, all_of_it, contrib, pipeline
from .providers import everything
from .work import Contender, Work

__all__ = ["CONTENDERS"]

ANSWER = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n{"ok":true}'
END = b"\r\n\r\n"


class _Peer(asyncio.Protocol):
    """Answers each request that has no body."""

    def __init__(self) -> None:
        self._held = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._held += data
        while END in self._held:
            self._held = self._held.partition(END)[2]
            assert self._transport is not None
            self._transport.write(ANSWER)


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Peer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    # Whoever started it holds the other end, and its forks do: the last of them to go ends it.
    await loop.run_in_executor(None, sys.stdin.read)


_started: list[subprocess.Popen[str]] = []


def _port() -> int:
    command = [sys.executable, "-m", "bench.loopback"]
    peer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    _started.append(peer)  # its pipe is to live as long as we do
    assert peer.stdout is not None
    return int(peer.stdout.readline())


def _calls() -> Once:
    url = f"http://127.0.0.1:{_port()}/charges/1"
    clients: dict[asyncio.AbstractEventLoop, httpx.AsyncClient] = {}

    async def call() -> object:
        loop = asyncio.get_running_loop()
        client = clients.get(loop)
        if client is None:  # a connection belongs to the loop that made it
            client = clients[loop] = httpx.AsyncClient(trust_env=False)
        return await client.get(url)

    return call


def _work(switch_on: Callable[[], None]) -> Callable[[SpanProcessor], Work]:
    def make(processor: SpanProcessor) -> Work:
        trace.set_tracer_provider(everything(processor))
        switch_on()
        return Work(_calls())

    return make


BARE = "socket-bare"

CONTENDERS = [
    Contender(BARE, "httpx over a connection", _work(lambda: None)),
    Contender("socket-contrib", "contrib httpx over a connection, no metrics", _work(contrib), BARE),
    Contender("socket-pipeline", "handrail without tracing, over a connection", _work(pipeline), BARE),
    Contender("socket-ours", "handrail, all of it, over a connection", _work(all_of_it), BARE),
]

if __name__ == "__main__":
    asyncio.run(_serve())
