"""A response's body that tells its attempt how it ended. Chunks pass as they come; nothing is held back."""

import sys
from collections.abc import AsyncIterator, Callable, Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._attempt import Attempt

__all__ = ["watched"]


class _Body:
    """`whole` turns true when the last chunk has come."""

    def __init__(self, attempt: "Attempt", stream: Any) -> None:
        self._attempt = attempt
        self._stream = stream
        self._whole = False

    def _closed(self) -> None:
        # Closed before its end by somebody's `except` or `finally`: that exception is what broke it off.
        self._attempt.end(None if self._whole else sys.exception())


class _SyncBody(_Body):
    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._stream
        except GeneratorExit:
            raise
        except BaseException as error:
            self._attempt.end(error)
            raise
        self._whole = True
        self._attempt.end(None)

    def close(self) -> None:
        """Close the connection's side, then the attempt is over."""
        try:
            self._stream.close()
        finally:
            self._closed()


class _AsyncBody(_Body):
    """Its own iterator: an async generator is registered with the event loop, which costs more than a short body."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        self._chunks = self._stream.__aiter__()
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk: bytes = await self._chunks.__anext__()
        except StopAsyncIteration:
            self._whole = True
            self._attempt.end(None)
            raise
        except BaseException as error:
            self._attempt.end(error)
            raise
        return chunk

    async def aclose(self) -> None:
        """Close the connection's side, then the attempt is over."""
        try:
            await self._stream.aclose()
        finally:
            self._closed()


def watched(module: ModuleType) -> tuple[Callable[["Attempt", Any], Any], Callable[["Attempt", Any], Any]]:
    """The two kinds of body for `module`, which asks for streams of its own classes."""
    return (
        type("WatchedBody", (_SyncBody, module.SyncByteStream), {}),
        type("WatchedAsyncBody", (_AsyncBody, module.AsyncByteStream), {}),
    )
