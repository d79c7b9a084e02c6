"""A peer on 127.0.0.1 that does what a scenario tells it, and notes each request that reaches it."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

__all__ = ["OK", "Peer", "Seen", "fine", "lost", "peer", "reply"]


@dataclass(frozen=True)
class Seen:
    """One request: `at` by time.monotonic(), headers by their names in small letters."""

    number: int
    at: float
    headers: dict[str, str]


def reply(status: int, *headers: str) -> bytes:
    """An answer with a small body."""
    head = "".join(f"{header}\r\n" for header in headers)
    return f"HTTP/1.1 {status} Told\r\ncontent-length: 2\r\n{head}\r\nok".encode()


OK = reply(200)

Answer = Callable[[Seen], Awaitable[bytes | None]]


async def fine(_seen: Seen) -> bytes | None:
    """200, at once."""
    return OK


async def lost(_seen: Seen) -> bytes | None:
    """The connection is closed without an answer."""
    return None


@dataclass
class Peer:
    """`answer` may be changed at any time; `answered` counts what was written."""

    url: str = ""
    answer: Answer = fine
    seen: list[Seen] = field(default_factory=list)
    answered: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, kept alive."""
        try:
            while True:
                headers = _headers(await reader.readuntil(b"\r\n\r\n"))
                await reader.readexactly(int(headers.get("content-length", "0")))
                seen = Seen(len(self.seen), time.monotonic(), headers)
                self.seen.append(seen)
                answer = await self.answer(seen)
                if answer is None:
                    break
                self.answered += 1
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def _headers(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    pairs = (line.split(":", 1) for line in lines if line)
    return {name.lower(): value.strip() for name, value in pairs}


@asynccontextmanager
async def peer() -> AsyncIterator[Peer]:
    """One that listens until the block is left."""
    made = Peer()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, backlog=512)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        server.close()
