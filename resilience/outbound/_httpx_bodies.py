"""Bodies of responses that were read before the client asked for them: to their end, or begun."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

__all__ = ["AsyncBegun", "AsyncChunks", "Chunks", "Rest", "SyncBegun", "SyncChunks"]


class Chunks:
    """A body that was read already: chunk for chunk as it came, each let go once handed on."""

    def __init__(self, chunks: list[bytes], consumed: type[Exception]) -> None:
        chunks.reverse()
        self._chunks: list[bytes] | None = chunks
        self._consumed = consumed

    def whole(self, most: int) -> bytes | None:
        """All of it; None where somebody has begun to read, or where it is longer than `most` bytes."""
        chunks = self._chunks
        return None if chunks is None or sum(map(len, chunks)) > most else b"".join(reversed(chunks))

    @property
    def unread(self) -> bool:
        """Whether nobody has begun to read it."""
        return self._chunks is not None

    def taken(self) -> bytes:
        """All of it, for whoever reads it; raises what a second reading does."""
        chunks = self._take()
        return chunks[0] if len(chunks) == 1 else b"".join(reversed(chunks))

    def _take(self) -> list[bytes]:
        chunks, self._chunks = self._chunks, None
        if chunks is None:
            raise self._consumed
        return chunks


class SyncChunks(Chunks):
    def __iter__(self) -> Iterator[bytes]:
        chunks = self._take()
        while chunks:
            yield chunks.pop()


class AsyncChunks(Chunks):
    def __aiter__(self) -> AsyncIterator[bytes]:
        return _Drain(self._take())


class _Drain:
    """Not an async generator: the event loop keeps a register of those, which costs more than the body."""

    __slots__ = ("_chunks",)

    def __init__(self, chunks: list[bytes]) -> None:
        self._chunks = chunks

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self._chunks:
            raise StopAsyncIteration
        return self._chunks.pop()


class Rest:
    """The chunks of a stream in several loops: a loop of its own asks the stream to begin anew."""

    __slots__ = ("_chunks",)

    def __init__(self, stream: Any) -> None:
        self._chunks: AsyncIterator[bytes] = stream.__aiter__()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        return await self._chunks.__anext__()


class SyncBegun:
    """A body whose first chunks were read already, and the rest still to come from `stream`."""

    def __init__(self, chunks: list[bytes], rest: Iterator[bytes], stream: Any) -> None:
        self._chunks = chunks
        self._rest = rest
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        yield from self._chunks
        self._chunks.clear()
        yield from self._rest

    def close(self) -> None:
        """Close what the rest comes from."""
        self._stream.close()


class AsyncBegun:
    """The same on a loop."""

    def __init__(self, chunks: list[bytes], rest: AsyncIterator[bytes], stream: Any) -> None:
        self._chunks = chunks
        self._rest = rest
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk
        self._chunks.clear()
        async for chunk in self._rest:
            yield chunk

    async def aclose(self) -> None:
        """Close what the rest comes from."""
        await self._stream.aclose()
